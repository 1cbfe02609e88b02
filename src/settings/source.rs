//! Where a configuration comes from: a file, or one that the program carries, those that it extends,
//! and `--set`s.

use std::fmt::Display;
use std::io::read_to_string;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::files::{self, At};

use super::carried::{self, CARRIED};
use super::domain::show;
use super::{ConfigError, Result, yaml};

/// The layers of a configuration: each says what differs from the one before.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::config::{Config, Source};
///
/// let mut source = Source::open("mnist")?; // a file, or one that the library carries
/// source.set("model.hidden_layers=3")?;
/// let (config, remarks) = Config::read(&source)?;
/// assert_eq!(config.epochs, 100);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Source {
    layers: Vec<Layer>, // files, each of which extends the one before, then `--set`s
    pub(crate) values: Mapping, // of all layers
}

/// A file, or a `--set`.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    name: String,            // of the file, or the `--set` as the user said it
    folder: Option<PathBuf>, // of the file; none: the program carries it
    set: String,             // the key that is set; empty for a file
    values: Mapping,
    text: String, // of a file, for the lines of its keys
}

impl Source {
    /// A file, or a configuration that the program carries by that name, with or without `.yaml`; `-` is
    /// standard input.
    pub fn open(config: &str) -> Result<Source> {
        if config == "-" {
            let name = "standard input".to_string();
            let text = read_to_string(std::io::stdin())
                .map_err(|error| ConfigError(format!("{name}: cannot be read: {error}")))?;
            return Source::of(Layer::parse(name, Some(PathBuf::new()), &text)?);
        }
        if config.is_empty() {
            let names = carried::names().join(", ");
            let expected = format!("a file, or a configuration that the program carries: {names}");
            return Err(ConfigError(format!("the configuration has no name; expected {expected}")));
        }
        if Path::new(config).is_dir() {
            let inside = Path::new(config).join("config.yaml");
            let remedy = match inside.is_file() {
                true => format!(
                    "`f3-tch train {0}` begins the run anew, `f3-tch resume {config}` continues it",
                    inside.display()
                ),
                false => "a configuration is a file".to_string(),
            };
            return Err(ConfigError(format!("{config}: is a folder; {remedy}")));
        }
        Source::of(Layer::find(vec![config.into()], config)?.ok_or_else(|| {
            let names = carried::names().join(", ");
            ConfigError(format!(
                "{config}: no such file, and the program carries no configuration of that name; it \
                 carries {names}"
            ))
        })?)
    }

    /// A configuration from its text; `name` stands in complaints.
    pub fn parse(name: &str, text: &str) -> Result<Source> {
        Source::of(Layer::parse(name.to_string(), None, text)?)
    }

    /// A file on top of those that it extends.
    fn of(file: Layer) -> Result<Source> {
        let mut layers = vec![file];
        while let Some(extends) = layers[0].values.shift_remove("extends") {
            let refuse = |expected: String| {
                let (name, found) = (&layers[0].name, show(&extends));
                ConfigError(format!("{name}: `extends` is `{found}`; expected {expected}"))
            };
            let expected =
                "the path of a configuration, or the name of one that the program carries";
            let base = extends.as_str().ok_or_else(|| refuse(expected.to_string()))?;
            let mut base = layers[0].base(base)?.ok_or_else(|| {
                let names = carried::names().join(", ");
                refuse(format!("a file, or a configuration that the program carries: {names}"))
            })?;
            let whole = |file: &Layer| {
                std::fs::canonicalize(&file.name).unwrap_or(file.name.clone().into())
            };
            if layers.iter().any(|file| whole(file) == whole(&base)) {
                let mut names: Vec<&str> = layers.iter().rev().map(|it| it.name.as_str()).collect();
                names.push(&base.name);
                let circle = names.join(" extends ");
                return Err(refuse(format!("a configuration outside of the circle {circle}")));
            }
            base.values.shift_remove("name"); // that of a run is its own
            layers.insert(0, base);
        }
        let mut values = Mapping::new();
        layers.iter().for_each(|layer| lay_over(&mut values, &layer.values));
        Ok(Source { layers, values })
    }

    /// Sets a value, given as `key.of.it=value` with the value in YAML, over the file's.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        self.set_shown(assignment, "--set")
    }

    /// As [`Source::set`], for an option of another name.
    pub fn set_shown(&mut self, assignment: &str, option: &str) -> Result<()> {
        let shown = format!("{option} {assignment}");
        let (path, value) = key_and_value(assignment, option)?;
        if path.matches('.').count() > DEEPEST {
            return Err(ConfigError(format!("{option}: no key has so many parts")));
        }
        // What YAML would take for punctuation is a text here.
        let punctuation = value.len() == 1 && value.starts_with(|c: char| c.is_ascii_punctuation());
        let value = if punctuation || value.starts_with('#') {
            Value::from(value)
        } else {
            yaml::parse(value)
                .map_err(|error| ConfigError(format!("{shown}: the value is not YAML: {error}")))?
        };
        self.set_option(path, value, &shown)
    }

    /// Sets a value that came from an option of its own, such as `--seed`.
    pub fn set_option(&mut self, path: &str, value: Value, shown: &str) -> Result<()> {
        if path.split('.').any(str::is_empty) {
            return Err(ConfigError(format!("{shown}: `{path}` is not a key")));
        }
        if path == "extends" {
            return Err(ConfigError(format!("{shown}: `extends` can only stand in a file")));
        }
        put(&mut self.values, path, value.clone())
            .map_err(|key| ConfigError(format!("{shown}: `{key}` holds a value, not keys")))?;
        let (name, set, mut values) = (shown.to_string(), path.to_string(), Mapping::new());
        put(&mut values, path, value).expect("nothing is in the way of a first value");
        self.layers.push(Layer { name, folder: None, set, values, text: String::new() });
        Ok(())
    }

    /// Whether anybody says what stands at a key, or at one below it.
    pub fn says(&self, path: &str) -> bool {
        lookup(&self.values, path).is_some()
    }

    /// The file's name without folder and ending.
    pub fn stem(&self) -> String {
        let stem = Path::new(self.name()).file_stem().map(|stem| stem.to_string_lossy());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let stem: String = stem.unwrap_or_default().chars().filter(|&c| allowed(c)).collect();
        let stem = stem.trim_start_matches('.');
        if stem.is_empty() { "run".to_string() } else { stem.to_string() }
    }

    /// The layer that says what stands at a key, counted from the first base upwards; none: nobody
    /// says it.
    pub(super) fn layer_of(&self, path: &str) -> Option<usize> {
        let is_in = |layer: &Layer| lookup(&layer.values, path).is_some();
        let says = |layer: &Layer| match layer.is_set() {
            true => is_at_or_below(path, &layer.set),
            false => is_in(layer),
        };
        // Where nobody says it, a `--set` below the key has made it.
        self.layers.iter().rposition(says).or_else(|| self.layers.iter().rposition(is_in))
    }

    /// Who says what stands at a key: a file, or the last `--set` for it.
    pub(super) fn origin(&self, path: &str) -> &str {
        self.layer_of(path).map_or(self.name(), |layer| &self.layers[layer].name)
    }

    /// Whether a `--set` says what stands at a key.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.layer_of(path).is_some_and(|layer| self.layers[layer].is_set())
    }

    /// What has replaced the choice, such as `optimizer.name`, to which a file's key belongs.
    pub(super) fn replaced_choice<'a>(&'a self, path: &str) -> Option<&'a Layer> {
        let layer = self.layer_of(path).filter(|layer| !self.layers[*layer].is_set())?;
        path.match_indices('.').find_map(|(dot, _)| {
            let name = format!("{}.name", &path[..dot]);
            let chosen = |layers: &'a [Layer]| {
                layers.iter().rev().find_map(|it| Some((it, lookup(&it.values, &name)?)))
            };
            let (layer_now, now) = chosen(&self.layers)?;
            let then = chosen(&self.layers[..=layer]);
            then.is_none_or(|(_, then)| then != now).then_some(layer_now)
        })
    }

    /// The complaint that the value at a key cannot be.
    pub fn refuse(&self, path: &str, found: impl Display, expected: &str) -> ConfigError {
        ConfigError(format!("{}: `{path}` is `{found}`; expected {expected}", self.place(path)))
    }

    /// As [`Source::origin`], with the line in a file.
    pub(super) fn place(&self, path: &str) -> String {
        let origin = self.origin(path);
        let text = self.layer_of(path).map_or("", |layer| &self.layers[layer].text);
        match line_of(text, path) {
            Some(line) => format!("{origin}, line {line}"),
            None => origin.to_string(),
        }
    }

    /// Takes a key away, with all that lies below it, as if nobody had given it.
    pub(super) fn forget(&mut self, path: &str) {
        remove(&mut self.values, path);
        self.layers.iter_mut().for_each(|layer| remove(&mut layer.values, path));
    }

    /// Puts a value at a key that has none, as far as the sections above it are mappings.
    pub(super) fn put(&mut self, path: &str, value: Value) {
        let _ = put(&mut self.values, path, value);
    }

    /// The folders of the configuration and of those that it extends, as far as they are files.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().rev().filter_map(|layer| layer.folder.as_deref())
    }

    fn name(&self) -> &str {
        let file = self.layers.iter().rfind(|layer| !layer.is_set());
        &file.expect("the configuration itself is always there").name
    }
}

impl Layer {
    fn parse(name: String, folder: Option<PathBuf>, text: &str) -> Result<Layer> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text); // the mark that some editors begin with
        let indent = |line: &str| line[..line.len() - line.trim_start().len()].contains('\t');
        if let Some((number, _)) = (1..).zip(text.lines()).find(|(_, line)| indent(line)) {
            let remedy = "is indented with a tab; YAML wants spaces";
            if yaml::parse(text).is_err() {
                return Err(ConfigError(format!("{name}, line {number}: {remedy}")));
            }
        }
        let values = match yaml::parse(text) {
            Ok(Value::Mapping(values)) => values,
            Ok(Value::Null) => Mapping::new(),
            Ok(_) => return Err(ConfigError(format!("{name}: holds no mapping of keys"))),
            Err(error) => return Err(ConfigError(format!("{name}: is not YAML: {error}"))),
        };
        Ok(Layer { name, folder, set: String::new(), values, text: text.to_string() })
    }

    /// The first of these files that is there, or the configuration that the program carries by a name.
    fn find(files: Vec<PathBuf>, name: &str) -> Result<Option<Layer>> {
        if let Some(path) = files.iter().find(|path| path.exists() && !path.is_dir()) {
            let name = path.display().to_string();
            let text =
                files::open(path).and_then(|file| read_to_string(file).at(path, "cannot be read"));
            let text = text.map_err(|error| ConfigError(format!("{error:#}")))?;
            return Layer::parse(name, path.parent().map(Path::to_path_buf), &text).map(Some);
        }
        let name = name.strip_suffix(".yaml").unwrap_or(name);
        let found = CARRIED.iter().find(|(carried, _)| *carried == name);
        found.map(|(_, text)| Layer::parse(format!("configs/{name}.yaml"), None, text)).transpose()
    }

    /// What this file extends: a file beside it (`.yaml` may be left out) or as given, or a carried one.
    fn base(&self, base: &str) -> Result<Option<Layer>> {
        let mut files = Vec::new();
        if let Some(folder) = &self.folder {
            files = vec![folder.join(base), folder.join(format!("{base}.yaml")), base.into()];
            if files[1] == Path::new(&self.name) {
                files.remove(1); // `mnist.yaml` can extend the carried `mnist`
            }
        }
        Layer::find(files, base)
    }

    pub(super) fn is_set(&self) -> bool {
        !self.set.is_empty()
    }
}

/// The two sides of an assignment `key=value` that was given to an option.
///
/// # Errors
/// If there is no `=`.
pub fn key_and_value<'a>(assignment: &'a str, option: &str) -> Result<(&'a str, &'a str)> {
    let sides = assignment.split_once('=').map(|(key, value)| (key.trim(), value));
    sides.ok_or_else(|| {
        ConfigError(format!("{option} {assignment}: has no `=`; write {option} key=value"))
    })
}

/// No key has more parts.
const DEEPEST: usize = 10;

/// Puts values over others; mappings are merged.
pub fn lay_over(values: &mut Mapping, above: &Mapping) {
    for (key, value) in above {
        match (values.get_mut(key), value) {
            (Some(Value::Mapping(below)), Value::Mapping(above)) => lay_over(below, above),
            _ => drop(values.insert(key.clone(), value.clone())),
        }
    }
}

/// Puts a value at a path in place of what is there. The error is a key on the way that holds a value.
fn put(values: &mut Mapping, path: &str, value: Value) -> Result<(), String> {
    let Some((key, rest)) = path.split_once('.') else {
        values.insert(path.into(), value);
        return Ok(());
    };
    let below = values.entry(key.into()).or_insert(Value::Null);
    if below.is_null() {
        *below = Mapping::new().into();
    }
    put(below.as_mapping_mut().ok_or(key)?, rest, value)
}

/// The value at a path, such as `optimizer.name`.
pub(crate) fn lookup<'a>(values: &'a Mapping, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => values.get(path),
        Some((key, rest)) => lookup(values.get(key)?.as_mapping()?, rest),
    }
}

/// Takes away what stands at a path.
fn remove(values: &mut Mapping, path: &str) {
    match path.split_once('.') {
        None => drop(values.shift_remove(path)),
        Some((key, rest)) => {
            if let Some(Value::Mapping(below)) = values.get_mut(key) {
                remove(below, rest);
            }
        }
    }
}

/// The line, counted from 1, in which a key stands in a YAML text, or the mapping in braces that has it.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let keys: Vec<&str> = path.split('.').collect();
    let mut found: Vec<usize> = Vec::new(); // the indents of the sections that the line is in
    let mut indent_below = Some(0); // of the keys of the innermost section, if it is known
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() || content.starts_with(['#', '-']) {
            continue;
        }
        if found.last().is_some_and(|section| indent <= *section) {
            return None; // the section has ended without the key
        }
        if *indent_below.get_or_insert(indent) != indent {
            continue;
        }
        let Some(rest) = behind_key(content, keys[found.len()]) else { continue };
        if found.len() + 1 == keys.len() || rest.trim_start().starts_with('{') {
            return Some(number);
        }
        found.push(indent);
        indent_below = None;
    }
    None
}

/// What stands behind a key and its colon.
fn behind_key<'a>(content: &'a str, key: &str) -> Option<&'a str> {
    let quoted = ['"', '\'']
        .iter()
        .find_map(|quote| content.strip_prefix(*quote)?.strip_prefix(key)?.strip_prefix(*quote));
    quoted.or_else(|| content.strip_prefix(key))?.trim_start().strip_prefix(':')
}

/// Whether a key is this one, or lies below it.
pub(crate) fn is_at_or_below(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_their_lines() {
        let text = "# a comment\nname: x\ndata:\n  name: csv\n\n  targets:\n    - a\n    - epochs\n\
                    \"model\": {width: 5, hidden_layers: 2}\noptimizer:\n    learning_rate: 1\n    \
                    schedule:\n      name: cosine\nepochs : 3\n";
        for (path, line) in [
            ("name", Some(2)),
            ("data.name", Some(4)),
            ("data.targets", Some(6)),
            ("model", Some(9)),
            ("model.width", Some(9)),
            ("optimizer.learning_rate", Some(11)),
            ("optimizer.schedule.name", Some(13)),
            ("epochs", Some(14)),
            ("data.path", None),
            ("optimizer.name", None),
            ("seed", None),
        ] {
            assert_eq!(line_of(text, path), line, "{path}");
        }
    }
}
