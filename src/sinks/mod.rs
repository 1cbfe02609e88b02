//! Where the results of a run go, epoch by epoch.

mod csv;
mod diagnostics;
mod model;
mod progress;
mod tensorboard;

pub use self::csv::CsvSink;
pub use diagnostics::DiagnosticsSink;
pub use model::ModelSink;
pub use progress::{PlainProgress, ProgressBarSink};
pub use tensorboard::TensorBoardSink;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::data::Task;
use crate::diagnostics::LayerAngles;
use crate::error_store::ErrorStatistics;
use crate::layers::Layers;
use crate::metrics::Evaluation;

/// What is known at the end of an epoch; epoch 0 is before training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch that has just ended.
    pub epoch: u64,
    /// How many samples have been trained on since the start.
    pub processed_samples: u64,
    /// The network on the training set.
    pub train: Evaluation,
    /// The network on the test set.
    pub test: Evaluation,
    /// When it ended, in seconds since 1970.
    pub wall_time: f64,
    /// Time of the epoch's training.
    pub train_seconds: f64,
    /// Time of the two evaluations.
    pub eval_seconds: f64,
    /// Step size of the epoch.
    pub learning_rate: f64,
    /// For each layer in forward order the norm of its weights and of its last gradient.
    pub norms: Vec<LayerNorms>,
    /// The error store, where the algorithm has one and has trained.
    pub stored_errors: Option<ErrorStatistics>,
    /// For each hidden layer in forward order its angles to backpropagation; empty in epochs
    /// without diagnostics.
    pub angles: Vec<LayerAngles>,
}

impl EpochRow {
    /// The names of what [`EpochRow::value`] knows for a task: `train_loss`, `test_accuracy`, …
    pub fn names(task: Task) -> Vec<String> {
        let metrics = || std::iter::once("loss").chain(task.metrics().iter().copied());
        let names = |part| metrics().map(move |metric| format!("{part}_{metric}"));
        names("train").chain(names("test")).collect()
    }

    /// A loss or metric by its name in `metrics.csv`.
    pub fn value(&self, name: &str) -> Option<f64> {
        let (part, metric) = name.split_once('_')?;
        let evaluation = match part {
            "train" => &self.train,
            "test" => &self.test,
            _ => return None,
        };
        if metric == "loss" { Some(evaluation.loss) } else { evaluation.metric(metric) }
    }

    /// The epoch, of those after training began, in which a loss or metric was best: accuracy, AUROC
    /// and F1 where they are largest, the others where they are smallest; of equal ones the first.
    pub fn best(rows: &[EpochRow], name: &str) -> Option<u64> {
        let sign = match name.split_once('_')?.1 {
            "accuracy" | "auroc" | "f1" => -1.0,
            _ => 1.0,
        };
        let trained = rows.iter().filter(|row| row.epoch > 0);
        let values = trained.filter_map(|row| Some((row.epoch, sign * row.value(name)?)));
        values
            .filter(|(_, value)| value.is_finite())
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(epoch, _)| epoch)
    }
}

/// L2 norms over all parameters of a layer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LayerNorms {
    /// Of the parameters.
    pub weight: f64,
    /// Of their gradient on the epoch's last batch; none for a layer that is not trained.
    pub gradient: Option<f64>,
}

/// A sink that calls a function with each epoch's results, for progress of one's own.
pub fn on_epoch(call: impl FnMut(&EpochRow) + 'static) -> Box<dyn Sink> {
    Box::new(Callback(call))
}

struct Callback<F>(F);

impl<F: FnMut(&EpochRow)> Sink for Callback<F> {
    fn epoch(&mut self, row: &EpochRow, _layers: &Layers) -> Result<()> {
        (self.0)(row);
        Ok(())
    }

    fn replay(&mut self, _rows: &[EpochRow], _layers: &Layers) -> Result<()> {
        Ok(())
    }
}

/// Takes the results of each epoch. A new kind of log is a new file beside this one.
pub trait Sink {
    /// An epoch has ended with these results and this network.
    fn epoch(&mut self, row: &EpochRow, layers: &Layers) -> Result<()>;

    /// Called once, before everything else, with the epochs of the time before the run was resumed and the
    /// network as it was then: written again, so that a log is whole and has nothing twice, wherever the
    /// run had been cut off.
    fn replay(&mut self, rows: &[EpochRow], layers: &Layers) -> Result<()>;

    /// So many samples have been trained on since the start; called after every batch.
    fn samples(&mut self, _processed: u64) {}
}
