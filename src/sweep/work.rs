//! The training of what is missing, several runs at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail};

use super::data::DataSets;
use super::plan::{Plan, PlannedRun, Shard};
use super::state::{RunState, other_epochs};
use crate::assemble::{DataFrom, assemble};
use crate::config::ConfigError;
use crate::data::{self, DataDirectory};
use crate::messages::text_of;
use crate::native::keep_freed_memory;
use crate::process::libtorch_panics_as_errors;
use crate::run::{Checkpoints, Ending, Event, Folder, Run, RunResult};

/// How the runs of a plan are trained.
pub struct Work<'a> {
    /// How many runs are trained at a time.
    pub jobs: usize,
    /// Only these runs; none: all.
    pub shard: Option<Shard>,
    /// Only these runs; none given: all.
    pub only: Vec<&'a PlannedRun>,
    /// Whether runs that ended with an error are tried again.
    pub retry_failed: bool,
    /// Where data sets are.
    pub directory: &'a DataDirectory,
    /// When somebody sets this, the epochs under way are the last ones.
    pub stop: Arc<AtomicBool>,
}

impl<'a> Work<'a> {
    /// All runs, but for those that have failed, one at a time; all of this can be set.
    pub fn new(directory: &'a DataDirectory) -> Work<'a> {
        let (shard, only, stop) = (None, Vec::new(), Arc::default());
        Work { jobs: 1, shard, only, retry_failed: false, directory, stop }
    }

    /// Whether a run is among those that are to be trained.
    pub fn is_wanted(&self, run: &PlannedRun) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.name == run.name)
    }
}

/// Something that has happened in a sweep.
pub enum SweepEvent<'a> {
    /// These runs are to be trained, of those of which the sweep consists.
    Start {
        /// The runs that are to be trained.
        to_do: &'a [&'a PlannedRun],
        /// How many are complete.
        complete: usize,
        /// How many there are, also those that have failed.
        all: usize,
    },
    /// A data set is being fetched.
    Fetching(data::Progress<'a>),
    /// A run goes on, from its beginning or from its last checkpoint.
    Run(&'a PlannedRun, &'a Event<'a>),
    /// A run is over, for now.
    End(&'a PlannedRun, &'a Outcome),
}

/// What has become of a run.
#[derive(Debug)]
pub enum Outcome {
    /// It has come to its end, now or while this sweep was busy with others.
    Complete(Box<RunResult>),
    /// It was asked to stop, and can be continued.
    Interrupted,
    /// An error ended it.
    Failed(String),
    /// Another process is training it.
    Elsewhere,
}

/// Is told of the events, by several threads.
type Watch<'a> = &'a (dyn Fn(&SweepEvent) + Sync);

impl Plan {
    /// Trains what is not complete. A run that has begun is continued from its last checkpoint, to the
    /// bit; one that has failed stays as it is, unless it is to be tried again. Other processes may train
    /// runs of the same sweep at the same time.
    ///
    /// The outcomes come in the order of the runs; those that were complete before are not among them.
    pub fn train<'a>(&'a self, work: &Work, watch: Watch) -> Vec<(&'a PlannedRun, Outcome)> {
        let mut all = self.each_once(work.shard);
        all.retain(|run| work.is_wanted(run));
        let (mut runs, mut complete) = (Vec::new(), 0);
        for run in &all {
            let state = RunState::of_planned(run);
            if state.is_open(work.retry_failed) {
                runs.push(*run);
            }
            complete += usize::from(state == RunState::Complete);
        }
        watch(&SweepEvent::Start { to_do: &runs, complete, all: all.len() });
        keep_freed_memory(32, 64);
        let data = DataSets::of(&runs, work.directory);
        let next = AtomicUsize::new(0);
        let take_turns = || {
            let mut outcomes = Vec::new();
            while !work.stop.load(Ordering::Acquire) {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(run) = runs.get(turn) else { break };
                let outcome = self.train_one(run, work, &data, watch);
                data.done(run);
                watch(&SweepEvent::End(run, &outcome));
                outcomes.push((turn, *run, outcome));
            }
            outcomes
        };
        let mut outcomes: Vec<_> = thread::scope(|scope| {
            let jobs = work.jobs.clamp(1, runs.len().max(1));
            let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(take_turns)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .flat_map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        outcomes.sort_by_key(|(turn, ..)| *turn);
        outcomes.into_iter().map(|(_, run, outcome)| (run, outcome)).collect()
    }

    fn train_one(&self, run: &PlannedRun, work: &Work, data: &DataSets, watch: Watch) -> Outcome {
        let outcome = libtorch_panics_as_errors(|| self.try_to_train(run, work, data, watch));
        outcome.unwrap_or_else(|error| Outcome::Failed(text_of(&error)))
    }

    fn try_to_train(
        &self,
        planned: &PlannedRun,
        work: &Work,
        data: &DataSets,
        watch: Watch,
    ) -> Result<Outcome> {
        let Some(folder) = Folder::take(&planned.folder)? else { return Ok(Outcome::Elsewhere) };
        // Another process may have trained it since the list was made.
        match RunState::of_planned(planned) {
            RunState::Complete => return complete(planned),
            RunState::Failed { cause, .. } if !work.retry_failed => {
                return Ok(Outcome::Failed(cause));
            }
            _ => {}
        }
        let (config, source) = self.config(planned)?;
        // What stands in the way of the data is no fault of the run, and is not recorded as such.
        let data = data.get(planned, &config, &source, &mut |progress| {
            watch(&SweepEvent::Fetching(progress));
        });
        let record = |error: &anyhow::Error| -> Result<()> {
            let settings = serde_json::to_value(&config)?;
            let (seed, epochs, text) = (config.seed, config.epochs, text_of(error));
            let result = RunResult::of_refused(&config.name, seed, epochs, settings, text);
            result.write(&folder)
        };
        let data = match data {
            Err(error) if error.is::<ConfigError>() => {
                let _ = record(&error); // the first error is the one to be told
                return Err(error);
            }
            data => data?,
        };
        let mut observer = |event: &Event| {
            watch(&SweepEvent::Run(planned, event));
            Ok(())
        };
        let checkpoints = Checkpoints::new(&folder.checkpoints(), config.checkpoint.clone());
        let data = DataFrom::Memory(data);
        let made = libtorch_panics_as_errors(|| match checkpoints.newest()? {
            Some(_) => Run::resume(&folder, None, data, &mut observer),
            None => {
                folder.clear()?;
                Ok(assemble(&config, &source, data)?.0)
            }
        });
        let mut run = match made {
            Ok(run) => run,
            Err(error) => {
                let _ = record(&error);
                return Err(error);
            }
        };
        if run.settings.epochs != config.epochs {
            bail!(other_epochs(run.settings.epochs, config.epochs));
        }
        run.stop = work.stop.clone();
        match run.train_in(&folder, &mut observer)? {
            Ending::Interrupted => Ok(Outcome::Interrupted),
            Ending::Complete | Ending::NoBetter(_) | Ending::OutOfTime => complete(planned),
        }
    }
}

fn complete(run: &PlannedRun) -> Result<Outcome> {
    Ok(Outcome::Complete(Box::new(RunResult::read(&run.folder)?)))
}
