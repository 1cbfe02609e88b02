//! Where a configuration comes from: a file, or one that the program carries, those that it extends,
//! and `--set`s.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::ConfigError;
use super::carried::{self, CARRIED};
use super::domain::show;

/// The layers of a configuration: each says what differs from the one before.
#[derive(Debug)]
pub struct Source {
    files: Vec<File>, // the last one is the configuration itself; it extends the one before, and so on
    sets: Vec<Set>,
}

#[derive(Debug)]
struct File {
    name: String,
    folder: Option<PathBuf>, // none: the program carries it
    values: Mapping,
}

#[derive(Debug)]
struct Set {
    path: String,
    value: Value,
    shown: String, // as the user said it
}

/// What has replaced the choice to which a key belongs.
pub(super) enum Replaced {
    /// A file that extends the key's.
    ByFile,
    /// A `--set`.
    BySet,
}

impl Source {
    /// A file, or a configuration that the program carries by that name, with or without `.yaml`.
    pub fn open(config: &str) -> Result<Source, ConfigError> {
        let file = match File::read(Path::new(config))? {
            Some(file) => Some(file),
            None => File::carried(config)?,
        };
        Source::of(file.ok_or_else(|| {
            ConfigError(format!(
                "{config}: no such file, and the program carries no configuration of that name; it \
                 carries {}",
                carried::names().join(", ")
            ))
        })?)
    }

    /// A configuration from its text; `name` stands in complaints.
    pub fn parse(name: &str, text: &str) -> Result<Source, ConfigError> {
        Source::of(File::parse(name.to_string(), None, text)?)
    }

    /// A file on top of those that it extends.
    fn of(file: File) -> Result<Source, ConfigError> {
        let mut files = vec![file];
        while let Some(extends) = files[0].values.shift_remove("extends") {
            let refuse = |expected: String| {
                let (name, found) = (&files[0].name, show(&extends));
                ConfigError(format!("{name}: `extends` is `{found}`; expected {expected}"))
            };
            let expected =
                "the path of a configuration, or the name of one that the program carries";
            let base = extends.as_str().ok_or_else(|| refuse(expected.to_string()))?;
            let mut base = files[0].base(base)?.ok_or_else(|| {
                let names = carried::names().join(", ");
                refuse(format!("a file, or a configuration that the program carries: {names}"))
            })?;
            if files.iter().any(|file| is_same(&file.name, &base.name)) {
                let mut names: Vec<&str> = files.iter().rev().map(|it| it.name.as_str()).collect();
                names.push(&base.name);
                let circle = names.join(" extends ");
                return Err(refuse(format!("a configuration outside of the circle {circle}")));
            }
            base.values.shift_remove("name"); // that of a run is its own
            files.insert(0, base);
        }
        Ok(Source { files, sets: Vec::new() })
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
        self.set_option(path.trim(), value, &shown)
    }

    /// Sets a value that came from an option of its own, such as `--seed`.
    pub fn set_option(&mut self, path: &str, value: Value, shown: &str) -> Result<(), ConfigError> {
        if path.split('.').any(str::is_empty) {
            return Err(ConfigError(format!("{shown}: `{path}` is not a key")));
        }
        if path == "extends" {
            return Err(ConfigError(format!("{shown}: `extends` can only stand in a file")));
        }
        self.sets.push(Set { path: path.to_string(), value, shown: shown.to_string() });
        Ok(())
    }

    /// The file's name without folder and ending.
    pub fn stem(&self) -> String {
        let stem = Path::new(self.name()).file_stem().map(|stem| stem.to_string_lossy());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let stem: String = stem.unwrap_or_default().chars().filter(|&c| allowed(c)).collect();
        let stem = stem.trim_start_matches('.');
        if stem.is_empty() { "run".to_string() } else { stem.to_string() }
    }

    /// The files' values, each over those it extends, with the `--set`s on top.
    pub fn merged(&self) -> Result<Mapping, ConfigError> {
        let mut merged = Mapping::new();
        for file in &self.files {
            lay_over(&mut merged, &file.values);
        }
        for set in &self.sets {
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

    /// The layer that says what stands at a key, counted from the first base upwards; none: nobody
    /// says it.
    pub(super) fn layer_of(&self, path: &str) -> Option<usize> {
        let file = self.files.iter().rposition(|file| lookup(&file.values, path).is_some());
        // A `--set` below a key that no file has has made that key.
        let set = self.sets.iter().rposition(|set| {
            is_at_or_below(path, &set.path) || file.is_none() && is_at_or_below(&set.path, path)
        });
        set.map(|set| self.files.len() + set).or(file)
    }

    /// Who says what stands at a key: a file, or the last `--set` for it.
    pub(super) fn origin(&self, path: &str) -> &str {
        match self.layer_of(path) {
            None => self.name(),
            Some(layer) if layer < self.files.len() => &self.files[layer].name,
            Some(layer) => &self.sets[layer - self.files.len()].shown,
        }
    }

    /// Whether a `--set` says what stands at a key.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.layer_of(path) >= Some(self.files.len())
    }

    /// What has replaced the choice, such as `optimizer.name`, to which a file's key belongs.
    pub(super) fn replaced_choice(&self, path: &str) -> Option<Replaced> {
        let layer = self.layer_of(path).filter(|layer| *layer < self.files.len())?;
        path.match_indices('.').find_map(|(dot, _)| {
            let name = format!("{}.name", &path[..dot]);
            let in_files = |files: &[File]| {
                files.iter().rev().find_map(|file| lookup(&file.values, &name).cloned())
            };
            let chosen = in_files(&self.files[..=layer]);
            let by_set =
                self.sets.iter().any(|it| it.path == name && Some(&it.value) != chosen.as_ref());
            if by_set {
                return Some(Replaced::BySet);
            }
            (in_files(&self.files) != chosen).then_some(Replaced::ByFile)
        })
    }

    /// The complaint that the value at a key cannot be.
    pub fn refuse(&self, path: &str, found: impl Display, expected: &str) -> ConfigError {
        ConfigError(format!("{}: `{path}` is `{found}`; expected {expected}", self.origin(path)))
    }

    fn name(&self) -> &str {
        &self.files.last().expect("the configuration itself is always there").name
    }
}

impl File {
    fn parse(name: String, folder: Option<PathBuf>, text: &str) -> Result<File, ConfigError> {
        let value = serde_yaml::from_str(text)
            .map_err(|error| ConfigError(format!("{name}: is not YAML: {error}")))?;
        match value {
            Value::Mapping(values) => Ok(File { name, folder, values }),
            Value::Null => Ok(File { name, folder, values: Mapping::new() }),
            _ => Err(ConfigError(format!("{name}: holds no mapping of keys"))),
        }
    }

    /// The file at a path, if there is one.
    fn read(path: &Path) -> Result<Option<File>, ConfigError> {
        if !path.exists() || path.is_dir() {
            return Ok(None);
        }
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("{name}: cannot be read: {error}")))?;
        File::parse(name, path.parent().map(Path::to_path_buf), &text).map(Some)
    }

    /// The configuration that the program carries by a name.
    fn carried(name: &str) -> Result<Option<File>, ConfigError> {
        let name = name.strip_suffix(".yaml").unwrap_or(name);
        let found = CARRIED.iter().find(|(carried, _)| *carried == name);
        found.map(|(_, text)| File::parse(format!("configs/{name}.yaml"), None, text)).transpose()
    }

    /// What this one extends: a file beside it (`.yaml` may be left out) or as given, or a carried one.
    fn base(&self, base: &str) -> Result<Option<File>, ConfigError> {
        if let Some(folder) = &self.folder {
            let mut paths =
                vec![folder.join(base), folder.join(format!("{base}.yaml")), base.into()];
            if paths[1] == Path::new(&self.name) {
                paths.remove(1); // `mnist.yaml` can extend the carried `mnist`
            }
            for path in paths {
                if let Some(file) = File::read(&path)? {
                    return Ok(Some(file));
                }
            }
        }
        File::carried(base)
    }
}

/// Whether two names are of one file.
fn is_same(a: &str, b: &str) -> bool {
    let whole = |name: &str| std::fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name));
    a == b || whole(a) == whole(b)
}

/// Puts values over others; mappings are merged.
pub fn lay_over(values: &mut Mapping, above: &Mapping) {
    for (key, value) in above {
        match (values.get_mut(key), value) {
            (Some(Value::Mapping(below)), Value::Mapping(above)) => lay_over(below, above),
            _ => drop(values.insert(key.clone(), value.clone())),
        }
    }
}

/// The value at a path, such as `optimizer.name`.
pub fn lookup<'a>(mapping: &'a Mapping, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => mapping.get(path),
        Some((key, rest)) => lookup(mapping.get(key)?.as_mapping()?, rest),
    }
}

fn is_at_or_below(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
