//! The epoch loop: train, evaluate, tell, save.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use tch::{Cuda, Device};

use super::checkpoint::Checkpoints;
use super::divergence;
use super::events::{Ending, Event, Observer};
use super::history::{EpochRow, ValueName};
use super::settings::EarlyStop;
use super::state::Run;
use crate::data::Split;
use crate::diagnostics::measure;
use crate::engine::Precision;
use crate::error_store::ErrorStore;
use crate::metrics::{Evaluation, evaluate};
use crate::process::{Multiplying, libtorch_panics_as_errors, multiply, use_threads};

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
            let late = self.ending().is_some() && self.evaluate_last()?;
            let layers = self.state.trainer.layers();
            observer.notice(&Event::Start { history: &self.state.history, layers })?;
            if let Some(row) = self.state.history.last().cloned().filter(|_| late) {
                divergence::check(self, &row, None, observer)?; // no checkpoint is of an earlier epoch
                checkpoints.map_or(Ok(()), |checkpoints| checkpoints.after_epoch(self, true))?;
            }
            let mut ending = self.ending();
            while ending.is_none() {
                self.epoch(checkpoints, observer)?;
                // Whoever asks for the end too late for this epoch to be evaluated gets one more.
                ending = self.ending().filter(|_| self.is_evaluated());
                if let Some(checkpoints) = checkpoints {
                    checkpoints.after_epoch(self, ending.is_some())?;
                }
            }
            let ending = ending.expect("the loop has ended");
            observer.notice(&Event::End(ending))?;
            Ok(ending)
        })
    }

    /// Trains for an epoch, evaluates if it is time, and tells of it.
    fn epoch(
        &mut self,
        checkpoints: Option<&Checkpoints>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let turn = self.multiplying()?;
        let row = self.train_and_evaluate(observer)?;
        divergence::check(self, &row, checkpoints, observer)?;
        self.warn_of_growth(&row, observer)?;
        drop(turn);
        observer.notice(&Event::Epoch { row: &row, layers: self.state.trainer.layers() })?;
        self.state.history.push(row);
        Ok(())
    }

    /// Warns once if the training loss (the test loss, if that is evaluated more often) is three times what it
    /// was before training, or comes back to a third of it from a tenth of what it is now.
    fn warn_of_growth(&self, row: &EpochRow, observer: &mut dyn Observer) -> Result<()> {
        let of_train = self.settings.evaluate_train_every == 1;
        let loss = |row: &EpochRow| {
            let evaluation = if of_train { &row.train } else { &row.test };
            evaluation.as_ref().map(|it| it.loss)
        };
        let which = if of_train { "training" } else { "test" };
        let Some(before) = self.state.history.first().and_then(loss) else { return Ok(()) };
        let mut lowest = before;
        let mut is_large = |row: &EpochRow| {
            let Some(loss) = loss(row) else { return false };
            lowest = lowest.min(loss);
            loss > 3.0 * before || loss > f64::max(before / 3.0, 10.0 * lowest)
        };
        let was_large = self.state.history.iter().any(&mut is_large);
        if before <= 0.0 || was_large || !is_large(row) {
            return Ok(());
        }
        let (epoch, now, rate) =
            (row.epoch, loss(row).unwrap_or_default(), self.settings.learning_rate.base);
        let since = match lowest < before {
            true => format!("it was {lowest:.4} at its lowest, {before:.4} before training"),
            false => format!("before training it was {before:.4}"),
        };
        observer.notice(&Event::Warning(&format!(
            "the {which} loss is {now:.4} after epoch {epoch}; {since}: an `optimizer.learning_rate` below \
             {rate} may be needed"
        )))
    }

    /// Why there is no further epoch, if there is none.
    fn ending(&self) -> Option<Ending> {
        let done = self.state.epoch()?;
        if done >= self.settings.epochs {
            return Some(Ending::Complete);
        }
        let EarlyStop { metric, patience } = &self.settings.early_stop;
        let is_compared = |epoch: u64, metric: &str| {
            let of_train = ValueName::find(metric).is_some_and(|name| name.part == "train");
            self.is_due(epoch) && (self.is_train_due(epoch) || !of_train)
        };
        if let Some(metric) = metric.as_ref().filter(|metric| is_compared(done, metric)) {
            // A run that was stopped between two evaluations has one more, which must not change its end.
            let rows = self.state.history.iter().filter(|row| is_compared(row.epoch, metric));
            let best = EpochRow::best(rows, metric).unwrap_or(0); // none is a number
            if done - best >= *patience {
                return Some(Ending::NoBetter(best));
            }
        }
        if self.is_out_of_time(self.state.seconds()) {
            return Some(Ending::OutOfTime);
        }
        self.stop.load(Ordering::Acquire).then_some(Ending::Interrupted)
    }

    /// Whether an epoch is one of those after which the network is evaluated in any case.
    fn is_due(&self, epoch: u64) -> bool {
        epoch.is_multiple_of(self.settings.evaluate_every)
    }

    /// Whether an evaluation after this epoch covers the training set in any case.
    fn is_train_due(&self, epoch: u64) -> bool {
        epoch.is_multiple_of(self.settings.evaluate_train_every)
    }

    /// Whether an epoch that has taken so many seconds so far is the last one.
    fn is_last(&self, epoch: u64, seconds: f64) -> bool {
        epoch >= self.settings.epochs
            || self.is_out_of_time(self.state.seconds() + seconds)
            || self.stop.load(Ordering::Acquire)
    }

    fn is_out_of_time(&self, seconds: f64) -> bool {
        self.settings.max_minutes.is_some_and(|minutes| seconds >= 60.0 * minutes)
    }

    /// Whether the last epoch that is done has been evaluated.
    fn is_evaluated(&self) -> bool {
        self.state.history.last().is_none_or(EpochRow::is_evaluated)
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
            if let Device::Cuda(index) = self.data.train.inputs.device() {
                Cuda::synchronize(index as i64); // before the clock is read
            }
        }
        let train_seconds = start.elapsed().as_secs_f64();
        // The paper's program draws a number whenever it starts to evaluate its training or test set. Both
        // are drawn here in every epoch: that keeps the streams, and so all results, the same.
        self.state.generator.int64()?;
        self.state.generator.int64()?;

        let data = self.data.clone();
        let trainer = &mut self.state.trainer;
        let store = trainer.error_store_mut().filter(|_| epoch > 0);
        let stored_errors = store.map(ErrorStore::end_epoch);
        let diagnostics = self.settings.diagnostics;
        let angles = match diagnostics.are_due(epoch) {
            true => {
                measure(trainer.as_ref(), &data.train, self.settings.loss, diagnostics.samples)?
            }
            false => Vec::new(),
        };
        let mut row = EpochRow {
            epoch,
            processed_samples: epoch * samples as u64,
            train: None,
            validation: None,
            test: None,
            wall_time: 0.0,
            train_seconds,
            eval_seconds: 0.0,
            learning_rate,
            norms: trainer.layers().norms(),
            stored_errors,
            angles,
        };
        if self.is_due(epoch) || self.is_last(epoch, train_seconds) {
            self.evaluate_for(&mut row, self.is_train_due(epoch))?;
        }
        row.wall_time = unix_time();
        Ok(row)
    }

    /// Evaluates the network for the last row, if that has not been done in full; says if it has not.
    fn evaluate_last(&mut self) -> Result<bool> {
        let Some(mut row) = self.state.history.pop_if(|row| row.train.is_none()) else {
            return Ok(false);
        };
        let evaluated = self.multiplying().and_then(|_turn| self.evaluate_for(&mut row, true));
        self.state.history.push(row);
        evaluated.map(|()| true)
    }

    /// Evaluates the network as it is on all parts of the data; on the training set only if it is due or the
    /// epoch is the last one, as far as is known.
    fn evaluate_for(&self, row: &mut EpochRow, train_is_due: bool) -> Result<()> {
        let start = Instant::now();
        let validation = self.data.validation.as_ref();
        row.validation = validation.map(|split| self.evaluate(split)).transpose()?;
        row.test = Some(self.evaluate(&self.data.test)?);
        let seconds = row.train_seconds + start.elapsed().as_secs_f64();
        if train_is_due || self.is_last(row.epoch, seconds) {
            row.train = Some(self.evaluate(&self.data.train)?);
        }
        row.eval_seconds = start.elapsed().as_secs_f64();
        Ok(())
    }

    /// While this lives, CUDA multiplies in the run's precision; nothing where CUDA is not used.
    fn multiplying(&self) -> Result<Option<Multiplying>> {
        let data = self.data.train.inputs.device();
        let cuda = data.is_cuda() || self.state.trainer.layers().devices().any(|it| it.is_cuda());
        cuda.then(|| multiply(self.settings.precision == Precision::Tf32)).transpose()
    }

    fn evaluate(&self, split: &Split) -> Result<Evaluation> {
        let forward = |batches: &[_]| self.state.trainer.layers().forward_all(batches);
        let settings = &self.settings;
        evaluate(forward, split, &self.data.measured_by(settings.loss), settings.eval_batch_size)
    }

    /// The losses and metrics that the run's rows have, in the order of the columns.
    pub fn value_names(&self) -> impl Iterator<Item = ValueName> + use<> {
        ValueName::all(self.data.task, self.data.validation.is_some())
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
