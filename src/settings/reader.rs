//! Reading one mapping of a configuration, key by key, so that every complaint can name its key.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::domain::{Domain, choice_of, show};
use super::key::Key;
use super::names::{Name, did_you_mean};
use super::source::{Layer, Source, lay_over, lookup};
use super::{ConfigError, Result};

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
    refused: &'a RefCell<Option<String>>, // the key that was complained about last
}

impl Source {
    /// Reads some of a configuration beforehand; none if that cannot be done.
    pub fn peek<T>(&self, keys: &[Key], read: impl FnOnce(&mut Reader) -> Result<T>) -> Option<T> {
        read(&mut self.reader(Mapping::new(), keys, &mut Vec::new(), &RefCell::default())).ok()
    }

    /// Reads all of a configuration, with a rule's defaults beneath it; `keys` are all that it can have.
    /// Beside it come remarks for people.
    ///
    /// # Errors
    /// All complaints, each on a line: of sections that nobody knows, then of the others. Where a key must have a
    /// value and has none, or a wrong one, reading goes on with another; `stand_ins` are sections that can be
    /// read in place of one that cannot be read so.
    pub fn read<T>(
        &self,
        defaults: Mapping,
        keys: &[Key],
        mut stand_ins: Vec<(&str, Value)>,
        read: impl Fn(&mut Reader) -> Result<T>,
    ) -> Result<(T, Vec<String>)> {
        let (mut source, mut complaints, mut tried) = (self.clone(), Vec::new(), HashSet::new());
        let mut filled = HashSet::new();
        for (path, complaint) in self.unknown_sections(keys) {
            complaints.push(complaint);
            source.forget(&path);
        }
        loop {
            let (mut remarks, refused) = (Vec::new(), RefCell::default());
            let reader = source.reader(defaults.clone(), keys, &mut remarks, &refused);
            let error = match reader.read_all(&read) {
                Ok(_) if !complaints.is_empty() => break,
                Ok(found) => return Ok((found, remarks)),
                Err(error) => error,
            };
            // Without the value that is wrong there may be further complaints. One that then misses it is
            // none.
            let path = refused.take().unwrap_or_default();
            let is_new = tried.insert(path.clone());
            if is_new && !complaints.contains(&error.0) {
                complaints.push(error.0);
            }
            if is_new && source.says(&path) {
                source.forget(&path);
                continue;
            }
            let key = keys.iter().find(|key| key.path == path);
            let value = key.and_then(|key| key.stand_in(lookup(&self.values, &path)));
            if let Some(value) = value
                && filled.insert(path.clone())
            {
                source.put(&path, value);
                continue;
            }
            // A section that cannot be read without the value: another stands in for it, once.
            let top = path.split('.').next().unwrap_or_default();
            let Some(place) = stand_ins.iter().position(|(section, _)| *section == top) else {
                break;
            };
            let (section, value) = stand_ins.swap_remove(place);
            source.forget(section);
            source.put(section, value);
        }
        Err(ConfigError(complaints.join("\n")))
    }

    /// The keys at the root that no configuration has, with the complaint of each.
    fn unknown_sections(&self, keys: &[Key]) -> Vec<(String, String)> {
        let given = self.values.keys().map(show);
        let unknown = given.filter(|path| !keys.iter().any(|it| it.is_at_or_below(path)));
        let complaint = |path: String| {
            let mut seen = HashSet::new();
            let known = keys.iter().filter_map(|it| it.path.split('.').next());
            let known: Vec<&str> = known.filter(|key| seen.insert(*key)).collect();
            let text = format!(
                "{}: unknown key `{path}`{}; known here: {}",
                self.place(&path),
                meant(&path, &known, keys),
                known.join(", ")
            );
            (path, text)
        };
        unknown.map(complaint).collect()
    }

    fn reader<'a>(
        &'a self,
        defaults: Mapping,
        keys: &'a [Key],
        remarks: &'a mut Vec<String>,
        refused: &'a RefCell<Option<String>>,
    ) -> Reader<'a> {
        let mut left = defaults;
        lay_over(&mut left, &self.values);
        let (path, given, known) = (String::new(), Some(&self.values), Vec::new());
        Reader { source: self, keys, path, given, left, known, remarks, refused }
    }
}

/// What an unknown key may have been meant for: one of those known in its place, or one of another section.
fn meant(path: &str, known: &[&str], keys: &[Key]) -> String {
    let key = path.rsplit('.').next().unwrap_or_default();
    const OTHER_NAMES: [(&str, &str); 8] = [
        ("lr", "optimizer.learning_rate"),
        ("dataset", "data.name"),
        ("network", "model.name"),
        ("layers", "model.hidden_layers"),
        ("max_epochs", "epochs"),
        ("num_epochs", "epochs"),
        ("num_threads", "threads"),
        ("validation", "data.validation_fraction"),
    ];
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == key).map(|(_, path)| *path);
    let mut elsewhere = keys.iter().map(|it| it.path.as_str());
    let elsewhere =
        other.or_else(|| elsewhere.find(|it| it.rsplit('.').next() == Some(key) && *it != path));
    match elsewhere.filter(|_| !known.contains(&key)) {
        Some(path) => format!(" (did you mean `{path}`?)"),
        None => did_you_mean(key, known.iter().copied()),
    }
}

impl Reader<'_> {
    /// Reads the mapping under a key, all of it; one that is absent is empty.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader) -> Result<T>,
    ) -> Result<T> {
        let path = self.path_of(key) + ".";
        let left = match self.take(key) {
            None => Mapping::new(),
            Some(Value::Mapping(mapping)) => mapping,
            Some(other) => {
                let keys = self.keys.iter().filter_map(|it| it.path.strip_prefix(&path));
                let mut seen = HashSet::new(); // some keys are those of several choices
                let below = keys.filter_map(|it| it.split('.').next());
                let below: Vec<&str> = below.filter(|key| seen.insert(*key)).collect();
                let expected = format!("a mapping of keys ({})", below.join(", "));
                return Err(self.refuse(key, show(&other), &expected));
            }
        };
        let given = self.given.and_then(|given| given.get(key)?.as_mapping());
        let (known, remarks) = (Vec::new(), &mut *self.remarks);
        Reader { path, given, left, known, remarks, ..*self }.read_all(read)
    }

    fn read_all<T>(mut self, read: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
        let value = read(&mut self)?;
        // A rule's default that is not read is one of another choice.
        let left = std::mem::take(&mut self.left).into_iter().map(|(key, _)| key);
        for key in left.filter(|key| self.given.is_some_and(|given| given.contains_key(key))) {
            let key = show(&key);
            let path = self.path_of(&key);
            let replaced = self.source.replaced_choice(&path).filter(|_| self.is_key(&path));
            match replaced.map(Layer::is_set) {
                Some(false) => {}
                Some(true) => self.remarks.push(format!(
                    "`{path}` does not apply to `{}name` as set, and is left out",
                    self.path
                )),
                None => {
                    self.refused.replace(Some(path.clone()));
                    return Err(ConfigError(format!(
                        "{}: unknown key `{path}`{}; known here: {}",
                        self.source.place(&path),
                        self.meant(&path),
                        self.known.join(", ")
                    )));
                }
            }
        }
        Ok(value)
    }

    /// What an unknown key of this section may have been meant for.
    fn meant(&self, path: &str) -> String {
        let of_others = self.keys.iter().filter(|it| it.path == path && !it.with.is_empty());
        let name = of_others.clone().find_map(|it| it.depends_on(self.keys));
        let names: Vec<&str> = of_others.flat_map(|it| it.with.iter().copied()).collect();
        match name {
            Some(name) => format!(" (it goes with `{name}: {}`)", names.join("`, `")),
            None => meant(path, &self.known, self.keys),
        }
    }

    /// The value of a key, if it has one.
    pub fn optional<T>(&mut self, key: &'static str, domain: &Domain<T>) -> Result<Option<T>> {
        let mut found = self.take(key);
        let mut written = key;
        if let Some(former) = domain.about.former
            && let Some(value) = self.left.remove(former)
        {
            if found.is_none() || self.layer_of(former) > self.layer_of(key) {
                self.remark(former, &format!("is now called `{}`", self.path_of(key)));
                (written, found) = (former, Some(value));
            } else if self.layer_of(former) == self.layer_of(key) {
                let expected = format!("nothing beside `{key}`, as it is now called");
                return Err(self.refuse(former, show(&value), &expected));
            }
        }
        let Some(found) = found else { return Ok(None) };
        let refuse = |expected: String| self.refuse(written, show(&found), &expected);
        domain.read(&found).map(Some).map_err(refuse)
    }

    /// The value of a key that must have one.
    pub fn required<T>(&mut self, key: &'static str, domain: &Domain<T>) -> Result<T> {
        self.optional(key, domain)?.ok_or_else(|| self.missing(key, &domain.about.expected))
    }

    /// The `name` that chooses among some.
    pub fn choose(
        &mut self,
        names: &[Name],
        default: Option<&'static str>,
    ) -> Result<&'static str> {
        let domain = choice_of(names.to_vec());
        match default {
            Some(default) => Ok(self.optional("name", &domain)?.unwrap_or(default)),
            None => self.required("name", &domain),
        }
    }

    /// Whether the file, what it extends, or a `--set` gives a key, of this section or one below.
    pub fn has(&self, key: &str) -> bool {
        self.given.is_some_and(|given| lookup(given, key).is_some())
    }

    /// Leaves a key aside if another one that speaks against it was set later: by a `--set`, which is
    /// remarked on, or by a file that extends the one of this key.
    pub fn yields(&mut self, key: &str, to: &str) -> bool {
        let yields = self.layer_of(to) > self.layer_of(key);
        if yields && self.source.is_set(&self.path_of(to)) {
            let to = self.path_of(to);
            self.remark(key, &format!("does not go with `{to}` as set, and is left out"));
        }
        yields
    }

    /// A path as it is found: beside the configuration, or one that it extends, if it is there and not in
    /// the current folder. It is then absolute, since a run's folder keeps it and may be used from anywhere.
    pub fn found_beside(&self, path: &Path) -> PathBuf {
        let mut beside = self.source.folders().map(|folder| folder.join(path));
        let better = beside.find(|beside| !path.exists() && beside.exists());
        let better = better.and_then(|path| std::path::absolute(path).ok());
        better.unwrap_or_else(|| path.to_path_buf())
    }

    /// Something that people should know about a key's value.
    pub fn remark(&mut self, key: &str, text: &str) {
        self.remarks.push(format!("`{}` {text}", self.path_of(key)));
    }

    /// The complaint that a key is not there.
    pub fn missing(&self, key: &str, expected: &str) -> ConfigError {
        let path = self.path_of(key);
        self.refused.replace(Some(path.clone()));
        let former = self.keys.iter().find(|it| it.path == path).and_then(Key::former_path);
        let former = former.map_or(String::new(), |it| format!(" or, by its former name, `{it}`"));
        // What is not known here may be what was meant.
        let unknown = self.left.keys().map(|key| self.path_of(&show(key)));
        let unknown = unknown.filter(|path| !self.is_key(path));
        let unknown: Vec<String> = unknown
            .map(|path| {
                let meant = meant(&path, &[key], self.keys);
                format!("`{path}` is not known{meant}")
            })
            .collect();
        let unknown = match unknown.join(", ") {
            none if none.is_empty() => none,
            unknown => format!(" ({unknown})"),
        };
        let section = self.path.trim_end_matches('.');
        let place = match !section.is_empty() && self.source.says(section) {
            true => self.source.place(section),
            false => self.source.origin(&path).to_string(),
        };
        ConfigError(format!("{place}: `{path}`{former} is missing; expected {expected}{unknown}"))
    }

    /// The complaint that a key's value cannot be.
    pub fn refuse(&self, key: &str, found: impl Display, expected: &str) -> ConfigError {
        let path = self.path_of(key);
        self.refused.replace(Some(path.clone()));
        self.source.refuse(&path, found, expected)
    }

    /// As [`Reader::refuse`], of a value that has not been read.
    pub fn refuse_unread(&self, key: &str, expected: &str) -> ConfigError {
        self.refuse(key, self.left.get(key).map(show).unwrap_or_default(), expected)
    }

    /// Whether some configuration can have a key at this path.
    fn is_key(&self, path: &str) -> bool {
        self.keys.iter().any(|it| it.is_at_or_below(path))
    }

    fn layer_of(&self, key: &str) -> Option<usize> {
        self.source.layer_of(&self.path_of(key))
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key)
    }
}
