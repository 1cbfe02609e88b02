//! Kinds that are registered in a list, of which a section's `name` chooses one.

use serde_yaml::Mapping;

use super::ConfigError;
use super::key::{Key, of_choices};
use super::names::Name;
use super::reader::Reader;
use super::source::Source;

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
    /// With the keys' defaults; none if a key must be given.
    pub fn default(&self) -> Option<T> {
        let source = Source::parse("defaults", "").ok()?;
        Some(source.read(Mapping::new(), &(self.keys)(), self.read).ok()?.0)
    }
}

/// What a section's `name` chooses among registered kinds.
pub trait Kinds: Sized + 'static {
    /// All of them, in the order in which they are listed.
    const KINDS: &'static [Kind<Self>];

    /// The keys of a section that takes one of these kinds.
    fn keys() -> Vec<Key> {
        let keys = Self::KINDS.iter().map(|kind| vec![(kind.keys)()]);
        of_choices(&names::<Self>(), None, keys.collect())
    }

    /// Reads the kind that `name` chooses.
    fn read_keys(reader: &mut Reader) -> Result<Self, ConfigError> {
        let name = reader.choose(&names::<Self>(), None)?;
        let kind = Self::KINDS.iter().find(|kind| kind.name == name);
        (kind.expect("one of them is chosen").read)(reader)
    }
}

fn names<T: Kinds>() -> Vec<Name> {
    T::KINDS.iter().map(|kind| (kind.name, kind.summary)).collect()
}
