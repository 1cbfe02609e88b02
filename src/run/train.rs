//! The epoch loop: train, evaluate, tell, save.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::checkpoint::Checkpoints;
use super::divergence;
use super::events::{Ending, Event, Observer};
use super::history::{EpochRow, ValueName};
use super::settings::{EarlyStop, OnNan};
use super::state::Run;
use crate::data::Split;
use crate::diagnostics::{Diagnostics, measure};
use crate::engine::Precision;
use crate::metrics::{Evaluation, evaluate, synchronize};
use crate::process::{libtorch_panics_as_errors, multiply, use_threads};

impl Run {
    /// Trains until the run ends, from where it stands. Nothing is saved but by the observer.
    ///
    /// # Errors
    /// A loss or weight that is NaN or infinite, unless the settings only warn of it: that epoch is told
    /// to nobody. Anything that fails while training or that the observer fails with. The run is of no
    /// use then.
    pub fn train(&mut self, observer: &mut dyn Observer) -> Result<Ending> {
        self.train_with(None, observer)
    }

    /// As [`Run::train`], with checkpoints as their settings say, and one at the end.
    ///
    /// # Errors
    /// As [`Run::train`], or if a checkpoint cannot be written; those that were there are whole.
    pub fn train_with(
        &mut self,
        checkpoints: Option<&Checkpoints>,
        observer: &mut dyn Observer,
    ) -> Result<Ending> {
        let names: Vec<String> = self.value_names().map(|name| name.to_string()).collect();
        self.settings.check(&names)?;
        let _threads = use_threads(self.settings.threads);
        libtorch_panics_as_errors(|| {
            let layers = self.state.trainer.layers();
            observer.notice(&Event::Start { history: &self.state.history, layers })?;
            let mut ending = self.ending();
            while ending.is_none() {
                self.epoch(checkpoints, observer)?;
                ending = self.ending();
                if let Some(checkpoints) = checkpoints {
                    checkpoints.after_epoch(self, ending.is_some())?;
                }
            }
            let ending = ending.expect("the loop has ended");
            observer.notice(&Event::End(ending))?;
            Ok(ending)
        })
    }

    /// Trains for an epoch, evaluates, and tells of it.
    fn epoch(
        &mut self,
        checkpoints: Option<&Checkpoints>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let tf32 = self.settings.precision == Precision::Tf32;
        let turn = if self.uses_cuda() { Some(multiply(tf32)?) } else { None };
        let row = self.train_and_evaluate(observer)?;
        if let Some(wrong) = divergence::in_row(&row) {
            if self.settings.on_nan == OnNan::Stop {
                return Err(divergence::error(self, &row, &wrong, checkpoints, observer));
            }
            observer.notice(&Event::Warning(&divergence::warning(self, &row, &wrong)?))?;
        }
        drop(turn);
        observer.notice(&Event::Epoch { row: &row, layers: self.state.trainer.layers() })?;
        self.state.history.push(row);
        Ok(())
    }

    /// Why there is no further epoch, if there is none.
    fn ending(&self) -> Option<Ending> {
        let done = self.state.epoch()?;
        if done >= self.settings.epochs {
            return Some(Ending::Complete);
        }
        let EarlyStop { metric, patience } = &self.settings.early_stop;
        if let Some(metric) = metric {
            let best = EpochRow::best(&self.state.history, metric).unwrap_or(0); // none is a number
            if done - best >= *patience {
                return Some(Ending::NoBetter(best));
            }
        }
        let is_over = |minutes: f64| self.state.seconds() >= 60.0 * minutes;
        if self.settings.max_minutes.is_some_and(is_over) {
            return Some(Ending::OutOfTime);
        }
        self.stop.load(Ordering::Acquire).then_some(Ending::Interrupted)
    }

    /// The next epoch, or, if there is none yet, the evaluation before training.
    fn train_and_evaluate(&mut self, observer: &mut dyn Observer) -> Result<EpochRow> {
        let epoch = self.state.epoch().map_or(0, |epoch| epoch + 1);
        let samples = self.data.train.len();
        let before = epoch.saturating_sub(1) * samples as u64;
        let learning_rate = self.settings.learning_rate.at(epoch);
        let start = Instant::now();
        if epoch > 0 {
            let mut told = Ok(());
            self.train_only(epoch, &mut |done| {
                if told.is_ok() {
                    told = observer.notice(&Event::Samples(before + done as u64));
                }
            })?;
            told?;
            synchronize(self.data.train.inputs.device());
        }
        let train_seconds = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let data = self.data.clone();
        // The paper's program draws a number whenever it starts to go through its training or test set;
        // drawing it too keeps the streams, and so all results, the same.
        self.state.generator.int64()?;
        let train = self.evaluate(&data.train)?;
        let validation = data.validation.as_ref().map(|split| self.evaluate(split)).transpose()?;
        self.state.generator.int64()?;
        let test = self.evaluate(&data.test)?;
        let eval_seconds = start.elapsed().as_secs_f64();
        let trainer = &mut self.state.trainer;
        let norms = trainer.layers().norms();
        let store = trainer.error_store_mut().filter(|_| epoch > 0);
        Ok(EpochRow {
            epoch,
            processed_samples: epoch * samples as u64,
            train,
            validation,
            test,
            wall_time: unix_time(),
            train_seconds,
            eval_seconds,
            learning_rate,
            norms,
            stored_errors: store.map(|store| store.end_epoch()),
            angles: match self.settings.diagnostics {
                Diagnostics { every: Some(every), samples } if epoch.is_multiple_of(every) => {
                    measure(trainer.as_ref(), &data.train, self.settings.loss, samples)?
                }
                _ => Vec::new(),
            },
        })
    }

    fn uses_cuda(&self) -> bool {
        let data = self.data.train.inputs.device();
        [data].into_iter().chain(self.state.trainer.layers().devices()).any(|it| it.is_cuda())
    }

    fn evaluate(&self, split: &Split) -> Result<Evaluation> {
        let forward = |inputs: &_| self.state.trainer.layers().forward(inputs);
        let (task, settings) = (self.data.task, &self.settings);
        evaluate(forward, split, settings.loss, task, settings.eval_batch_size)
    }

    /// The losses and metrics that the run's rows have, in the order of the columns.
    pub fn value_names(&self) -> impl Iterator<Item = ValueName> + use<> {
        ValueName::all(self.data.task, self.data.validation.is_some())
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_time() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
