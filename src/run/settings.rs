//! What a run is told: for how long it trains, with what, and when it ends early.

use anyhow::{Result, bail};

use super::history::metric_name;
use crate::diagnostics::Diagnostics;
use crate::engine::Precision;
use crate::learning_rate::LearningRate;
use crate::loss::Loss;
use crate::settings::domain::whole;
use crate::settings::{ConfigError, Reader, named, section};

/// The settings of the epoch loop. Those of the network, the algorithm and the data are in these.
///
/// ```
/// use f3_tch::loss::Loss;
/// use f3_tch::run::Settings;
///
/// let settings = Settings { epochs: 3, batch_size: 20, ..Settings::new(Loss::MeanSquaredError, 1e-3) };
/// assert_eq!(settings.evaluate_every, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the run's random numbers started; only reported.
    pub seed: u64,
    /// Passes over the training set.
    pub epochs: u64,
    /// The network is evaluated after every so many epochs, before the first, and after the last one.
    pub evaluate_every: u64,
    /// The training set is part of an evaluation only after every so many epochs, before the first, and after
    /// the last one, unless the run stops early.
    pub evaluate_train_every: u64,
    /// Samples per training step.
    pub batch_size: i64,
    /// Samples per forward pass when evaluating.
    pub eval_batch_size: i64,
    /// What is reported as loss.
    pub loss: Loss,
    /// The learning rate and its schedule.
    pub learning_rate: LearningRate,
    /// Threads that share an operation; none: as many as the calling thread has set.
    pub threads: Option<usize>,
    /// How matrices are multiplied.
    pub precision: Precision,
    /// When the hidden layers' gradients are compared with backpropagation's.
    pub diagnostics: Diagnostics,
    /// Whether the run ends when it gets no better.
    pub early_stop: EarlyStop,
    /// After so many minutes of training and evaluating, the current epoch is the last one.
    pub max_minutes: Option<f64>,
    /// What to do about a loss or weight that is NaN or infinite.
    pub on_nan: OnNan,
    /// When checkpoints are written, and which of them stay.
    pub checkpoint: CheckpointSettings,
}

impl Settings {
    /// 10 epochs with batches of 50 at a constant learning rate, with an evaluation and a checkpoint after
    /// each epoch; all of this can be set.
    pub fn new(loss: Loss, learning_rate: f64) -> Settings {
        Settings {
            seed: 1,
            epochs: 10,
            evaluate_every: 1,
            evaluate_train_every: 1,
            batch_size: 50,
            eval_batch_size: 1000,
            loss,
            learning_rate: LearningRate::constant(learning_rate),
            threads: None,
            precision: Precision::Float32,
            diagnostics: Diagnostics { every: None, samples: 1000 },
            early_stop: EarlyStop::default(),
            max_minutes: None,
            on_nan: OnNan::Stop,
            checkpoint: CheckpointSettings { every: Some(1), keep: 2, best: None },
        }
    }

    /// Refuses what no run can have; `names` are the losses and metrics that there will be.
    pub(super) fn check(&self, names: &[String]) -> Result<()> {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let smallest = [
            ("batch_size", self.batch_size),
            ("eval_batch_size", self.eval_batch_size),
            ("evaluate_every", whole(self.evaluate_every)),
            ("evaluate_train_every", whole(self.evaluate_train_every)),
            ("threads", self.threads.map_or(1, |threads| threads as i64)),
        ];
        if let Some((key, found)) = smallest.into_iter().find(|(_, found)| *found < 1) {
            bail!("settings of the run: `{key}` is {found}; expected at least 1");
        }
        let values = [
            ("early_stop.metric", &self.early_stop.metric),
            ("checkpoint.best", &self.checkpoint.best),
        ];
        for (key, value) in values {
            if let Some(value) = value.as_ref().filter(|value| !names.contains(value)) {
                let names = names.join(", ");
                bail!("settings of the run: `{key}` is `{value}`; expected one of {names}");
            }
        }
        Ok(())
    }

    /// The settings of a run that has no configuration, as plain data.
    pub(crate) fn in_short(&self) -> serde_json::Value {
        serde_json::json!({
            "seed": self.seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "loss": self.loss,
            "learning_rate": self.learning_rate.base,
            "precision": self.precision,
        })
    }

    /// The number of threads that the run has, or would have on the calling thread.
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| tch::get_num_threads().max(1) as usize)
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
        /// NaN is no improvement. With `evaluate_every: N`, every N-th epoch is compared, and can be the
        /// last one; with a metric of the training set also `evaluate_train_every` counts.
        patience: u64 = 10, whole(1..=1_000_000_000);
    }
}

named! {
    /// What to do about a loss or weight that is NaN or infinite.
    pub enum OnNan {
        /// The run ends with an error.
        ///
        /// The error names the first layer with such a value, and also the batch if there are
        /// checkpoints and `schedule.offload` is not used.
        Stop = "stop",
        /// The run goes on, with a warning that names the layer.
        Warn = "warn",
    }
}

section! {
    /// When checkpoints are written, and which of them stay.
    pub struct CheckpointSettings => checked {
        /// Epochs between two checkpoints; `null`: none.
        ///
        /// They are in `checkpoints/` in the run's folder. A run without checkpoints cannot be resumed.
        every: Option<u64> = Some(1), whole(1..=1_000_000_000).or_null();
        /// How many of the newest checkpoints are kept.
        ///
        /// With more than one, a damaged checkpoint only costs an epoch.
        keep: usize = 2, whole(1..=1_000_000);
        /// Metric whose best epoch is kept as well; `null`: none.
        ///
        /// A loss or metric by its name in `metrics.csv`, such as `validation_loss` or
        /// `test_accuracy`; the checkpoint is `checkpoints/best.safetensors`. It is the best of the epochs
        /// that are evaluated (`evaluate_every`, `evaluate_train_every`).
        best: Option<String> = None, metric_name().or_null();
    }
}

impl CheckpointSettings {
    fn checked(self, reader: &mut Reader) -> Result<CheckpointSettings, ConfigError> {
        match (self.every, &self.best) {
            (None, Some(metric)) => {
                Err(reader.refuse("best", metric, "null, or a number of epochs for `every`"))
            }
            _ => Ok(self),
        }
    }
}
