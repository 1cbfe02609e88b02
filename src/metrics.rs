//! Loss and metrics of a network on a whole data set.
//!
//! Legend: N samples, b batch, C outputs.

use anyhow::Result;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::data::{Split, Task};
use crate::loss::Loss;
use crate::settings::Domain;
use crate::settings::domain::any;

/// What a network does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The loss summed over all elements, divided by the number of samples.
    pub loss: f64,
    /// The metrics of the task by name, in the order of [`Task::metrics`].
    #[serde(deserialize_with = "known_metrics")]
    pub metrics: Vec<(&'static str, f64)>,
}

impl Task {
    /// Names of the metrics: accuracy in percent, macro AUROC and macro F1 for classification,
    /// mean absolute (percentage) error for regression.
    pub fn metrics(self) -> &'static [&'static str] {
        match self {
            Task::Classification => &["accuracy", "auroc", "f1"],
            Task::Regression => &["mae", "mape"],
        }
    }
}

/// Names of what is measured in each epoch: `train_loss`, `validation_accuracy`, `test_mae`, ….
pub fn value_names(task: Task, validation: bool) -> Vec<String> {
    let parts: &[&str] =
        if validation { &["train", "validation", "test"] } else { &["train", "test"] };
    let metrics = || ["loss"].into_iter().chain(task.metrics().iter().copied());
    parts.iter().flat_map(|part| metrics().map(move |it| format!("{part}_{it}"))).collect()
}

/// The name of something that is measured; whether a run has it depends on its data.
pub(crate) fn metric_name() -> Domain<String> {
    let mut names: Vec<String> = [Task::Classification, Task::Regression]
        .into_iter()
        .flat_map(|task| value_names(task, true))
        .collect();
    names.sort();
    names.dedup();
    any("the name of a metric", json!({"enum": names}))
}

impl Evaluation {
    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let found = self.metrics.iter().find(|(metric, _)| *metric == name);
        found.map(|(_, value)| *value)
    }
}

fn known_metrics<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(&'static str, f64)>, D::Error> {
    let all = [Task::Classification, Task::Regression].map(Task::metrics).concat();
    let read = Vec::<(String, f64)>::deserialize(deserializer)?;
    let known = |(name, value): (String, f64)| match all.iter().find(|known| **known == name) {
        Some(known) => Ok((*known, value)),
        None => Err(D::Error::custom(format!("unknown metric `{name}`"))),
    };
    read.into_iter().map(known).collect()
}

/// Evaluates a network by its function from inputs `[b, n_0]` to outputs `[b, C]`; the device is waited
/// for only when all batches are on their way.
pub fn evaluate(
    forward: impl Fn(&Tensor) -> Result<Tensor>,
    data: &Split,
    loss: Loss,
    task: Task,
    batch_size: i64,
) -> Result<Evaluation> {
    let _no_grad = tch::no_grad_guard();
    let device = data.inputs.device();
    let mut total = Tensor::zeros([], (Kind::Double, device));
    let mut outputs = Vec::new();
    let mut start = 0;
    while start < data.len() {
        let count = batch_size.min(data.len() - start);
        let output = forward(&data.inputs.narrow(0, start, count))?;
        total += loss.sum(&output, &data.targets.narrow(0, start, count));
        outputs.push(output);
        start += count;
    }
    let outputs = Tensor::cat(&outputs, 0);
    let values = match task {
        Task::Classification => classification(&loss.scores(&outputs), &data.targets),
        Task::Regression => regression(&outputs, &data.targets),
    };
    Ok(Evaluation {
        loss: total.double_value(&[]) / data.len() as f64,
        metrics: task.metrics().iter().copied().zip(values).collect(),
    })
}

fn classification(outputs: &Tensor, targets: &Tensor) -> Vec<f64> {
    let hits = outputs.argmax(-1, false).eq_tensor(&targets.argmax(-1, false));
    let accuracy = hits.to_kind(Kind::Double).mean(Kind::Double) * 100.0;
    vec![accuracy.double_value(&[]), macro_auroc(outputs, targets), macro_f1(outputs, targets)]
}

/// The mean absolute error and the mean absolute percentage error (as a fraction, of targets taken
/// to be at least 1.17e-6, as in torchmetrics) over all elements.
pub fn regression(outputs: &Tensor, targets: &Tensor) -> Vec<f64> {
    let errors = (outputs - targets).abs();
    // The smallest divisor is torchmetrics' own.
    let relative = &errors / targets.abs().clamp_min(1.17e-6);
    let mean = |tensor: &Tensor| tensor.mean(Kind::Double).double_value(&[]);
    vec![mean(&errors), mean(&relative)]
}

/// The area under the ROC curve of each of the C outputs `[N, C]` against its binary target, exact
/// (ties count half), averaged over the outputs.
///
/// As in torchmetrics, an output that has no positive or no negative sample counts as 0. NaN if an output
/// is.
pub fn macro_auroc(outputs: &Tensor, targets: &Tensor) -> f64 {
    if outputs.isnan().any().int64_value(&[]) != 0 {
        return f64::NAN;
    }
    // The statistic of Mann and Whitney: positives' ranks, averaged within ties.
    let scores = outputs.tr().contiguous(); // [C, N]
    let positive = targets.tr().to_kind(Kind::Double);
    let (sorted, _) = scores.sort(-1, false);
    let below = scores.searchsorted(&sorted, false, false, "left", None::<Tensor>);
    let not_above = scores.searchsorted(&sorted, false, true, "right", None::<Tensor>);
    let ranks = (below + not_above + 1).to_kind(Kind::Double) / 2.0;
    let sum = |tensor: Tensor| tensor.sum_dim_intlist([-1i64].as_slice(), false, Kind::Double);
    let rank_sum = sum(ranks * &positive);
    let positives = sum(positive.shallow_clone());
    let negatives = targets.size()[0] as f64 - &positives;
    let area = (rank_sum - &positives * (&positives + 1.0) / 2.0) / (&positives * &negatives);
    area.nan_to_num(0.0, None, None).mean(Kind::Double).double_value(&[])
}

/// F1 of each of the C outputs `[N, C]` at threshold 0.5, averaged; without any positive it is 0.
pub fn macro_f1(outputs: &Tensor, targets: &Tensor) -> f64 {
    let sum = |tensor: Tensor| tensor.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
    let predicted = outputs.gt(0.5);
    let actual = targets.gt(0.5);
    let both = sum(predicted.logical_and(&actual));
    let any = sum(predicted) + sum(actual); // 2 tp + fp + fn
    let f1 = (both * 2.0 / any).nan_to_num(0.0, None, None);
    f1.mean(Kind::Double).double_value(&[])
}

/// Waits until a device has done all that it was given, so that a clock can be read.
pub(crate) fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}
