//! The epoch loop: train, evaluate, log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use tch::Tensor;

use crate::checkpoint::Checkpoints;
use crate::data::{Dataset, Split};
use crate::diagnostics::{Diagnostics, measure};
use crate::divergence;
use crate::generator::Generator;
use crate::learning_rate::LearningRate;
use crate::loss::Loss;
use crate::messages::say;
use crate::metrics::{Evaluation, evaluate, metric_name, synchronize};
use crate::model::Description;
use crate::settings::domain::whole;
use crate::settings::{named, section};
use crate::sinks::{EpochRow, LayerNorms, Sink};
use crate::trainer::{self, Trainer};

/// Everything that a run needs, ready to start.
pub struct Experiment {
    /// The learning rule with its network.
    pub trainer: Box<dyn Trainer>,
    /// On the same device as the network.
    pub data: Dataset,
    /// What is reported as loss.
    pub loss: Loss,
    /// The run's random numbers, from where the network's initialisation left them.
    pub generator: Generator,
    /// Samples per training step.
    pub batch_size: i64,
    /// Samples per forward pass when evaluating.
    pub eval_batch_size: i64,
    /// Passes over the training set.
    pub epochs: u64,
    /// The learning rate and its schedule.
    pub learning_rate: LearningRate,
    /// Whether and when the hidden layers' gradients are compared with backpropagation's.
    pub diagnostics: Option<Diagnostics>,
    /// Whether the run ends when it gets no better.
    pub early_stop: EarlyStop,
    /// After so many minutes of training and evaluating, the epoch that is under way is the last one.
    pub max_minutes: Option<f64>,
    /// What to do about a loss or weight that is NaN or infinite.
    pub on_nan: OnNan,
    /// What goes into files with the network, where the data's preparation is known.
    pub description: Option<Description>,
    /// The configuration that the run was made from, as YAML, if it was.
    pub config: Option<String>,
    /// What is known of the epochs that are done, epoch 0 (before training) first.
    pub rows: Vec<EpochRow>,
}

impl Experiment {
    /// With batches of 50, 10 epochs and a learning rate that stays as it is; all of this can be set.
    pub fn new(
        trainer: Box<dyn Trainer>,
        data: Dataset,
        loss: Loss,
        generator: Generator,
        learning_rate: f64,
    ) -> Experiment {
        Experiment {
            trainer,
            data,
            loss,
            generator,
            batch_size: 50,
            eval_batch_size: 1000,
            epochs: 10,
            learning_rate: LearningRate::constant(learning_rate),
            diagnostics: None,
            early_stop: EarlyStop::default(),
            max_minutes: None,
            on_nan: OnNan::Stop,
            description: None,
            config: None,
            rows: Vec::new(),
        }
    }
}

section! {
    /// When a run ends, other than with its last epoch.
    #[derive(Default)]
    pub struct EarlyStop {
        /// Metric to monitor; `null` disables early stopping.
        ///
        /// A loss or metric by its name in `metrics.csv`, such as `validation_loss`.
        metric: Option<String> = None, metric_name().or_null();
        /// Epochs without improvement before the run ends.
        ///
        /// NaN is no improvement.
        patience: u64 = 10, whole(1..=1_000_000_000);
    }
}

named! {
    /// What to do about a loss or weight that is NaN or infinite.
    pub enum OnNan {
        /// The run ends with an error.
        ///
        /// It names the first layer that is not finite and, where there are checkpoints and parameters
        /// do not live in files, the batch.
        Stop = "stop",
        /// The run goes on, with a warning that names the layer.
        Warn = "warn",
    }
}

/// Why a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All its epochs are done.
    Complete,
    /// The metric of [`EarlyStop`] was best in this epoch, and that is long ago.
    NoBetter(u64),
    /// Its time is over.
    OutOfTime,
    /// Somebody wanted it to end.
    Interrupted,
}

/// Trains until the run ends; gives the rows of all its epochs. Nothing is saved but by the sinks.
///
/// # Errors
/// As [`run_with`].
pub fn run(experiment: &mut Experiment, sinks: &mut [Box<dyn Sink>]) -> Result<Vec<EpochRow>> {
    run_with(experiment, sinks, None, &AtomicBool::new(false))?;
    Ok(experiment.rows.clone())
}

/// Trains until the run ends, from where the experiment stands: rows that it has already go to
/// [`Sink::replay`], new ones to [`Sink::epoch`] and into the experiment, epoch 0 (before training)
/// first. `checkpoints` are written as their settings say, and at the end. When `stop` becomes true,
/// the epoch that is under way is the last one.
///
/// # Errors
/// A loss or weight that is NaN or infinite, unless the experiment only warns of it; that epoch goes to
/// no sink and into no checkpoint, and the experiment is of no use then. Anything that fails while
/// training or writing.
pub fn run_with(
    experiment: &mut Experiment,
    sinks: &mut [Box<dyn Sink>],
    checkpoints: Option<&Checkpoints>,
    stop: &AtomicBool,
) -> Result<Ending> {
    let network = experiment.trainer.layers();
    sinks.iter_mut().try_for_each(|sink| sink.replay(&experiment.rows, network))?;
    if let Some(ending) = experiment.ending(stop) {
        return Ok(ending);
    }
    loop {
        let row = experiment.train_epoch(sinks)?;
        if let Some(wrong) = divergence::in_row(&row) {
            match experiment.on_nan {
                OnNan::Warn => say(divergence::warning(experiment, &row, &wrong)?),
                OnNan::Stop => {
                    return Err(divergence::error(experiment, &row, &wrong, checkpoints, stop));
                }
            }
        }
        for sink in sinks.iter_mut() {
            sink.epoch(&row, experiment.trainer.layers())?;
        }
        experiment.rows.push(row);
        let ending = experiment.ending(stop);
        if let Some(checkpoints) = checkpoints {
            checkpoints.after_epoch(experiment, ending.is_some())?;
        }
        if let Some(ending) = ending {
            return Ok(ending);
        }
    }
}

impl Experiment {
    /// Why there is no further epoch, if there is none.
    fn ending(&self, stop: &AtomicBool) -> Option<Ending> {
        let done = self.rows.last()?.epoch;
        if done >= self.epochs {
            return Some(Ending::Complete);
        }
        let EarlyStop { metric, patience } = &self.early_stop;
        if let Some(metric) = metric {
            let best = EpochRow::best(&self.rows, metric).unwrap_or(0); // none is a number
            if done - best >= *patience {
                return Some(Ending::NoBetter(best));
            }
        }
        let seconds: f64 = self.rows.iter().map(|row| row.train_seconds + row.eval_seconds).sum();
        if self.max_minutes.is_some_and(|minutes| seconds >= 60.0 * minutes) {
            return Some(Ending::OutOfTime);
        }
        stop.load(Ordering::Acquire).then_some(Ending::Interrupted)
    }

    /// The next epoch, if there is none yet the one before training: trains, evaluates.
    fn train_epoch(&mut self, sinks: &mut [Box<dyn Sink>]) -> Result<EpochRow> {
        let epoch = self.rows.last().map_or(0, |row| row.epoch + 1);
        let samples = self.data.train.len();
        let before = epoch.saturating_sub(1) * samples as u64;
        let learning_rate = self.learning_rate.at(epoch);
        let start = Instant::now();
        if epoch > 0 {
            self.train_only(epoch, &mut |done| {
                for sink in sinks.iter_mut() {
                    sink.samples(before + done as u64);
                }
            })?;
            synchronize(self.data.train.inputs.device());
        }
        let train_seconds = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let train = evaluate_split(self, |data| &data.train)?;
        let test = evaluate_split(self, |data| &data.test)?;
        let eval_seconds = start.elapsed().as_secs_f64();
        let norms: Vec<LayerNorms> = self
            .trainer
            .layers()
            .as_slice()
            .iter()
            .map(|layer| LayerNorms {
                weight: layer.weight_norm(),
                gradient: layer.gradient_norm(),
            })
            .collect();
        let store = self.trainer.error_store_mut().filter(|_| epoch > 0);
        Ok(EpochRow {
            epoch,
            processed_samples: epoch * samples as u64,
            train,
            test,
            wall_time: seconds(),
            train_seconds,
            eval_seconds,
            learning_rate,
            norms,
            stored_errors: store.map(|store| store.end_epoch()),
            angles: match self.diagnostics {
                Some(Diagnostics { every, samples }) if epoch.is_multiple_of(every) => {
                    measure(self.trainer.as_ref(), &self.data.train, self.loss, samples)?
                }
                _ => Vec::new(),
            },
        })
    }

    /// An epoch's training, without evaluating.
    pub(crate) fn train_only(&mut self, epoch: u64, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        let data = &self.data.train;
        let order = self.generator.epoch_order(data.len())?.to_device(data.inputs.device());
        let (batch_size, learning_rate) = (self.batch_size, self.learning_rate.at(epoch));
        let epoch = trainer::Epoch { data, order: &order, batch_size, learning_rate };
        self.trainer.train_epoch(&epoch, on_samples)
    }

    /// Every tensor that the coming epochs depend on, by name. Those of the networks, optimizers and
    /// the error store are the ones in use: to write to them is to set them. Generators are copies,
    /// see [`Experiment::set_generator`].
    pub(crate) fn state(&mut self) -> Result<Vec<(String, Tensor)>> {
        let mut state = self.trainer.state();
        state.push((GENERATOR.to_string(), self.generator.state()?));
        for (name, generator) in self.trainer.generators_mut() {
            state.push((name.to_string(), generator.state()?));
        }
        Ok(state)
    }

    pub(crate) fn is_generator(&self, name: &str) -> bool {
        name == GENERATOR || name.starts_with("generator.")
    }

    /// Continues a stream of random numbers where it was when [`Experiment::state`] was asked.
    pub(crate) fn set_generator(&mut self, name: &str, state: &Tensor) -> Result<()> {
        if name == GENERATOR {
            return self.generator.set_state(state);
        }
        let mut own = self.trainer.generators_mut().into_iter();
        match own.find(|(known, _)| *known == name) {
            Some((_, generator)) => generator.set_state(state),
            None => bail!("there is no generator `{name}`"),
        }
    }
}

const GENERATOR: &str = "generator";

/// Since 1970.
pub(crate) fn seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn evaluate_split(
    experiment: &mut Experiment,
    choose: impl Fn(&Dataset) -> &Split,
) -> Result<Evaluation> {
    // The paper's program draws a number whenever it starts to go through a data set; drawing it
    // too keeps the streams, and so all results, the same.
    experiment.generator.int64()?;
    evaluate(
        |inputs| experiment.trainer.layers().forward(inputs),
        choose(&experiment.data),
        experiment.loss,
        experiment.data.task,
        experiment.eval_batch_size,
    )
}
