//! Which values a key can have: how they are read, what a complaint expects, and the JSON schema.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use serde_yaml::Value;

use super::key::{Key, Preset};
use super::names::{Name, Named, did_you_mean, in_backticks};
use super::yaml::parse as parse_yaml;

/// The values that a key can have.
pub struct Domain<T> {
    pub(super) about: Key, // without its place, its meaning and its default
    read: Read<T>,
}

/// The error is added to what a complaint expects.
type Read<T> = Box<dyn Fn(&Value) -> Result<T, String>>;

impl<T: 'static> Domain<T> {
    /// Values that `read` knows; its error is added to what a complaint expects.
    pub fn new(
        expected: &str,
        schema: Json,
        read: impl Fn(&Value) -> Result<T, String> + 'static,
    ) -> Domain<T> {
        let article = ["a ", "an ", "the "].iter().find_map(|it| expected.strip_prefix(it));
        let (values, expected) = (article.unwrap_or(expected).to_string(), expected.to_string());
        let about = Key { expected, values, schema, ..Key::default() };
        Domain { about, read: Box::new(read) }
    }

    /// A key of a section with these values.
    pub fn key(&self, name: &str, doc: &'static str, default: Preset) -> Key {
        Key { path: name.to_string(), doc, default, ..self.about.clone() }
    }

    /// Or `null`.
    pub fn or_null(self) -> Domain<Option<T>> {
        let Domain { mut about, read } = self;
        about.expected = format!("null or {}", about.expected);
        about.values = format!("{}, `null`", about.values);
        about.schema = json!({"anyOf": [about.schema, {"type": "null"}]});
        let or_null = move |value: &Value| match value {
            Value::Null => Ok(None),
            value => read(value).map(Some),
        };
        Domain { about, read: Box::new(or_null) }
    }

    /// What a function makes of the values; an error of it is added to what a complaint expects.
    pub fn then<U>(self, make: impl Fn(T) -> Result<U, String> + 'static) -> Domain<U> {
        let Domain { about, read } = self;
        Domain { about, read: Box::new(move |value: &Value| read(value).and_then(&make)) }
    }

    /// Only these of the values.
    pub fn only(self, valid: impl Fn(&T) -> bool + 'static) -> Domain<T> {
        self.then(move |value| if valid(&value) { Ok(value) } else { Err(String::new()) })
    }

    /// The key had another name before.
    pub fn formerly(mut self, name: &'static str) -> Domain<T> {
        self.about.former = Some(name);
        self
    }

    /// What a table calls the values, where that is not what a complaint expects.
    fn shown_as(mut self, values: &str) -> Domain<T> {
        self.about.values = values.to_string();
        self
    }
}

impl<T> Domain<T> {
    /// A value, or what a complaint expects in its place.
    pub(super) fn read(&self, value: &Value) -> Result<T, String> {
        (self.read)(value).map_err(|more| format!("{}{more}", self.about.expected))
    }
}

/// Whatever YAML can give of this type.
pub fn any<T: DeserializeOwned + 'static>(expected: &str, schema: Json) -> Domain<T> {
    Domain::new(expected, schema, |value| {
        // A text is not taken for what it looks like.
        let plain = || parse_yaml(value.as_str()?).ok().filter(|it| !it.is_string());
        serde_yaml::from_value(value.clone()).map_err(|_| {
            match plain().is_some_and(|plain| serde_yaml::from_value::<T>(plain).is_ok()) {
                true => "; in quotes it is a text, leave them out".to_string(),
                false => String::new(),
            }
        })
    })
}

/// A whole number in a range, both ends included.
pub fn whole<T>(range: RangeInclusive<T>) -> Domain<T>
where
    T: DeserializeOwned + PartialOrd + Display + Copy + serde::Serialize + 'static,
{
    let (first, last) = (*range.start(), *range.end());
    let expected = format!("a whole number from {first} to {last}");
    let schema = json!({"type": "integer", "minimum": first, "maximum": last});
    let domain = any(&expected, schema).only(move |number| range.contains(number));
    match last.to_string().len() > 7 {
        true => domain.shown_as(&format!("whole number of at least {first}")), // no real limit
        false => domain,
    }
}

/// A finite number in a range.
pub fn number(expected: &str, range: impl RangeBounds<f64> + 'static) -> Domain<f64> {
    let mut schema = json!({"type": "number"});
    let mut limit = |bound: Bound<&f64>, included: &str, excluded: &str| match bound {
        Bound::Included(limit) => schema[included] = json!(limit),
        Bound::Excluded(limit) => schema[excluded] = json!(limit),
        Bound::Unbounded => {}
    };
    limit(range.start_bound(), "minimum", "exclusiveMinimum");
    limit(range.end_bound(), "maximum", "exclusiveMaximum");
    any(expected, schema).only(move |number: &f64| number.is_finite() && range.contains(number))
}

/// A number greater than 0.
pub fn positive() -> Domain<f64> {
    number("a number greater than 0", (Bound::Excluded(0.0), Bound::Unbounded))
}

/// A number that can be 0, but must be less than 1.
pub fn share() -> Domain<f64> {
    number("a number from 0 up to, but without, 1", 0.0..1.0)
}

/// `true` or `false`.
pub fn truth() -> Domain<bool> {
    any("true or false", json!({"type": "boolean"})).shown_as("`true`, `false`")
}

/// One of an enum's names.
pub fn choice<T: Named + DeserializeOwned + 'static>() -> Domain<T> {
    choice_of(T::NAMES.to_vec())
        .then(|name| serde_yaml::from_value(name.into()).map_err(|error| error.to_string()))
}

/// One of some names.
pub(super) fn choice_of(names: Vec<Name>) -> Domain<&'static str> {
    let listed: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let expected = format!("one of {}", listed.join(", "));
    let (schema, values) = (json!({"enum": listed}), in_backticks(&listed));
    let mut domain = Domain::new(&expected, schema, move |value| {
        let (found, known) = (show(value), || listed.iter().copied());
        known().find(|name| *name == found).ok_or_else(|| did_you_mean(&found, known()))
    });
    domain.about.names = names;
    domain.shown_as(&values)
}

/// A text; a number or a truth value is taken as it is written.
pub fn text(expected: &str) -> Domain<String> {
    let schema = json!({"type": ["string", "number", "boolean"]});
    Domain::new(expected, schema, |value| match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(show(value)),
        _ => Err(String::new()),
    })
}

/// A path; whether it is there is seen when it is used.
pub fn path(expected: &str) -> Domain<PathBuf> {
    any(expected, json!({"type": "string"})).only(|path: &PathBuf| !path.as_os_str().is_empty())
}

/// A value on one line.
pub(crate) fn show(value: &Value) -> String {
    on_one_line(value, str::to_string)
}

/// A value on one line, with its texts as a function writes them.
pub(super) fn on_one_line(value: &Value, write: fn(&str) -> String) -> String {
    match value {
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(|it| on_one_line(it, write)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(_) => "a mapping".to_string(),
        Value::String(text) => write(text),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().to_string(),
    }
}
