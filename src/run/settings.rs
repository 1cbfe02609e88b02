//! What a run is told: for how long it trains, with what, and when it ends early.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::diagnostics::Diagnostics;
use crate::learning_rate::LearningRateSchedule;
use crate::loss::Loss;

/// The settings of the epoch loop. Those of the network, the algorithm and the data are in these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Where the run's random numbers started; only reported.
    pub seed: u64,
    /// Passes over the training set.
    pub epochs: u64,
    /// Samples per training step.
    pub batch_size: i64,
    /// Samples per forward pass when evaluating.
    pub eval_batch_size: i64,
    /// What is reported as loss.
    pub loss: Loss,
    /// Learning rate, before its schedule.
    pub learning_rate: f64,
    /// Learning-rate schedule: a warm-up, then a decay.
    pub schedule: LearningRateSchedule,
    /// Threads that share an operation; none: as many as the calling thread has set.
    pub threads: Option<usize>,
    /// How matrices are multiplied.
    pub precision: Precision,
    /// When the hidden layers' gradients are compared with backpropagation's; none: never.
    pub diagnostics: Option<Diagnostics>,
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
    /// 10 epochs with batches of 50 at a constant learning rate, with a checkpoint after each epoch; all
    /// of this can be set.
    pub fn new(loss: Loss, learning_rate: f64) -> Settings {
        Settings {
            seed: 1,
            epochs: 10,
            batch_size: 50,
            eval_batch_size: 1000,
            loss,
            learning_rate,
            schedule: LearningRateSchedule::constant(),
            threads: None,
            precision: Precision::Float32,
            diagnostics: None,
            early_stop: EarlyStop::default(),
            max_minutes: None,
            on_nan: OnNan::Stop,
            checkpoint: CheckpointSettings::default(),
        }
    }

    /// Refuses what no run can have; `names` are the losses and metrics that there will be.
    pub(super) fn check(&self, names: &[String]) -> Result<()> {
        let smallest = [
            ("batch_size", self.batch_size),
            ("eval_batch_size", self.eval_batch_size),
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

    /// The number of threads that the run has, or would have on the calling thread.
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| tch::get_num_threads().max(1) as usize)
    }
}

/// When a run ends, other than with its last epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EarlyStop {
    /// Loss or metric to monitor, such as `test_loss`; none disables early stopping.
    pub metric: Option<String>,
    /// Epochs without improvement before the run ends; NaN is no improvement.
    pub patience: u64,
}

/// What to do about a loss or weight that is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNan {
    /// The run ends with an error.
    Stop,
    /// It continues, with a warning.
    Warn,
}

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// float32 throughout.
    Float32,
    /// bfloat16 where hidden layers learn from feedback; sums, weights and optimizer are float32.
    Bf16,
    /// On CUDA, float32 rounded to TF32; sums are float32.
    Tf32,
}

/// When checkpoints are written, and which of them stay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointSettings {
    /// Epochs between two checkpoints; none: there are none.
    pub every: Option<u64>,
    /// How many of the newest ones stay.
    pub keep: usize,
    /// Loss or metric whose best epoch is kept as `best.safetensors` as well, such as `test_loss`.
    pub best: Option<String>,
}

impl Default for CheckpointSettings {
    fn default() -> CheckpointSettings {
        CheckpointSettings { every: Some(1), keep: 2, best: None }
    }
}
