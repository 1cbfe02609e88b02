//! Reading one mapping of a configuration, key by key, so that every complaint can name its key.

use std::fmt::Display;

use serde_yaml::{Mapping, Value};

use super::ConfigError;
use super::domain::{Domain, choice_of, show};
use super::key::Key;
use super::names::{Name, did_you_mean};
use super::source::{Replaced, Source, lay_over};

/// A mapping of the configuration, from which keys are taken as they are read; what is left at the
/// end is not known.
pub struct Reader<'a> {
    source: &'a Source,
    keys: &'a [Key],
    path: String,               // with a dot at the end, or empty for the root
    given: Option<&'a Mapping>, // what the source says here, without defaults
    left: Mapping,
    known: Vec<&'static str>,
    remarks: &'a mut Vec<String>,
}

impl<'a> Reader<'a> {
    /// Reads all of a configuration: what is `given` by a source, with a rule's defaults beneath it;
    /// `keys` are all that a configuration can have.
    pub fn read_root<T>(
        source: &'a Source,
        given: &'a Mapping,
        defaults: Mapping,
        keys: &'a [Key],
        remarks: &'a mut Vec<String>,
        read: impl FnOnce(&mut Reader) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let mut left = defaults;
        lay_over(&mut left, given);
        let (path, known) = (String::new(), Vec::new());
        Reader { source, keys, path, given: Some(given), left, known, remarks }.read_all(read)
    }

    /// Reads the mapping under a key, all of it; one that is absent is empty.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let left = match self.take(key) {
            None => Mapping::new(),
            Some(Value::Mapping(mapping)) => mapping,
            Some(other) => {
                let prefix = self.path_of(&format!("{key}."));
                let keys = self.keys.iter().filter_map(|it| it.path.strip_prefix(&prefix));
                let mut below: Vec<&str> = keys.filter_map(|rest| rest.split('.').next()).collect();
                below.dedup();
                let expected = format!("a mapping of keys ({})", below.join(", "));
                return Err(self.refuse(key, show(&other), &expected));
            }
        };
        let path = self.path_of(&format!("{key}."));
        let (source, keys, remarks) = (self.source, self.keys, &mut *self.remarks);
        let given = self.given.and_then(|given| given.get(key)?.as_mapping());
        Reader { source, keys, path, given, left, known: Vec::new(), remarks }.read_all(read)
    }

    fn read_all<T>(
        mut self,
        read: impl FnOnce(&mut Reader) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let value = read(&mut self)?;
        self.finish()?;
        Ok(value)
    }

    /// The value of a key, if it has one.
    pub fn optional<T: 'static>(
        &mut self,
        key: &'static str,
        domain: &Domain<T>,
    ) -> Result<Option<T>, ConfigError> {
        let mut found = self.take(key);
        let mut written = key;
        if let Some(former) = domain.about.former
            && let Some(value) = self.left.remove(former)
        {
            let layer = |key| self.source.layer_of(&self.path_of(key));
            if found.is_none() || layer(former) > layer(key) {
                self.remark(former, &format!("is now called `{}`", self.path_of(key)));
                (written, found) = (former, Some(value));
            } else if layer(former) == layer(key) {
                let expected = format!("nothing beside `{key}`, as it is now called");
                return Err(self.refuse(former, show(&value), &expected));
            }
        }
        let Some(found) = found else { return Ok(None) };
        let refuse = |expected: String| self.refuse(written, show(&found), &expected);
        domain.read(&found).map(Some).map_err(refuse)
    }

    /// The value of a key that must have one.
    pub fn required<T: 'static>(
        &mut self,
        key: &'static str,
        domain: &Domain<T>,
    ) -> Result<T, ConfigError> {
        let former = domain.about.former.map(|former| self.path_of(former));
        let also = former.map_or(String::new(), |it| format!(" or, by its former name, `{it}`"));
        self.optional(key, domain)?.ok_or_else(|| self.absent(key, &also, &domain.about.expected))
    }

    /// The `name` that chooses among some.
    pub fn choose(
        &mut self,
        names: &[Name],
        default: Option<&'static str>,
    ) -> Result<&'static str, ConfigError> {
        let domain = choice_of(names.to_vec());
        match default {
            Some(default) => Ok(self.optional("name", &domain)?.unwrap_or(default)),
            None => self.required("name", &domain),
        }
    }

    /// Whether the file, what it extends, or a `--set` gives a key.
    pub fn has(&self, key: &str) -> bool {
        self.given.is_some_and(|given| given.contains_key(key))
    }

    /// Leaves a key aside if another one that speaks against it was set later: by a `--set`, which is
    /// remarked on, or by a file that extends the one of this key.
    pub fn yields(&mut self, key: &str, to: &str) -> bool {
        let layer = |key: &str| self.source.layer_of(&self.path_of(key));
        let yields = layer(to) > layer(key);
        if yields && self.source.is_set(&self.path_of(to)) {
            let to = self.path_of(to);
            self.remark(key, &format!("does not go with `{to}` as set, and is left out"));
        }
        yields
    }

    /// Something that people should know about a key's value.
    pub fn remark(&mut self, key: &str, text: &str) {
        self.remarks.push(format!("`{}` {text}", self.path_of(key)));
    }

    /// Refuses whatever has not been read.
    fn finish(self) -> Result<(), ConfigError> {
        // A rule's default that is not read is one of another choice.
        let is_given = |key: &&Value| self.given.is_some_and(|given| given.contains_key(key));
        for key in self.left.keys().filter(is_given) {
            let key = key.as_str().map_or_else(|| show(key), str::to_string);
            let path = self.path_of(&key);
            let is_key = self.keys.iter().any(|it| it.is_at_or_below(&path));
            match self.source.replaced_choice(&path) {
                Some(Replaced::ByFile) if is_key => continue,
                Some(Replaced::BySet) if is_key => {
                    self.remarks.push(format!(
                        "`{path}` does not apply to `{}name` as set, and is left out",
                        self.path
                    ));
                    continue;
                }
                _ => {}
            }
            return Err(ConfigError(format!(
                "{}: unknown key `{path}`{}; known here: {}",
                self.source.origin(&path),
                did_you_mean(&key, self.known.iter().copied()),
                self.known.join(", ")
            )));
        }
        Ok(())
    }

    /// The complaint that a key is not there.
    pub fn missing(&self, key: &str, expected: &str) -> ConfigError {
        self.absent(key, "", expected)
    }

    fn absent(&self, key: &str, also: &str, expected: &str) -> ConfigError {
        let path = self.path_of(key);
        // What is not known here may be what was meant.
        let unknown: Vec<String> = self
            .left
            .keys()
            .map(|key| self.path_of(&show(key)))
            .filter(|path| !self.keys.iter().any(|it| it.is_at_or_below(path)))
            .map(|path| format!("`{path}`"))
            .collect();
        let unknown = match unknown.as_slice() {
            [] => String::new(),
            _ => format!(" ({} is not used here)", unknown.join(", ")),
        };
        let origin = self.source.origin(&path);
        ConfigError(format!("{origin}: `{path}`{also} is missing; expected {expected}{unknown}"))
    }

    /// The complaint that a key's value cannot be.
    pub fn refuse(&self, key: &str, found: impl Display, expected: &str) -> ConfigError {
        self.source.refuse(&self.path_of(key), found, expected)
    }

    /// As [`Reader::refuse`], of a value that has not been read.
    pub fn refuse_unread(&self, key: &str, expected: &str) -> ConfigError {
        self.refuse(key, self.left.get(key).map(show).unwrap_or_default(), expected)
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key)
    }
}
