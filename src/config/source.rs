//! Where a configuration comes from: a file, or one that the program carries, and `--set`s.

use std::collections::HashSet;
use std::fmt::Display;
use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::ConfigError;

macro_rules! carried {
    ($($name:literal),* $(,)?) => {
        /// Names of the configurations that the program carries.
        pub const NAMES: &[&str] = &[$($name),*];
        const TEXTS: &[&str] = &[$(include_str!(concat!("../../configs/", $name, ".yaml"))),*];
    };
}

carried![
    "mnist",
    "mnist_bp",
    "mnist_dfa",
    "mnist_drtp",
    "mnist_llo",
    "mnist_pepita",
    "mnist_cnn",
    "mnist_vit",
    "fashion_mnist",
    "digits",
    "cifar10",
    "wine_quality",
    "wine_quality_bp",
    "wine_quality_classes",
    "wine_quality_dfa",
    "wine_quality_drtp",
    "wine_quality_llo",
    "sgemm",
    "sgemm_bp",
    "sgemm_dfa",
    "sgemm_drtp",
    "sgemm_llo",
    "census_income",
    "kddcup99",
    "susy",
];

/// The text of a configuration, with the values that are set on top of it.
#[derive(Debug)]
pub struct Source {
    name: String,
    file: Mapping,
    overrides: Vec<Override>,
    replaced_choices: HashSet<String>, // sections whose `name` was set to another one
}

#[derive(Debug)]
struct Override {
    path: String,
    value: Value,
    shown: String, // as the user said it
}

impl Source {
    /// A file, or a configuration that the program carries by that name, with or without `.yaml`.
    pub fn open(config: &str) -> Result<Source, ConfigError> {
        let path = Path::new(config);
        if path.exists() && !path.is_dir() {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("{config}: cannot be read: {error}")))?;
            return Source::parse(config, &text);
        }
        let name = config.strip_suffix(".yaml").unwrap_or(config);
        match NAMES.iter().position(|carried| *carried == name) {
            Some(index) => Source::parse(&format!("configs/{name}.yaml"), TEXTS[index]),
            None => Err(ConfigError(format!(
                "{config}: no such file, and the program carries no configuration of that name; \
                 it carries {}",
                NAMES.join(", ")
            ))),
        }
    }

    /// A configuration from its text; `name` stands in complaints.
    pub fn parse(name: &str, text: &str) -> Result<Source, ConfigError> {
        let value = serde_yaml::from_str(text)
            .map_err(|error| ConfigError(format!("{name}: is not YAML: {error}")))?;
        let file = match value {
            Value::Mapping(mapping) => mapping,
            Value::Null => Mapping::new(),
            _ => return Err(ConfigError(format!("{name}: holds no mapping of keys"))),
        };
        Ok(Source {
            name: name.to_string(),
            file,
            overrides: Vec::new(),
            replaced_choices: HashSet::new(),
        })
    }

    /// Sets a value, given as `key.of.it=value` with the value in YAML, over the file's.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let shown = format!("--set {assignment}");
        let Some((path, value)) = assignment.split_once('=') else {
            return Err(ConfigError(format!("{shown}: has no `=`; write --set key=value")));
        };
        // What YAML would take for punctuation is a text here.
        let punctuation = value.len() == 1 && value.starts_with(|c: char| c.is_ascii_punctuation());
        let value = if punctuation || value.starts_with('#') {
            Value::from(value)
        } else {
            serde_yaml::from_str(value)
                .map_err(|error| ConfigError(format!("{shown}: the value is not YAML: {error}")))?
        };
        self.push(path.trim(), value, shown)
    }

    /// Sets a value that came from an option of its own, such as `--seed`.
    pub fn set_option(&mut self, path: &str, value: Value, shown: &str) -> Result<(), ConfigError> {
        self.push(path, value, shown.to_string())
    }

    fn push(&mut self, path: &str, value: Value, shown: String) -> Result<(), ConfigError> {
        if path.split('.').any(str::is_empty) {
            return Err(ConfigError(format!("{shown}: `{path}` is not a key")));
        }
        if let Some(section) = path.strip_suffix(".name")
            && lookup(&self.file, section).is_some()
            && lookup(&self.file, path) != Some(&value)
        {
            self.replaced_choices.insert(section.to_string());
        }
        self.overrides.push(Override { path: path.to_string(), value, shown });
        Ok(())
    }

    /// The file's name without folder and ending.
    pub(super) fn stem(&self) -> String {
        let stem = Path::new(&self.name).file_stem().map(|stem| stem.to_string_lossy());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let stem: String = stem.unwrap_or_default().chars().filter(|&c| allowed(c)).collect();
        let stem = stem.trim_start_matches('.');
        if stem.is_empty() { "run".to_string() } else { stem.to_string() }
    }

    /// The file's keys with the overrides on top, in the order in which they were given.
    pub(super) fn merged(&self) -> Result<Mapping, ConfigError> {
        let mut merged = self.file.clone();
        for set in &self.overrides {
            let mut keys: Vec<&str> = set.path.split('.').collect();
            let last = keys.pop().expect("a path has a key");
            let mut mapping = &mut merged;
            for key in keys {
                let next = mapping
                    .entry(Value::from(key))
                    .or_insert_with(|| Value::Mapping(Mapping::new()));
                if next.is_null() {
                    *next = Value::Mapping(Mapping::new());
                }
                mapping = next.as_mapping_mut().ok_or_else(|| {
                    ConfigError(format!("{}: `{key}` holds a value, not keys", set.shown))
                })?;
            }
            mapping.insert(Value::from(last), set.value.clone());
        }
        Ok(merged)
    }

    /// Who said what stands at a key: the file, or the last `--set` for it.
    pub(super) fn origin(&self, path: &str) -> &str {
        let is_at_or_below = |path: &str, key: &str| {
            path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut overrides = self.overrides.iter().rev();
        let said = if lookup(&self.file, path).is_some() {
            overrides.find(|set| is_at_or_below(path, &set.path))
        } else {
            // A `--set` below a key that the file does not have has made that key.
            overrides.find(|set| is_at_or_below(path, &set.path) || is_at_or_below(&set.path, path))
        };
        said.map_or(&self.name, |set| &set.shown)
    }

    /// Whether a `--set` says what stands at a key.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.origin(path) != self.name
    }

    /// Whether a key of the file belongs to a choice that an override has replaced by another.
    pub(super) fn belongs_to_replaced_choice(&self, path: &str) -> bool {
        !self.is_set(path)
            && self.replaced_choices.iter().any(|section| {
                path.strip_prefix(section.as_str()).is_some_and(|rest| rest.starts_with('.'))
            })
    }

    /// The complaint that the value at a key cannot be.
    pub fn refuse(&self, path: &str, found: impl Display, expected: &str) -> ConfigError {
        ConfigError(format!("{}: `{path}` is `{found}`; expected {expected}", self.origin(path)))
    }
}

fn lookup<'a>(mapping: &'a Mapping, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => mapping.get(path),
        Some((key, rest)) => lookup(mapping.get(key)?.as_mapping()?, rest),
    }
}
