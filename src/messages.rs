//! Errors as sentences for people.

use std::any::Any;
use std::fmt::Display;

/// An error with its causes, without the C++ stack that libtorch adds to its messages.
pub fn text_of(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("frame #") && !line.starts_with("Exception raised from"));
    kept.collect::<Vec<_>>().join("\n").trim_end().to_string()
}

/// A number of things, such as "1 thread" and "2 threads".
pub fn counted(count: impl Display, thing: &str) -> String {
    let count = count.to_string();
    let ending = if count == "1" { "" } else { "s" };
    format!("{count} {thing}{ending}")
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
