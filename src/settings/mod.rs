//! Settings, declared once: path, type, default, values and meaning of a key stand together, and from
//! that come its reader with all complaints, the comments of a configuration that is shown, its
//! documentation and a JSON schema.
//!
//! The macro `named!` declares an enum of names, `section!` a mapping of keys; both stand beside what
//! they configure.

mod carried;
pub(crate) mod domain;
pub(crate) mod key;
mod kind;
mod names;
mod reader;
mod reference;
mod render;
mod schema;
mod section;
mod source;

pub use carried::names as carried_names;
pub use domain::Domain;
pub use key::{Key, Preset};
pub use kind::{Kind, Kinds};
pub(crate) use names::named;
pub use names::{Name, Named};
pub use reader::Reader;
pub use reference::{list, reference};
pub use render::render;
pub use schema::schema;
pub(crate) use section::section;
pub use source::Source;
pub(crate) use source::{lay_over, lookup};

use std::fmt;

/// A configuration that cannot be used; its text names the place and the remedy.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
