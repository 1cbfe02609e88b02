//! `result.json`: how a run ended, in one file that is written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::Ending;
use super::folder::Folder;
use super::history::ValueName;
use super::state::Run;
use crate::device;
use crate::files;
use crate::metrics::Better;

/// Format version of `result.json`; any other version is refused.
pub const VERSION: u64 = 1;

/// What `result.json` says. A number that is NaN or infinite is `None`.
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
    /// Epochs of training.
    pub epochs: Epochs,
    /// Where the run's random numbers started.
    pub seed: u64,
    /// The epoch with the best validation loss, where there is a validation set.
    pub best_validation_epoch: Option<u64>,
    /// Every loss and metric, under its name in `metrics.csv`.
    pub metrics: BTreeMap<String, ValueResult>,
    /// Times.
    pub seconds: Seconds,
    /// Of what computed the run.
    pub versions: Versions,
    /// On what it was computed.
    pub machine: Machine,
    /// The run's files, relative to the folder.
    pub paths: Paths,
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

/// Epochs of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs {
    /// Done so far.
    pub done: u64,
    /// As many as were asked for.
    pub wanted: u64,
}

/// A loss or metric over the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueResult {
    /// After the last epoch.
    pub last: Option<f64>,
    /// In its best epoch; `None` before training, and where it was never finite.
    pub best: Option<Best>,
    /// In the epoch with the best validation loss; `None` without a validation set.
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

/// Times in seconds, over all sessions of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// In all: of the last session as the clock says, of earlier ones training and evaluating.
    pub total: f64,
    /// Training.
    pub training: f64,
    /// Evaluating.
    pub evaluation: f64,
}

/// Versions of what computed a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of this library.
    #[serde(rename = "f3-tch")]
    pub f3_tch: String,
    /// Of libtorch.
    pub libtorch: String,
}

/// On what a run was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Such as `cpu` or `cuda:0`.
    pub device: String,
    /// Threads that shared an operation.
    pub threads: usize,
    /// Of the fused kernels, such as `avx512`.
    pub instruction_set: String,
}

/// The files of a run, relative to its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// The network.
    pub model: PathBuf,
    /// The rows of all epochs.
    pub metrics: PathBuf,
    /// The checkpoints' folder, if checkpoints are written.
    pub checkpoints: Option<PathBuf>,
}

impl RunResult {
    /// Reads the `result.json` of a run's folder.
    ///
    /// # Errors
    /// If there is none (the run is under way, or was killed), or it is of another version.
    pub fn read(folder: &Path) -> Result<RunResult> {
        let place = place(folder);
        let shown = place.display();
        let text = fs::read(&place).with_context(|| format!("{shown}: cannot be read"))?;
        let unread = || format!("{shown}: is no result of a run");
        let value: Value = serde_json::from_slice(&text).with_context(unread)?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => serde_json::from_value(value).with_context(unread),
            Some(other) => bail!(
                "{shown}: is of version {other} of the format; this program reads version {VERSION}"
            ),
            None => bail!("{shown}: is no result of a run"),
        }
    }

    fn of(run: &Run, ended: Result<Ending, String>, total: f64) -> RunResult {
        let history = &run.state.history;
        let (state, ended_by) = match ended {
            Ok(Ending::Complete) => (EndState::Complete, EndedBy::Epochs),
            Ok(Ending::NoBetter(_)) => (EndState::Complete, EndedBy::EarlyStop),
            Ok(Ending::OutOfTime) => (EndState::Complete, EndedBy::MaxMinutes),
            Ok(Ending::Interrupted) => (EndState::Interrupted, EndedBy::Stop),
            Err(_) => (EndState::Failed, EndedBy::Error),
        };
        let chosen = ValueName { part: "validation", metric: None }.best(history);
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let value = |name: ValueName| ValueResult {
            last: finite(history.last().and_then(|row| name.of(row))),
            best: name.best(history).and_then(|row| {
                Some(Best { epoch: row.epoch, value: name.of(row)? }) // is finite
            }),
            at_best_validation: finite(chosen.and_then(|row| name.of(row))),
            better: name.better(),
            unit: name.unit().to_string(),
        };
        let settings = match &run.config {
            Some(config) => config.json.clone(),
            None => run.settings.in_short(),
        };
        RunResult {
            version: VERSION,
            name: run.name.clone(),
            state,
            ended_by,
            error: ended.err(),
            epochs: Epochs { done: run.state.epoch().unwrap_or(0), wanted: run.settings.epochs },
            seed: run.settings.seed,
            best_validation_epoch: chosen.map(|row| row.epoch),
            metrics: run.value_names().map(|name| (name.to_string(), value(name))).collect(),
            seconds: Seconds {
                total,
                training: history.iter().map(|row| row.train_seconds).sum(),
                evaluation: history.iter().map(|row| row.eval_seconds).sum(),
            },
            versions: Versions {
                f3_tch: crate::VERSION.to_string(),
                libtorch: crate::libtorch_version().to_string(),
            },
            machine: Machine {
                processor: crate::machine::processor(),
                device: device::name(run.data.train.inputs.device()),
                threads: run.settings.thread_count(),
                instruction_set: crate::instruction_set().to_string(),
            },
            paths: Paths {
                model: "model.safetensors".into(),
                metrics: "metrics.csv".into(),
                checkpoints: run.settings.checkpoint.every.map(|_| "checkpoints".into()),
            },
            settings,
        }
    }
}

fn place(folder: &Path) -> PathBuf {
    folder.join("result.json")
}

/// Writes how a run ended, or the text of the error that ended it; `total` is its time in seconds.
pub(crate) fn write(
    folder: &Folder,
    run: &Run,
    ended: Result<Ending, String>,
    total: f64,
) -> Result<()> {
    folder.check()?;
    let place = place(folder.path());
    let mut file = files::temporary_beside(&place)?;
    let failed = || format!("{}: cannot be written", place.display());
    let text =
        serde_json::to_string_pretty(&RunResult::of(run, ended, total)).with_context(failed)?;
    writeln!(file, "{text}").with_context(failed)?;
    files::persist(file, &place)
}

/// Removes the result of an earlier end: the run is under way again.
pub(crate) fn remove(folder: &Folder) -> Result<()> {
    let place = place(folder.path());
    match fs::remove_file(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", place.display()))
        }
        _ => Ok(()),
    }
}
