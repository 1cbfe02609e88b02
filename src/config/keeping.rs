//! What is kept of a run, and when it ends before its last epoch.

use super::ConfigError;
use super::section::Section;
use crate::data::Task;
use crate::run::{CheckpointSettings, EarlyStop, EpochRow};

pub(super) fn read_checkpoint(
    section: &mut Section,
    task: Task,
) -> Result<CheckpointSettings, ConfigError> {
    let every = match section.has("every") {
        true => section.whole_or_null("every", 1..=1_000_000_000)?,
        false => Some(1),
    };
    let keep = section.whole("keep", 1..=1_000_000)?.unwrap_or(2);
    let best = read_metric(section, "best", task)?;
    if let (None, Some(metric)) = (every, &best) {
        return Err(section.refuse("best", metric, "null, or a number of epochs for `every`"));
    }
    Ok(CheckpointSettings { every: every.map(|every| every as u64), keep, best })
}

pub(super) fn read_early_stop(section: &mut Section, task: Task) -> Result<EarlyStop, ConfigError> {
    let metric = read_metric(section, "metric", task)?;
    let patience = section.whole("patience", 1..=1_000_000_000)?.unwrap_or(10);
    Ok(EarlyStop { metric, patience })
}

/// The name of a loss or metric, or null.
fn read_metric(
    section: &mut Section,
    key: &'static str,
    task: Task,
) -> Result<Option<String>, ConfigError> {
    let names = EpochRow::names(task, false);
    let expected = format!("null or one of {}", names.join(", "));
    let metric = section.checked(key, &expected, |metric: &Option<String>| {
        metric.as_ref().is_none_or(|metric| names.contains(metric))
    })?;
    Ok(metric.flatten())
}
