//! What is known of the keys of a configuration.

use serde::Serialize;
use serde_yaml::Value;

use super::domain::{About, Domain, choice_of};
use super::names::{Name, details, summary};

/// A key of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its place, such as `checkpoint.every`.
    pub path: String,
    /// What it means, in a few words.
    pub summary: String,
    /// More about it; may be empty.
    pub details: String,
    /// Its values.
    pub about: About,
    /// Its value where nobody gives one.
    pub default: Preset,
    /// Where only some choices of a section have this key: the path of the choice, and these choices.
    pub with: Vec<(String, Vec<&'static str>)>,
}

/// The value of a key that nobody gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Preset {
    /// There is none: it must be given.
    Required,
    /// This value.
    Value(Value),
    /// It depends on other keys, in these words.
    Depends(&'static str),
}

impl Preset {
    /// A value that does not depend on anything.
    pub fn value(value: impl Serialize) -> Preset {
        Preset::Value(serde_yaml::to_value(value).expect("a default is plain data"))
    }
}

impl Key {
    /// A key of a section; `doc` is its doc comment.
    pub fn new<T>(name: &str, doc: &str, domain: &Domain<T>, default: Preset) -> Key {
        Key {
            path: name.to_string(),
            summary: summary(doc),
            details: details(doc),
            about: domain.about.clone(),
            default,
            with: Vec::new(),
        }
    }

    /// Whether this is the key at a path, by its present or former name, or lies below that path.
    pub(super) fn is_at_or_below(&self, path: &str) -> bool {
        let former = || {
            let (parent, _) = self.path.rsplit_once('.')?;
            Some(format!("{parent}.{}", self.about.former?) == path)
        };
        let below = self.path.strip_prefix(path);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) || former() == Some(true)
    }
}

/// Keys of a section that stands under a key. What is said of the section is said of its `name`.
pub fn below(key: &str, doc: &str, mut keys: Vec<Key>) -> Vec<Key> {
    keys = explained(doc, keys);
    for it in &mut keys {
        it.path = format!("{key}.{}", it.path);
        for (choice, _) in &mut it.with {
            *choice = format!("{key}.{choice}");
        }
    }
    keys
}

/// Keys with what is said of all of them as meaning of their `name`, if that has none.
pub fn explained(doc: &str, mut keys: Vec<Key>) -> Vec<Key> {
    if let Some(name) = keys.iter_mut().find(|it| it.path == "name" && it.summary.is_empty()) {
        (name.summary, name.details) = (summary(doc), details(doc));
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
    let name = Key::new("name", "", &choice_of(names.to_vec()), default);
    let mut all: Vec<Key> = Vec::new();
    for ((choice, _), keys) in names.iter().zip(of_each) {
        for mut key in keys {
            let here = |it: &&mut Key| {
                let without = Key { with: it.with[1..].to_vec(), ..(**it).clone() };
                without == key
            };
            match all.iter_mut().find(here) {
                Some(known) => known.with[0].1.push(choice),
                None => {
                    key.with.insert(0, ("name".to_string(), vec![choice]));
                    all.push(key);
                }
            }
        }
    }
    for key in &mut all {
        if key.with[0].1.len() == names.len() {
            key.with.remove(0);
        }
    }
    all.insert(0, name);
    all
}
