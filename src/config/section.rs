//! Reading one mapping of a configuration, key by key, so that every complaint can name its key.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use super::ConfigError;
use super::comments;
use super::source::Source;

/// A mapping of the configuration, from which keys are taken as they are read; what is left at the
/// end is not known.
pub(super) struct Section<'a> {
    source: &'a Source,
    path: String, // with a dot at the end, or empty for the root
    left: Mapping,
    known: Vec<&'static str>,
    remarks: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    pub fn root(
        source: &'a Source,
        remarks: &'a mut Vec<String>,
    ) -> Result<Section<'a>, ConfigError> {
        Ok(Section {
            left: source.merged()?,
            source,
            path: String::new(),
            known: Vec::new(),
            remarks,
        })
    }

    /// The mapping under a key; one that is absent is empty.
    pub fn section(&mut self, key: &'static str) -> Result<Section<'_>, ConfigError> {
        let left = match self.take(key) {
            None => Mapping::new(),
            Some(Value::Mapping(mapping)) => mapping,
            Some(other) => {
                let known = comments::keys_below(&format!("{}{key}.", self.path)).join(", ");
                let expected = format!("a mapping of keys ({known})");
                return Err(self.refuse(key, show(&other), &expected));
            }
        };
        Ok(Section {
            source: self.source,
            path: format!("{}{key}.", self.path),
            left,
            known: Vec::new(),
            remarks: &mut *self.remarks,
        })
    }

    /// A value of any type that YAML can give, if the key is there.
    pub fn checked<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        expected: &str,
        valid: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(None);
        };
        match serde_yaml::from_value::<T>(found.clone()) {
            Ok(value) if valid(&value) => Ok(Some(value)),
            _ => Err(self.refuse(key, show(&found), expected)),
        }
    }

    /// A text; a number or a truth value is taken as it is written.
    pub fn text(
        &mut self,
        key: &'static str,
        expected: &str,
        valid: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(None);
        };
        let text = show(&found);
        let is_scalar = found.is_string() || found.is_number() || found.is_bool();
        if is_scalar && valid(&text) {
            return Ok(Some(text));
        }
        Err(self.refuse(key, text, expected))
    }

    /// A truth value.
    pub fn truth(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.checked(key, "true or false", |_| true)
    }

    /// Whether a key is there that has not been read.
    pub fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// Whether the mapping under a key makes this choice, before it is read.
    pub fn chooses(&self, key: &str, choice: &str) -> bool {
        let name = self.left.get(key).and_then(|section| section.get("name"));
        name.is_some_and(|name| show(name) == choice)
    }

    /// Leaves a key of the file aside, with a remark, if a `--set` of another key speaks against
    /// it and no `--set` speaks for it.
    pub fn yields(&mut self, key: &str, to: &str) -> bool {
        let set = |key: &str| self.source.is_set(&format!("{}{key}", self.path));
        let yields = set(to) && !set(key);
        if yields {
            self.remarks.push(format!(
                "`{0}{key}` does not go with `{0}{to}` as set, and is left out",
                self.path
            ));
        }
        yields
    }

    /// Something that people should know about a key's value.
    pub fn remark(&mut self, text: &str, key: &str) {
        self.remarks.push(format!("`{}{key}` {text}", self.path));
    }

    /// A finite number.
    pub fn number(
        &mut self,
        key: &'static str,
        expected: &str,
        valid: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, ConfigError> {
        self.checked(key, expected, |number: &f64| number.is_finite() && valid(*number))
    }

    /// A whole number in a range, both ends included.
    pub fn whole<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConfigError>
    where
        T: DeserializeOwned + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.checked(key, &expected, |number| range.contains(number))
    }

    /// As [`Section::whole`], for a key that may say `null`.
    pub fn whole_or_null(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        let expected = format!("null or a whole number from {} to {}", range.start(), range.end());
        let number = self.checked(key, &expected, |number: &Option<usize>| {
            number.is_none_or(|number| range.contains(&number))
        })?;
        Ok(number.flatten())
    }

    /// One of an enum's names.
    pub fn choice<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(None);
        };
        let shown = show(&found);
        // As text, so that serde names the choices whatever was found.
        let error = match serde_yaml::from_value::<T>(Value::from(shown.as_str())) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error.to_string(),
        };
        // serde: unknown variant `found`, expected one of `a`, `b`
        let names: Vec<&str> = error
            .split_once("expected")
            .map(|(_, names)| names.split('`').skip(1).step_by(2).collect())
            .unwrap_or_default();
        let expected = format!("one of {}{}", names.join(", "), did_you_mean(&shown, &names));
        Err(self.refuse(key, shown, &expected))
    }

    /// One of these names, as its place among them.
    pub fn one_of(
        &mut self,
        key: &'static str,
        names: &[&str],
    ) -> Result<Option<usize>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(None);
        };
        let shown = show(&found);
        let place = names.iter().position(|name| *name == shown);
        let expected = || format!("one of {}{}", names.join(", "), did_you_mean(&shown, names));
        place.map(Some).ok_or_else(|| self.refuse(key, &shown, &expected()))
    }

    /// Refuses whatever has not been read.
    pub fn finish(self) -> Result<(), ConfigError> {
        for key in self.left.keys() {
            let key = key.as_str().map_or_else(|| show(key), str::to_string);
            let path = format!("{}{key}", self.path);
            if self.source.belongs_to_replaced_choice(&path) && comments::is_key(&path) {
                self.remarks.push(format!(
                    "`{path}` does not apply to `{}name` as set, and is left out",
                    self.path
                ));
                continue;
            }
            return Err(ConfigError(format!(
                "{}: unknown key `{path}`{}; known here: {}",
                self.source.origin(&path),
                did_you_mean(&key, &self.known),
                self.known.join(", ")
            )));
        }
        Ok(())
    }

    /// The complaint that a key is not there.
    pub fn missing(&self, key: &str, expected: &str) -> ConfigError {
        let path = format!("{}{key}", self.path);
        let origin = self.source.origin(&path);
        // What is not known here may be what was meant.
        let unknown: Vec<String> = self
            .left
            .keys()
            .map(|key| format!("{}{}", self.path, show(key)))
            .filter(|path| !comments::is_key(path))
            .map(|path| format!("`{path}`"))
            .collect();
        let unknown = match unknown.as_slice() {
            [] => String::new(),
            _ => format!(" ({} is not used here)", unknown.join(", ")),
        };
        ConfigError(format!("{origin}: `{path}` is missing; expected {expected}{unknown}"))
    }

    /// The complaint that a key's value cannot be.
    pub fn refuse(&self, key: &str, found: impl Display, expected: &str) -> ConfigError {
        self.source.refuse(&format!("{}{key}", self.path), found, expected)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key)
    }
}

/// The name that comes nearest, if one is near enough to have been meant.
fn did_you_mean(found: &str, names: &[&str]) -> String {
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => {
            format!(" (did you mean `{name}`?)")
        }
        _ => String::new(),
    }
}

/// A value on one line.
fn show(value: &Value) -> String {
    match value {
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(_) => "a mapping".to_string(),
        Value::String(text) => text.clone(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().to_string(),
    }
}
