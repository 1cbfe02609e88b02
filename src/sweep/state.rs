//! How far a run is, read from its folder.

use std::collections::HashMap;
use std::path::Path;

use super::plan::{Plan, PlannedRun};
use crate::files;
use crate::messages::text_of;
use crate::run::{EndState, Folder, RunResult};

/// What a folder says of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Nothing has been trained.
    Missing,
    /// It was cut off, or is with another process, after so many epochs.
    Begun {
        /// Epochs that are done.
        epochs: u64,
        /// Whether a process is training it.
        running: bool,
    },
    /// It ended with an error.
    Failed {
        /// Epochs that were done.
        epochs: u64,
        /// The error's text.
        cause: String,
    },
    /// It came to its end.
    Complete,
}

impl RunState {
    /// The state of the run in a folder that may be there or not.
    pub fn of(folder: &Path) -> RunState {
        RunState::read(folder, None)
    }

    /// The state of a run that is planned. One that has been trained for another number of epochs, as by
    /// `resume --epochs`, is not what is wanted, and is not to be trained over.
    pub fn of_planned(run: &PlannedRun) -> RunState {
        RunState::read(&run.folder, Some(run.epochs))
    }

    fn read(folder: &Path, planned: Option<u64>) -> RunState {
        let result = folder.join("result.json");
        match RunResult::read(folder) {
            // It may be complete, and is not to be trained over.
            Err(error) if result.exists() => {
                let epochs = epochs_in(folder).unwrap_or(0);
                RunState::Failed { epochs, cause: text_of(&error) }
            }
            Ok(RunResult { state: EndState::Complete, epochs, .. }) => {
                match (epochs.get("wanted").copied(), planned) {
                    (Some(wanted), Some(planned)) if wanted != planned => {
                        let cause = other_epochs(wanted, planned);
                        RunState::Failed { epochs: wanted, cause }
                    }
                    _ => RunState::Complete,
                }
            }
            Ok(RunResult { state: EndState::Failed, error, epochs, .. }) => RunState::Failed {
                epochs: epochs.get("done").copied().unwrap_or(0),
                cause: error.unwrap_or_default(),
            },
            Ok(_) | Err(_) => {
                let (epochs, running) = (epochs_in(folder), Folder::is_locked(folder));
                match epochs.is_none() && !running {
                    true => RunState::Missing,
                    false => RunState::Begun { epochs: epochs.unwrap_or(0), running },
                }
            }
        }
    }

    /// Whether the run is to be trained; one that has failed only if it is to be tried again.
    pub fn is_open(&self, retry_failed: bool) -> bool {
        match self {
            RunState::Complete => false,
            RunState::Failed { .. } => retry_failed,
            RunState::Missing | RunState::Begun { .. } => true,
        }
    }

    fn epochs(&self, all: u64) -> u64 {
        match self {
            RunState::Missing => 0,
            RunState::Begun { epochs, .. } | RunState::Failed { epochs, .. } => *epochs,
            RunState::Complete => all,
        }
    }
}

/// The complaint about a run in the place of one with another number of epochs.
pub(super) fn other_epochs(found: u64, planned: u64) -> String {
    format!(
        "the run in this folder is one of {found} epochs, and the sweep's has {planned}: move the folder \
         out of the sweep's, and the run is trained anew"
    )
}

/// The epochs that `metrics.csv` has, epoch 0 not counted; none if there is no such file.
fn epochs_in(folder: &Path) -> Option<u64> {
    let text = files::read(&folder.join("metrics.csv")).ok()?;
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    Some(lines.saturating_sub(2)) // the header, and epoch 0
}

/// How far a sweep is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Runs that have come to their end.
    pub complete: usize,
    /// Runs that a process is training.
    pub running: usize,
    /// Runs that were cut off.
    pub begun: usize,
    /// Runs of which nothing is there.
    pub missing: usize,
    /// Runs that ended with an error: their names and causes.
    pub failed: Vec<(String, String)>,
    /// What is left to train, as seconds of one run after the other; none if no run has ended yet from
    /// which that could be told.
    pub seconds_left: Option<f64>,
}

impl Progress {
    /// How far some runs of a plan are.
    pub fn of(plan: &Plan, runs: &[&PlannedRun]) -> Progress {
        let speed = Speed::of(&plan.runs);
        let (mut progress, mut left, mut known) = (Progress::default(), 0.0, true);
        for run in runs {
            let state = RunState::of_planned(run);
            let to_do = run.epochs.saturating_sub(state.epochs(run.epochs));
            match state {
                RunState::Complete => progress.complete += 1,
                RunState::Missing => progress.missing += 1,
                RunState::Begun { running: true, .. } => progress.running += 1,
                RunState::Begun { running: false, .. } => progress.begun += 1,
                RunState::Failed { cause, .. } => {
                    progress.failed.push((run.name.clone(), cause));
                    continue; // it is not tried again by itself
                }
            }
            match speed.seconds_per_epoch(run) {
                Some(seconds) => left += seconds * to_do as f64,
                None => known &= to_do == 0,
            }
        }
        progress.seconds_left = known.then_some(left);
        progress
    }

    /// How many runs there are.
    pub fn all(&self) -> usize {
        self.complete + self.running + self.begun + self.missing + self.failed.len()
    }
}

/// Seconds an epoch takes, as those runs say that have ended.
pub(super) struct Speed {
    rows: HashMap<(String, String), (f64, u64)>, // seconds and epochs of a row of a table
    all: (f64, u64),
}

impl Speed {
    fn of(runs: &[PlannedRun]) -> Speed {
        let mut speed = Speed { rows: HashMap::new(), all: (0.0, 0) };
        for run in runs {
            let Ok(result) = RunResult::read(&run.folder) else { continue };
            let epochs = result.epochs.get("done").copied().unwrap_or(0);
            let seconds: f64 = ["training", "evaluation"]
                .iter()
                .filter_map(|part| result.seconds.get(*part))
                .sum();
            let row = speed.rows.entry((run.group.clone(), run.row.clone())).or_default();
            for sum in [row, &mut speed.all] {
                *sum = (sum.0 + seconds, sum.1 + epochs);
            }
        }
        speed
    }

    fn seconds_per_epoch(&self, run: &PlannedRun) -> Option<f64> {
        let row = self.rows.get(&(run.group.clone(), run.row.clone())).filter(|row| row.1 > 0);
        let (seconds, epochs) = row.unwrap_or(&self.all);
        (*epochs > 0).then(|| seconds / *epochs as f64)
    }
}
