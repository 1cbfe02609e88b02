//! The complaint that a data set does not have enough samples.

use std::fmt;

/// A number of samples that a data set does not have.
#[derive(Debug)]
pub struct SelectionError {
    /// The key of a configuration that asks for it.
    pub key: &'static str,
    /// The key's value.
    pub found: String,
    /// What the value could be.
    pub expected: String,
}

impl fmt::Display for SelectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let SelectionError { key, found, expected } = self;
        write!(formatter, "`{key}` is `{found}`; expected {expected}")
    }
}

impl std::error::Error for SelectionError {}
