//! Kinds that are registered in a list, of which a section's `name` chooses one.

use super::ConfigError;
use super::key::{Key, of_choices};
use super::names::Name;
use super::reader::Reader;

/// A registered kind: its name, what it is, its keys, and how they are read into a `T`.
pub struct Kind<T> {
    /// The section's `name`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Its keys, beside `name`.
    pub keys: fn() -> Vec<Key>,
    /// Reads them.
    pub read: fn(&mut Reader) -> Result<T, ConfigError>,
}

impl<T> Kind<T> {
    /// The keys of a section that takes one of these kinds.
    pub fn keys_of(kinds: &[Kind<T>]) -> Vec<Key> {
        of_choices(&names(kinds), None, kinds.iter().map(|kind| (kind.keys)()).collect())
    }

    /// Reads the kind that `name` chooses.
    pub fn read_one(kinds: &[Kind<T>], reader: &mut Reader) -> Result<T, ConfigError> {
        let name = reader.choose(&names(kinds), None)?;
        let kind = kinds.iter().find(|kind| kind.name == name).expect("one of them is chosen");
        (kind.read)(reader)
    }
}

fn names<T>(kinds: &[Kind<T>]) -> Vec<Name> {
    kinds.iter().map(|kind| (kind.name, kind.summary)).collect()
}
