//! What is known of the epochs that are done.

use std::collections::BTreeSet;
use std::{fmt, iter};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::data::Task;
use crate::diagnostics::LayerAngles;
use crate::error_store::ErrorStatistics;
use crate::layers::LayerNorms;
use crate::metrics::{Better, Evaluation};
use crate::settings::Domain;
use crate::settings::domain::show;

/// What is known at the end of an epoch; epoch 0 is before training. All parts of the data were evaluated,
/// all but the training set, or none (see [`Settings::evaluate_every`](super::Settings::evaluate_every) and
/// [`Settings::evaluate_train_every`](super::Settings::evaluate_train_every)).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch that has just ended.
    pub epoch: u64,
    /// How many samples have been trained on since the start.
    pub processed_samples: u64,
    /// The network on the training set, if it was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<Evaluation>,
    /// The network on the validation set, if it was evaluated and the data have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Evaluation>,
    /// The network on the test set, if it was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Evaluation>,
    /// When it ended, in seconds since the Unix epoch.
    pub wall_time: f64,
    /// Time of the epoch's training.
    pub train_seconds: f64,
    /// Time of the evaluations; 0 if there were none.
    pub eval_seconds: f64,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
    /// For each layer in forward order the norm of its weights and of its last gradient.
    pub norms: Vec<LayerNorms>,
    /// The error store, where the algorithm has one and has trained.
    pub stored_errors: Option<ErrorStatistics>,
    /// For each hidden layer in forward order its angles to backpropagation; empty in epochs
    /// without diagnostics.
    pub angles: Vec<LayerAngles>,
}

/// The parts of a data set that may be evaluated, in their order everywhere.
const PARTS: [&str; 3] = ["train", "validation", "test"];

/// Which number of a row: the loss or a metric of a part. Its text is the column's name in
/// `metrics.csv`, such as `test_accuracy`.
#[derive(Clone, Copy, Debug)]
pub struct ValueName {
    /// `train`, `validation` or `test`.
    pub part: &'static str,
    /// Such as `loss` or `accuracy`.
    pub quantity: &'static str,
    /// Such as `%`; empty where there is none.
    pub unit: &'static str,
    /// Which way the number gets better.
    pub better: Better,
}

impl ValueName {
    /// All names for a task, with or without those of a validation set: the order of the columns.
    pub fn all(task: Task, validation: bool) -> impl Iterator<Item = ValueName> {
        let parts = PARTS.into_iter().filter(move |part| *part != "validation" || validation);
        parts.flat_map(move |part| {
            let metrics = task.metrics().map(|metric| (metric.name, metric.unit, metric.better));
            let values = iter::once(("loss", "", Better::Lower)).chain(metrics);
            values.map(move |(quantity, unit, better)| ValueName { part, quantity, unit, better })
        })
    }

    /// The names for any task; a loss comes once for each task.
    pub fn known() -> impl Iterator<Item = ValueName> {
        let tasks = [Task::Classification, Task::Regression];
        tasks.into_iter().flat_map(|task| ValueName::all(task, true))
    }

    /// The name that a text means, if any.
    pub fn find(text: &str) -> Option<ValueName> {
        ValueName::known().find(|name| name.to_string() == text)
    }

    /// The number in a row, if the row has it.
    pub fn of(self, row: &EpochRow) -> Option<f64> {
        let (_, evaluation) = row.parts().find(|(part, _)| *part == self.part)?;
        match self.quantity {
            "loss" => Some(evaluation.loss),
            metric => evaluation.metric(metric),
        }
    }

    /// The epoch, of those after training began, in which the number was best; of equal ones the first.
    /// Numbers that are not finite do not count.
    pub fn best<'a>(self, rows: impl IntoIterator<Item = &'a EpochRow>) -> Option<&'a EpochRow> {
        let sign = if self.better == Better::Higher { -1.0 } else { 1.0 };
        let trained = rows.into_iter().filter(|row| row.epoch > 0);
        let values = trained.filter_map(|row| Some((row, sign * self.of(row)?)));
        let finite = values.filter(|(_, value)| value.is_finite());
        finite.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
    }
}

/// The values of a key that names a loss or metric. Any value is read; the configuration checks it once it
/// knows the data, on which the names depend.
pub(crate) fn metric_name() -> Domain<String> {
    let names: BTreeSet<String> = ValueName::known().map(|name| name.to_string()).collect();
    Domain::new("the name of a metric", json!({"enum": names}), |value| Ok(show(value)))
}

impl fmt::Display for ValueName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}_{}", self.part, self.quantity)
    }
}

impl EpochRow {
    /// Whether the network was evaluated after this epoch, at least on the test set.
    pub fn is_evaluated(&self) -> bool {
        self.test.is_some()
    }

    /// The parts that were evaluated, by name, in the order of the columns.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Evaluation)> {
        let evaluations = [&self.train, &self.validation, &self.test].map(Option::as_ref);
        PARTS.into_iter().zip(evaluations).filter_map(|(part, found)| Some((part, found?)))
    }

    /// The names of what [`EpochRow::value`] knows for a task: `train_loss`, `test_accuracy`, …
    pub fn names(task: Task, validation: bool) -> Vec<String> {
        ValueName::all(task, validation).map(|name| name.to_string()).collect()
    }

    /// A loss or metric by its name in `metrics.csv`.
    pub fn value(&self, name: &str) -> Option<f64> {
        ValueName::find(name)?.of(self)
    }

    /// The epoch, of those after training began, in which a loss or metric was best; of equal ones the
    /// first.
    pub fn best<'a>(rows: impl IntoIterator<Item = &'a EpochRow>, name: &str) -> Option<u64> {
        ValueName::find(name)?.best(rows).map(|row| row.epoch)
    }
}
