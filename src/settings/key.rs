//! What is known of the keys of a configuration.

use serde::Serialize;
use serde_json::Value as Json;
use serde_yaml::Value;

use super::domain::choice_of;
use super::names::{Name, nearest, paragraphs};
use super::source::is_at_or_below;

/// A key of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Key {
    /// Its place, such as `checkpoint.every`.
    pub path: String,
    /// Its doc comment.
    pub doc: &'static str,
    /// Its values, as a complaint expects them.
    pub expected: String,
    /// Its values, in a table.
    pub values: String,
    /// Its values, as JSON Schema.
    pub schema: Json,
    /// The names, if only these are allowed.
    pub names: Vec<Name>,
    /// What the key was called before; still accepted, with a remark.
    pub former: Option<&'static str>,
    /// Its value where nobody gives one.
    pub default: Preset,
    /// The choices of its section that have this key; none: all.
    pub with: Vec<&'static str>,
}

/// The value of a key that nobody gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Preset {
    /// There is none: it must be given.
    #[default]
    Required,
    /// This value.
    Value(Value),
    /// It depends on other keys, in these words.
    Depends(&'static str),
}

impl Preset {
    /// A value that does not depend on anything.
    pub fn value<T: Serialize>(value: T) -> Preset {
        Preset::Value(serde_yaml::to_value(value).expect("a default is plain data"))
    }
}

impl Key {
    /// What it means, in a few words.
    pub fn summary(&self) -> String {
        paragraphs(self.doc).swap_remove(0)
    }

    /// Where the choice stands on which it depends whether there is this key: `optimizer.name`.
    pub(super) fn depends_on(&self, keys: &[Key]) -> Option<String> {
        let names = self.path.match_indices('.').rev();
        let mut names = names.map(|(dot, _)| format!("{}.name", &self.path[..dot]));
        names.find(|name| {
            let offers = |key: &Key| {
                key.path == *name
                    && self.with.iter().all(|it| key.names.iter().any(|(name, _)| name == it))
            };
            !self.with.is_empty() && *name != self.path && keys.iter().any(offers)
        })
    }

    /// A value that it can have, to go on reading with where it has none, or `wrong`; of names, one that was
    /// meant.
    pub(super) fn stand_in(&self, wrong: Option<&Value>) -> Option<Value> {
        if !self.names.is_empty() {
            let names = || self.names.iter().map(|(name, _)| *name);
            let meant = wrong.and_then(|it| nearest(it.as_str()?, names()));
            // What a section is decides which keys it has.
            let first = if self.path.ends_with(".name") { None } else { names().next() };
            return meant.or(first).map(Value::from);
        }
        let schema = self.schema["anyOf"].get(0).unwrap_or(&self.schema);
        let kind = schema["type"].get(0).unwrap_or(&schema["type"]);
        match kind.as_str()? {
            "integer" => Some(schema["minimum"].as_i64().unwrap_or(1).max(1).into()),
            "number" => Some(schema["minimum"].as_f64().unwrap_or(1e-3).into()),
            "string" => Some("x".into()),
            _ => None,
        }
    }

    /// Its place by its former name.
    pub(super) fn former_path(&self) -> Option<String> {
        let (section, _) = self.path.rsplit_once('.')?;
        Some(format!("{section}.{}", self.former?))
    }

    /// Whether this is the key at a path, by its present or former name, or lies below that path.
    pub(super) fn is_at_or_below(&self, path: &str) -> bool {
        is_at_or_below(&self.path, path) || self.former_path().is_some_and(|it| it == path)
    }
}

/// The keys of a section, with `prefix` in front. What is said of the section is said of its `name`.
pub fn below(prefix: &str, doc: &'static str, mut keys: Vec<Key>) -> Vec<Key> {
    for key in &mut keys {
        if key.path == "name" && key.doc.is_empty() {
            key.doc = doc;
        }
        key.path.insert_str(0, prefix);
    }
    keys
}

/// The key `name`, which chooses, and the keys of each choice.
pub fn of_choices(
    names: &[Name],
    default: Option<&'static str>,
    of_each: Vec<Vec<Key>>,
) -> Vec<Key> {
    let default = default.map_or(Preset::Required, Preset::value);
    let mut all = vec![choice_of(names.to_vec()).key("name", "", default)];
    for key in of_each.iter().flatten() {
        let choices = names.iter().zip(&of_each).filter(|(_, keys)| keys.contains(key));
        let choices: Vec<&str> = choices.map(|((name, _), _)| *name).collect();
        let mut key = key.clone();
        if key.with.is_empty() && choices.len() < names.len() {
            key.with = choices;
        }
        if !all.contains(&key) {
            all.push(key);
        }
    }
    all
}
