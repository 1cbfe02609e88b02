//! What is said to a person, on standard error.

use std::fmt::Display;
use std::io::{Write, stderr};

/// Says a line. Unlike `eprintln!` it goes on when nobody listens any more: a run does not end
/// because the terminal, or the program that its messages are piped to, has gone.
pub fn say(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
