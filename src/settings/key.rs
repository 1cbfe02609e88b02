//! What is known of the keys of a configuration.

use serde::Serialize;
use serde_json::Value as Json;
use serde_yaml::Value;

use super::domain::choice_of;
use super::names::{Name, paragraphs};
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
