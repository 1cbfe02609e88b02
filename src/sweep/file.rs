//! A sweep file: which configurations, varied in what, and what to report of them.

use std::path::{Path, PathBuf};

use serde_json::json;
use serde_yaml::{Mapping, Value};

use super::carried;
use super::values::{expand, values_of};
use crate::config::run_name;
use crate::report::ReportSettings;
use crate::settings::domain::{any, show, text};
use crate::settings::{
    ConfigError, Domain, Result, Source, is_at_or_below, key_and_value, parse_yaml, section,
};

section! {
    /// What a sweep file says.
    pub(super) struct Settings(stem: String) {
        /// Name of the sweep, whose runs are in `runs/<name>/`.
        name: String = stem => "the file's name", run_name();
        /// What is compared, in a sentence.
        about: String = String::new(), text("a sentence");
        /// The configuration that is varied, or a list of them: files, or names of carried ones.
        base: Vec<String> = Vec::new(), bases();
        /// Keys that all runs have in common.
        set: Mapping = Mapping::new(), keys();
        /// Keys with the values that they take; every combination is a run.
        vary: Mapping = Mapping::new(), keys();
        /// Named sets of keys that belong together, beside those combinations.
        cases: Mapping = Mapping::new(), keys();
        /// Named sets of keys that make the whole sweep smaller, for `--scale`.
        scales: Mapping = Mapping::new(), keys();
        /// What is reported.
        report: ReportSettings => read();
    }
}

const BASES: &str = "the name of a configuration, or a list of such names";

fn bases() -> Domain<Vec<String>> {
    let schema = json!({"type": ["string", "array"]});
    Domain::new(BASES, schema, |value| names(value).ok_or_else(String::new))
}

fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Sequence(names) if !names.is_empty() => Some(names.iter().map(show).collect()),
        Value::String(name) => Some(vec![name.clone()]),
        _ => None,
    }
}

fn keys() -> Domain<Mapping> {
    any("a mapping of keys", json!({"type": "object"}))
}

/// A sweep file that has been read.
#[derive(Clone, Debug)]
pub struct SweepFile {
    /// Where it is, for complaints.
    pub(super) origin: String,
    folder: Option<PathBuf>, // in which base configurations are looked for first
    pub(super) settings: Settings,
    pub(super) vary: Vec<Varied>,
    pub(super) cases: Vec<Case>,
    scale: Option<String>,
    pub(super) over: Vec<Setting>, // from the scale and from `--set`, over all else
}

/// A key and the values that it takes.
#[derive(Clone, Debug)]
pub(super) struct Varied {
    pub key: String,
    pub values: Vec<Value>,
    pub origin: String,
}

/// A named set of keys.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub name: String,
    pub bases: Vec<String>, // of its own; none: those of the file
    pub settings: Vec<Setting>,
}

/// A key with its value, and who says so.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub key: String,
    pub value: Value,
    pub origin: String,
}

impl SweepFile {
    /// A file, or a sweep that the program carries, by its name.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or it says what no sweep file can.
    pub fn open(sweep: &str) -> Result<SweepFile> {
        let path = Path::new(sweep);
        let inside = path.join("sweep.yaml");
        if let Some(inside) = inside.to_str().filter(|_| inside.is_file()) {
            return SweepFile::open(inside);
        }
        if path.is_file() {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("{sweep}: cannot be read: {error}")))?;
            return SweepFile::read(sweep, path.parent(), &text);
        }
        SweepFile::carried(sweep).unwrap_or_else(|| {
            let names = carried::carried_names().collect::<Vec<_>>().join(", ");
            Err(ConfigError(if path.is_dir() {
                format!("{sweep}: is a folder without a sweep.yaml; expected a sweep file")
            } else if Source::open(sweep).is_ok() {
                format!("{sweep}: is a configuration; `--vary seed=1..10` makes a sweep of it")
            } else {
                format!(
                    "{sweep}: no such file, and the program carries no sweep of that name; it carries \
                     {names}"
                )
            }))
        })
    }

    /// A sweep that the program carries, if it has that name.
    pub(super) fn carried(name: &str) -> Option<Result<SweepFile>> {
        let name = name.strip_suffix(".yaml").unwrap_or(name);
        let text = carried::carried(name)?;
        Some(SweepFile::read(&format!("sweeps/{name}.yaml"), None, text))
    }

    /// A sweep from its text; `name` stands in complaints.
    pub fn parse(name: &str, text: &str) -> Result<SweepFile> {
        SweepFile::read(name, None, text)
    }

    fn read(origin: &str, folder: Option<&Path>, text: &str) -> Result<SweepFile> {
        let source = Source::parse(origin, text)?;
        let known = Settings::keys();
        let stem = source.stem();
        let (settings, _) = source.read(Mapping::new(), &known, Vec::new(), |reader| {
            Settings::read_keys(reader, stem.clone())
        })?;
        let mut vary = Vec::new();
        for (key, values) in pairs(&settings.vary) {
            let refuse =
                |expected| refuse(origin, &format!("vary.{key}"), &show(&values), expected);
            let values = expand(&values).map_err(refuse)?;
            vary.push(Varied { key, values, origin: format!("{origin}: vary") });
        }
        let case = |(name, keys): (String, Value)| {
            let place = format!("cases.{name}");
            if name.is_empty() {
                let expected = "a name in front of the keys".to_string();
                return Err(refuse(origin, "cases", &name, expected));
            }
            let mut settings = mapping(origin, &place, &keys)?;
            let bases = match settings.shift_remove("base") {
                Some(base) => names(&base).ok_or_else(|| {
                    refuse(origin, &format!("{place}.base"), &show(&base), BASES.to_string())
                })?,
                None => Vec::new(),
            };
            let settings = under(&settings, &format!("{origin}: {place}"));
            Ok(Case { name, bases, settings })
        };
        let cases = pairs(&settings.cases).map(case).collect::<Result<Vec<_>>>()?;
        if settings.base.is_empty()
            && (cases.is_empty() || cases.iter().any(|it| it.bases.is_empty()))
        {
            return Err(ConfigError(format!(
                "{origin}: `base` is missing; expected the configuration that the runs start from"
            )));
        }
        let (origin, folder) = (origin.to_string(), folder.map(Path::to_path_buf));
        Ok(SweepFile { origin, folder, settings, vary, cases, scale: None, over: Vec::new() })
    }

    /// The sweep's name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What is compared, in a sentence.
    pub fn about(&self) -> &str {
        &self.settings.about
    }

    /// The scale that it was made smaller by, if any.
    pub fn chosen_scale(&self) -> Option<&str> {
        self.scale.as_deref()
    }

    /// The file's name without folder and ending.
    pub fn stem(&self) -> &str {
        let stem = Path::new(&self.origin).file_stem().and_then(|stem| stem.to_str());
        stem.unwrap_or(&self.origin)
    }

    /// What is to be reported.
    pub fn report(&self) -> &ReportSettings {
        &self.settings.report
    }

    /// The names of the scales.
    pub fn scales(&self) -> Vec<String> {
        pairs(&self.settings.scales).map(|(name, _)| name).collect()
    }

    /// Makes the sweep smaller, as one of its scales says.
    ///
    /// # Errors
    /// If there is no scale of that name.
    pub fn scale(&mut self, name: &str) -> Result<()> {
        let place = format!("scales.{name}");
        let Some(keys) = self.settings.scales.get(name) else {
            let expected = match self.scales().join(", ") {
                none if none.is_empty() => "no scale, since the file has none".to_string(),
                scales => format!("one of {scales}"),
            };
            let origin = &self.origin;
            return Err(ConfigError(format!(
                "{origin}: the scale is `{name}`; expected {expected}"
            )));
        };
        let keys = mapping(&self.origin, &place, keys)?;
        let origin = format!("{}: {place}", self.origin);
        self.scale = Some(name.to_string());
        under(&keys, &origin).into_iter().try_for_each(|setting| self.put(setting))
    }

    /// Sets a value for all runs, given as `key.of.it=value`. A key that is varied takes this value, or
    /// these values (`seed=1..3` or `seed=[1, 5]`), in place of its own.
    ///
    /// # Errors
    /// If it is no assignment.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let origin = format!("--set {assignment}");
        let (key, value) = key_and_value(assignment, "--set")?;
        let key = key.to_string();
        // Several values may stand in brackets, unless what is varied is itself a list.
        let bare = |varied: &Varied| {
            !value.trim_start().starts_with('[') || varied.values.iter().any(Value::is_sequence)
        };
        let read = match self.vary.iter().find(|varied| varied.key == key) {
            Some(varied) if bare(varied) => values_of(value),
            _ => parse_yaml(value).map_err(|error| error.to_string()),
        };
        let value =
            read.map_err(|error| ConfigError(format!("{origin}: the value is not YAML: {error}")))?;
        self.put(Setting { key, value, origin })
    }

    /// Changes what is to be reported, given as `key=value`.
    ///
    /// # Errors
    /// If the key of the report is not known, or its value cannot be.
    pub fn show(&mut self, assignment: &str) -> Result<()> {
        let report = serde_yaml::to_string(&self.settings.report).expect("settings are plain data");
        let mut source = Source::parse("report", &report)?;
        source.set_shown(assignment, "--show")?;
        self.settings.report = ReportSettings::read(&source)?;
        Ok(())
    }

    fn put(&mut self, setting: Setting) -> Result<()> {
        let Setting { key, value, origin } = setting;
        match self.vary.iter_mut().find(|varied| varied.key == key) {
            Some(varied) => {
                varied.values = expand(&value)
                    .map_err(|expected| refuse(&origin, &key, &show(&value), expected))?;
                varied.origin = origin;
            }
            None => self.over.push(Setting { key, value, origin }),
        }
        Ok(())
    }

    /// A base configuration: a file beside the sweep's (`.yaml` may be left out), or as given, or a
    /// carried one.
    pub(super) fn base(&self, name: &str) -> Result<Source> {
        let beside = self
            .folder
            .iter()
            .flat_map(|folder| [folder.join(name), folder.join(format!("{name}.yaml"))]);
        // `mnist.yaml` can be a sweep over the carried `mnist`.
        let found = beside.filter(|path| path.is_file() && *path != Path::new(&self.origin));
        let found = found.map(|path| path.display().to_string()).next();
        Source::open(found.as_deref().unwrap_or(name))
            .map_err(|error| ConfigError(format!("{}: `base`: {error}", self.origin)))
    }
}

impl Case {
    /// Whether the case, or a base of its own, says what a varied key is. A base's seed is not meant so.
    pub(super) fn settles(&self, key: &str, base: &Source) -> bool {
        let says = |setting: &Setting| {
            is_at_or_below(&setting.key, key) || is_at_or_below(key, &setting.key)
        };
        self.settings.iter().any(says)
            || (!self.bases.is_empty() && key != "seed" && base.says(key))
    }
}

/// A mapping of keys, or nothing.
fn mapping(origin: &str, place: &str, keys: &Value) -> Result<Mapping> {
    match keys {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(keys) => Ok(keys.clone()),
        other => Err(refuse(origin, place, &show(other), "a mapping of keys".to_string())),
    }
}

/// Keys with their values, in the file's order.
fn pairs(mapping: &Mapping) -> impl Iterator<Item = (String, Value)> {
    mapping.iter().map(|(key, value)| (show(key), value.clone()))
}

/// Settings of one origin.
pub(super) fn under(mapping: &Mapping, origin: &str) -> Vec<Setting> {
    let origin = |(key, value)| Setting { key, value, origin: origin.to_string() };
    pairs(mapping).map(origin).collect()
}

fn refuse(origin: &str, key: &str, found: &str, expected: String) -> ConfigError {
    ConfigError(format!("{origin}: `{key}` is `{found}`; expected {expected}"))
}
