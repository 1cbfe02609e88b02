//! YAML as values, from texts that nobody vouches for: what an alias repeats counts each time, so that a short
//! text cannot stand for more than fits into memory.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_yaml::{Mapping, Value};

/// Values and pieces of text that a document may hold; a list of 100,000 columns is a tenth of it.
const MOST_VALUES: usize = 1 << 20;

/// Letters of a text that count as a further value.
const PIECE: usize = 64;

/// Reads a document.
///
/// # Errors
/// If it is no YAML, names a key twice, has a tag, or is larger than any configuration.
pub fn parse(text: &str) -> Result<Value, serde_yaml::Error> {
    parse_up_to(MOST_VALUES, text)
}

/// Reads what the program itself has written, of any length, without aliases.
///
/// # Errors
/// If it is no YAML of this kind, or not of this type.
pub fn parse_own<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    serde_yaml::from_value(parse_up_to(text.len(), text)?)
}

fn parse_up_to(most: usize, text: &str) -> Result<Value, serde_yaml::Error> {
    Bounded { left: &Cell::new(most) }.deserialize(serde_yaml::Deserializer::from_str(text))
}

/// Reads one value as long as there are some left.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn take<E: Error>(&self, count: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(count);
        let reason =
            "it holds more values than any configuration; do its aliases repeat one another?";
        self.left.set(left.ok_or_else(|| E::custom(reason))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a value without a tag")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.take(1).map(|()| value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.take(1).map(|()| value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.take(1).map(|()| value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.take(1).map(|()| value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(1 + value.len() / PIECE).map(|()| value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.take(1).map(|()| Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.take(1)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.take(1)?;
        let mut mapping = Mapping::new();
        while let Some(key) = entries.next_key_seed(self)? {
            if mapping.contains_key(&key) {
                let shown = key.as_str().map_or_else(|| format!("{key:?}"), |it| format!("{it:?}"));
                return Err(A::Error::custom(format!("duplicate entry with key {shown}")));
            }
            let value = entries.next_value_seed(self)?;
            mapping.insert(key, value);
        }
        Ok(Value::Mapping(mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_yaml() {
        let text = "a: {b: [1, -2, 3.5, true, ~, x, '7']}\nc: &it {d: e}\nf: *it\n2: 18446744073709551615\n";
        assert_eq!(parse(text).unwrap(), serde_yaml::from_str::<Value>(text).unwrap());
        for text in ["", "~", "a", "[]", "- - 1", "a: .inf"] {
            assert_eq!(
                parse(text).unwrap(),
                serde_yaml::from_str::<Value>(text).unwrap(),
                "{text}"
            );
        }
        for (text, reason) in [
            ("a: 1\nb: 2\na: 3", "duplicate entry with key \"a\""),
            ("a: [", "did not find"),
            ("a: !tag 3", "without a tag"),
            ("a: 1\n---\nb: 2", "more than one document"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn aliases_cannot_grow_without_bound() {
        let row = |item: &str| format!("[{}]", vec![item; 1000].join(","));
        let text = format!("a: &a {}\nb: &b {}\nc: &c {}\n", row("1"), row("*a"), row("*b"));
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains("more values than any configuration"), "{error}");
        assert!(parse_own::<Value>(&text).is_err());
        let rows = format!("- &r {}\n{}", row("1"), "- *r\n".repeat(1000));
        assert!(parse(&rows).is_ok() && parse_own::<Value>(&rows).is_err());
    }
}
