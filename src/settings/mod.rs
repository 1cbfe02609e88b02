//! Settings, declared once: path, type, default, values and meaning of a key stand together, and from
//! that come its reader with all complaints, the comments of a configuration that is shown, its
//! documentation and a JSON schema.
//!
//! The macro `named!` declares an enum of names, `section!` a mapping of keys; both stand beside what
//! they configure.

mod carried;
pub(crate) mod domain;
pub(crate) mod key;
mod names;
mod reader;
mod reference;
mod render;
mod schema;
mod section;
mod source;
mod yaml;

pub use carried::names as carried_names;
pub use domain::Domain;
pub use key::{Key, Preset};
pub(crate) use names::named;
pub use names::{Name, Named};
pub use reader::Reader;
pub use reference::{list, reference};
pub use render::render;
pub use schema::schema;
pub(crate) use section::section;
pub use source::{Source, key_and_value};
pub(crate) use source::{is_at_or_below, lay_over, lookup};
pub use yaml::parse as parse_yaml;
pub(crate) use yaml::parse_own as parse_own_yaml;

use std::fmt::{self, Display};

/// A configuration that cannot be used; its text names the place and the remedy.
#[derive(Debug)]
pub struct ConfigError(pub String);

/// What comes of reading a configuration.
pub type Result<T, E = ConfigError> = std::result::Result<T, E>;

impl Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A key's value that does not go with something that a configuration cannot know, such as the data.
#[derive(Debug)]
pub struct Refusal {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What the value could be.
    pub expected: String,
}

impl Refusal {
    /// A refusal of what was found.
    pub fn new(key: &'static str, found: impl Display, expected: impl Into<String>) -> Refusal {
        Refusal { key, found: found.to_string(), expected: expected.into() }
    }
}

impl Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Refusal { key, found, expected } = self;
        write!(formatter, "`{key}` is `{found}`; expected {expected}")
    }
}

impl std::error::Error for Refusal {}
