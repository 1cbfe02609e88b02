//! `result.json`: how a run ended, in one file that is written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::events::Ending;
use super::folder::Folder;
use super::history::ValueName;
use super::state::Run;
use crate::device;
use crate::files::{self, At};
use crate::metrics::Better;

/// Format version of `result.json`; any other version is refused.
pub const VERSION: u64 = 1;

const NAME: &str = "result.json";

/// What `result.json` says; docs/results.md has the whole of it. A number that is NaN or infinite is
/// `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Format version.
    pub version: u64,
    /// The run's name.
    pub name: String,
    /// Whether the run came to an end of its own.
    pub state: EndState,
    /// Why it ended.
    pub ended_by: EndedBy,
    /// The error's text, if an error ended the run.
    pub error: Option<String>,
    /// Epochs of training: `done` and `wanted`.
    pub epochs: BTreeMap<String, u64>,
    /// Where the run's random numbers started.
    pub seed: u64,
    /// The epoch with the best validation loss, where there is a validation set.
    pub best_validation_epoch: Option<u64>,
    /// Every loss and metric, under its name in `metrics.csv`.
    pub metrics: BTreeMap<String, ValueResult>,
    /// `training` and `evaluation` over all sessions of the run; `total` is that of the last session as
    /// the clock says, and of earlier ones the two together.
    pub seconds: BTreeMap<String, f64>,
    /// Of `f3-tch` and `libtorch`.
    pub versions: BTreeMap<String, String>,
    /// `processor`, `device`, `threads`, and the `instruction_set` of the fused kernels.
    pub machine: Value,
    /// `model`, `metrics` and, if they are written, `checkpoints`, relative to the folder.
    pub paths: BTreeMap<String, Option<PathBuf>>,
    /// The configuration in full, or the settings of a run that was made without one.
    pub settings: Value,
}

/// Whether a run came to an end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// It did as it was told: all epochs, an early stop, or the end of its time.
    Complete,
    /// Somebody asked it to stop.
    Interrupted,
    /// An error ended it.
    Failed,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// All epochs are done.
    Epochs,
    /// `early_stop`.
    EarlyStop,
    /// `max_minutes`.
    MaxMinutes,
    /// [`Run::stop`] was set, as the program does at a signal.
    Stop,
    /// An error.
    Error,
}

/// A loss or metric over the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueResult {
    /// After the last epoch that has it.
    pub last: Option<f64>,
    /// In its best epoch; `None` before training, and where it was never finite.
    pub best: Option<Best>,
    /// In the epoch with the best validation loss; `None` without a validation set, and for the training set
    /// where it was not evaluated in that epoch.
    pub at_best_validation: Option<f64>,
    /// Which way it gets better.
    pub better: Better,
    /// Such as `%`; empty where there is none.
    pub unit: String,
}

/// The best value, and when it was reached first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch.
    pub epoch: u64,
    /// The value.
    pub value: f64,
}

impl RunResult {
    /// Reads the `result.json` of a run's folder.
    ///
    /// # Errors
    /// If there is none (the run is under way, or was killed), or it is of another version.
    pub fn read(folder: &Path) -> Result<RunResult> {
        let place = folder.join(NAME);
        let (shown, unread) = (place.display(), "is no result of a run");
        let text = files::read_to_string(&place)?;
        let value: Value = serde_json::from_str(&text).at(&place, unread)?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => serde_json::from_value(value).at(&place, unread),
            Some(other) => bail!(
                "{shown}: is of version {other} of the format; this program reads version {VERSION}"
            ),
            None => bail!("{shown}: {unread}"),
        }
    }

    /// Removes the result of an earlier end: the run is under way again.
    pub(crate) fn remove(folder: &Folder) -> Result<()> {
        let place = folder.path().join(NAME);
        match fs::remove_file(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.at(&place, "cannot be removed"),
        }
    }

    pub(crate) fn write(&self, folder: &Folder) -> Result<()> {
        folder.check()?;
        let place = folder.path().join(NAME);
        let text = serde_json::to_string_pretty(self).at(&place, "cannot be written")?;
        files::write(&place, &(text + "\n"))
    }

    /// The record of a run that could not begin.
    pub(crate) fn of_refused(
        name: &str,
        seed: u64,
        epochs: u64,
        settings: Value,
        error: String,
    ) -> RunResult {
        RunResult {
            version: VERSION,
            name: name.to_string(),
            state: EndState::Failed,
            ended_by: EndedBy::Error,
            error: Some(error),
            epochs: map([("done", 0), ("wanted", epochs)]),
            seed,
            best_validation_epoch: None,
            metrics: BTreeMap::new(),
            seconds: map(["total", "training", "evaluation"].map(|name| (name, 0.0))),
            versions: versions(),
            machine: json!({"processor": crate::machine::processor()}),
            paths: map([("model", None), ("metrics", None), ("checkpoints", None)]),
            settings,
        }
    }

    /// How a run has ended, or the text of the error that ended it; `total` is its time in seconds.
    pub(crate) fn of(run: &Run, ended: Result<Ending, String>, total: f64) -> RunResult {
        let history = &run.state.history;
        let (state, ended_by) = match ended {
            Ok(Ending::Complete) => (EndState::Complete, EndedBy::Epochs),
            Ok(Ending::NoBetter(_)) => (EndState::Complete, EndedBy::EarlyStop),
            Ok(Ending::OutOfTime) => (EndState::Complete, EndedBy::MaxMinutes),
            Ok(Ending::Interrupted) => (EndState::Interrupted, EndedBy::Stop),
            Err(_) => (EndState::Failed, EndedBy::Error),
        };
        let chosen = ValueName::find("validation_loss").and_then(|name| name.best(history));
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let value = |name: ValueName| ValueResult {
            last: finite(history.iter().rev().find_map(|row| name.of(row))),
            best: name.best(history).and_then(|row| {
                Some(Best { epoch: row.epoch, value: name.of(row)? }) // is finite
            }),
            at_best_validation: finite(chosen.and_then(|row| name.of(row))),
            better: name.better,
            unit: name.unit.to_string(),
        };
        let training = history.iter().map(|row| row.train_seconds).sum();
        let evaluation = history.iter().map(|row| row.eval_seconds).sum();
        let checkpoints = run.settings.checkpoint.every.map(|_| "checkpoints".into());
        RunResult {
            version: VERSION,
            name: run.name.clone(),
            state,
            ended_by,
            error: ended.err(),
            epochs: map([
                ("done", run.state.epoch().unwrap_or(0)),
                ("wanted", run.settings.epochs),
            ]),
            seed: run.settings.seed,
            best_validation_epoch: chosen.map(|row| row.epoch),
            metrics: run.value_names().map(|name| (name.to_string(), value(name))).collect(),
            seconds: map([("total", total), ("training", training), ("evaluation", evaluation)]),
            versions: versions(),
            machine: json!({
                "processor": crate::machine::processor(),
                "device": device::name(run.data.train.inputs.device()),
                "threads": run.settings.thread_count(),
                "instruction_set": crate::instruction_set(),
            }),
            paths: map([
                ("model", Some("model.safetensors".into())),
                ("metrics", Some("metrics.csv".into())),
                ("checkpoints", checkpoints),
            ]),
            settings: match &run.config {
                Some(config) => config.json.clone(),
                None => run.settings.in_short(),
            },
        }
    }
}

fn versions() -> BTreeMap<String, String> {
    let libtorch = crate::libtorch_version().to_string();
    map([("f3-tch", crate::VERSION.to_string()), ("libtorch", libtorch)])
}

fn map<T, const N: usize>(entries: [(&str, T); N]) -> BTreeMap<String, T> {
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}
