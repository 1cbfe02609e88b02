//! The values that a key takes in a sweep: lists and ranges.

use std::collections::HashSet;

use serde_yaml::{Mapping, Value};

use crate::settings::domain::show;
use crate::settings::parse_yaml;

/// More values of one key are taken for a slip.
const MOST: i64 = 1_000_000;

/// Values from a list, a range `1..10` (both ends included), or a single value; a list may hold ranges.
/// The error is what would do in their place.
pub(super) fn expand(value: &Value) -> Result<Vec<Value>, String> {
    let items = match value {
        Value::Sequence(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut values = Vec::new();
    for item in items {
        match item.as_str().and_then(range) {
            Some(range) => values.extend(range?.map(Value::from)),
            None => values.push(item.clone()),
        }
    }
    let mut seen = HashSet::new();
    values.retain(|value| seen.insert(serde_yaml::to_string(value).unwrap_or_default()));
    match values.is_empty() {
        true => Err("a list with at least one value, or a range such as 1..10".to_string()),
        false => Ok(values),
    }
}

/// Values as they are written on a command line: `bp,dfa,f3`, `1..10`, `1,2,5..7`.
///
/// # Errors
/// If the text is not YAML.
pub fn values_of(text: &str) -> Result<Value, String> {
    parse_yaml(&format!("[{text}]")).map_err(|error| error.to_string())
}

fn range(text: &str) -> Option<Result<std::ops::RangeInclusive<i64>, String>> {
    let (first, last) = text.split_once("..")?;
    let (first, last): (i64, i64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    Some(match last.checked_sub(first) {
        Some(0..MOST) => Ok(first..=last),
        _ => Err(format!("a range from a smaller to a larger number, of at most {MOST} values")),
    })
}

/// A value in the name of a row: a section stands for itself by its `name`.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Mapping(section) => named(section),
        other => show(other),
    }
}

fn named(section: &Mapping) -> String {
    let values = section.iter().filter(|(key, _)| key.as_str() != Some("name"));
    let rest = values.map(|(key, value)| format!("{} {}", show(key), shown(value)));
    let name = section.get("name").map(show);
    name.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_values() {
        let of = |text: &str| {
            let values = expand(&serde_yaml::from_str(text).unwrap())?;
            Ok::<_, String>(values.iter().map(shown).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of("1..4"), Ok("1 2 3 4".into()));
        assert_eq!(of("-1..1"), Ok("-1 0 1".into()));
        assert_eq!(of("[1, 5..7, 1e-3]"), Ok("1 5 6 7 0.001".into()));
        assert_eq!(of("f3"), Ok("f3".into()));
        assert_eq!(of("[{name: cosine, t_max: 5}]"), Ok("cosine t_max 5".into()));
        assert_eq!(of("[../data]"), Ok("../data".into()));
        assert!(of("[]").unwrap_err().contains("at least one value"));
        assert!(of("4..1").unwrap_err().contains("from a smaller"));
        assert!(of("1..99999999999").unwrap_err().contains("at most"));
        assert_eq!(expand(&values_of("bp,dfa, 1..3").unwrap()).unwrap().len(), 5);
    }
}
