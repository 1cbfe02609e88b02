//! Texts for people: errors, and what libtorch reports.

use std::any::Any;
use std::fmt::Display;
use std::io::{Write, stderr};

/// Prints a line on standard error.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}

/// An error with its causes, without the C++ stack that libtorch adds to its messages.
pub fn text_of(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("frame #") && !line.starts_with("Exception raised from"));
    kept.collect::<Vec<_>>().join("\n").trim_end().to_string()
}

/// What libtorch said, if a panic's payload is tch's report of it: most of tch's functions and all of
/// its operators panic where libtorch throws, as it does when memory runs out.
pub fn libtorch_error(payload: &dyn Any) -> Option<String> {
    let text = payload.downcast_ref::<String>()?;
    let (_, quoted) = text.split_once("Torch(\"")?;
    let said = quoted.split("\\n").next()?.trim_end_matches("\")");
    let memory = ["allocate memory", "out of memory"].iter().any(|sign| said.contains(sign));
    let remedy = if memory {
        "; a smaller `model.width`, `data.batch_size` or `data.eval_batch_size` needs less"
    } else {
        ""
    };
    Some(format!("libtorch: {said}{remedy}"))
}
