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

use crate::diagnostics::LayerAngles;
use crate::error_store::ErrorStatistics;
use crate::metrics::Evaluation;
use crate::network::Network;

/// What is known at the end of an epoch; epoch 0 is before training.
#[derive(Clone, Debug)]
pub struct EpochRow {
    /// The epoch that has just ended.
    pub epoch: u64,
    /// How many samples have been trained on since the start.
    pub processed_samples: u64,
    /// The network on the training set.
    pub train: Evaluation,
    /// The network on the test set.
    pub test: Evaluation,
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

/// L2 norms over all parameters of a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorms {
    /// Of the parameters.
    pub weight: f64,
    /// Of their gradient on the epoch's last batch; none for a layer that is not trained.
    pub gradient: Option<f64>,
}

/// Takes the results of each epoch. A new kind of log is a new file beside this one.
pub trait Sink {
    /// An epoch has ended with these results and this network.
    fn epoch(&mut self, row: &EpochRow, network: &Network) -> Result<()>;

    /// So many samples have been trained on since the start; called after every batch.
    fn samples(&mut self, _processed: u64) {}
}
