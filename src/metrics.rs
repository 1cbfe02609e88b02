//! Loss and metrics of a network on a whole data set: the table of metrics, and how they are computed.
//!
//! Legend: N samples, b batch, C outputs.

mod auroc;

use anyhow::Result;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use tch::{Kind, Tensor};

use self::Better::{Higher, Lower};
pub use self::auroc::macro_auroc;
use crate::data::Task::{self, Classification, Regression};
use crate::data::{Scaling, Split};
use crate::loss::Loss;
use crate::process::use_threads;

/// What a network does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The loss summed over all elements, divided by the number of samples.
    pub loss: f64,
    /// The metrics of the task by name, in the order of [`Task::metrics`].
    #[serde(deserialize_with = "known_metrics")]
    pub metrics: Vec<(&'static str, f64)>,
}

/// Which way a value gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The larger the better.
    Higher,
    /// The smaller the better.
    Lower,
}

/// A number that says how good a network is.
#[derive(Debug)]
pub struct Metric {
    /// As in `metrics.csv`, behind `train_`, `validation_` or `test_`.
    pub name: &'static str,
    /// Such as `%`; empty where there is none.
    pub unit: &'static str,
    /// Which way it gets better.
    pub better: Better,
    /// The task that it is for.
    pub task: Task,
    /// Its value for outputs `[N, C]` (of a classifier the scores, see [`Loss::scores`]) and targets
    /// `[N, C]`.
    pub of: fn(&Tensor, &Tensor) -> f64,
}

/// All metrics. To add one is to add a row here; a task's first one is shown while a run is under way,
/// and in its closing table.
pub static METRICS: &[Metric] = &[
    Metric { name: "accuracy", unit: "%", better: Higher, task: Classification, of: accuracy },
    Metric { name: "auroc", unit: "", better: Higher, task: Classification, of: macro_auroc },
    Metric { name: "f1", unit: "", better: Higher, task: Classification, of: macro_f1 },
    Metric { name: "mae", unit: "", better: Lower, task: Regression, of: mean_absolute_error },
    Metric { name: "mape", unit: "", better: Lower, task: Regression, of: mean_percentage_error },
    Metric { name: "r2", unit: "", better: Higher, task: Regression, of: r_squared },
];

impl Task {
    /// The metrics of the task, in their order everywhere.
    pub fn metrics(self) -> impl Iterator<Item = &'static Metric> {
        METRICS.iter().filter(move |metric| metric.task == self)
    }
}

impl Metric {
    /// The metric of this name.
    pub fn find(name: &str) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| metric.name == name)
    }
}

impl Evaluation {
    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(metric, _)| *metric == name).map(|(_, value)| *value)
    }
}

fn known_metrics<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(&'static str, f64)>, D::Error> {
    let read = Vec::<(String, f64)>::deserialize(deserializer)?;
    let known = |(name, value): (String, f64)| match Metric::find(&name) {
        Some(known) => Ok((known.name, value)),
        None => Err(D::Error::custom(format!("unknown metric `{name}`"))),
    };
    read.into_iter().map(known).collect()
}

/// By what a network is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measure<'a> {
    /// The loss.
    pub loss: Loss,
    /// The task, which says what metrics there are.
    pub task: Task,
    /// How targets that are numbers were scaled; if empty, they were not. The loss is that of the scaled
    /// numbers, metrics are in the targets' own units.
    pub scaling: &'a [Scaling],
}

impl Measure<'_> {
    /// Numbers `[N, C]` in their own units, float64 if they were scaled.
    fn in_own_units(&self, scaled: &Tensor) -> Tensor {
        if self.scaling.is_empty() {
            return scaled.shallow_clone();
        }
        let row = |constant: fn(&Scaling) -> f64| {
            let values: Vec<f64> = self.scaling.iter().map(constant).collect();
            Tensor::from_slice(&values).to_device(scaled.device())
        };
        scaled.to_kind(Kind::Double) * row(|it| it.standard_deviation) + row(|it| it.mean)
    }
}

/// Evaluates a network by its function from batches of inputs `[b, n_0]` to their outputs `[b, C]`; the
/// device is waited for only when all batches are on their way.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::data::{Split, Task};
/// use f3_tch::loss::Loss;
/// use f3_tch::metrics::{Measure, evaluate};
/// use f3_tch::tch::Tensor;
///
/// let inputs = Tensor::from_slice2(&[[0.9f32, 0.1], [0.3, 0.7], [0.6, 0.4]]);
/// let targets = Tensor::from_slice2(&[[1f32, 0.0], [0.0, 1.0], [0.0, 1.0]]);
/// let measure = Measure { loss: Loss::MeanSquaredError, task: Task::Classification, scaling: &[] };
/// let same = |batches: &[Tensor]| Ok(batches.iter().map(Tensor::shallow_clone).collect());
/// let found = evaluate(same, &Split::new(inputs, targets), &measure, 2)?; // of a network that changes nothing
/// let accuracy = found.metrics.iter().find(|(name, _)| *name == "accuracy").expect("of classes").1;
/// assert!((accuracy - 66.7).abs() < 0.1);
/// # Ok(())
/// # }
/// ```
pub fn evaluate(
    forward: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    data: &Split,
    measure: &Measure,
    batch_size: i64,
) -> Result<Evaluation> {
    let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
    let Measure { loss, task, .. } = *measure;
    let batches = |samples: &Tensor| samples.split(batch_size, 0);
    let outputs = forward(&batches(&data.inputs))?;
    let mut total = Tensor::zeros([], (Kind::Double, data.inputs.device()));
    {
        // libtorch's OpenMP threads would go on spinning after each small operation, where the kernels'
        // own threads compute next. Sums of more elements than this are shared, in another order.
        let is_small = data.output_count().saturating_mul(batch_size) <= 32768;
        let _threads = use_threads(is_small.then_some(1));
        for (output, targets) in outputs.iter().zip(batches(&data.targets)) {
            total += loss.sum(output, &targets);
        }
    }
    let outputs = Tensor::cat(&outputs, 0);
    let (outputs, targets) = match task {
        Classification => (loss.scores(&outputs), data.targets.shallow_clone()),
        Regression => (measure.in_own_units(&outputs), measure.in_own_units(&data.targets)),
    };
    let value = |metric: &'static Metric| (metric.name, (metric.of)(&outputs, &targets));
    Ok(Evaluation {
        loss: total.double_value(&[]) / data.len() as f64,
        metrics: task.metrics().map(value).collect(),
    })
}

/// The percentage of samples whose largest output `[N, C]` is that of their class.
pub fn accuracy(outputs: &Tensor, targets: &Tensor) -> f64 {
    let hits = outputs.argmax(-1, false).eq_tensor(&targets.argmax(-1, false));
    (hits.to_kind(Kind::Double).mean(Kind::Double) * 100.0).double_value(&[])
}

/// The mean of |y - y*| over all elements.
pub fn mean_absolute_error(outputs: &Tensor, targets: &Tensor) -> f64 {
    (outputs - targets).abs().mean(Kind::Double).double_value(&[])
}

/// The mean of |y - y*| / |y*| over all elements, as a fraction; |y*| is taken to be at least 1.17e-6, as
/// in torchmetrics.
pub fn mean_percentage_error(outputs: &Tensor, targets: &Tensor) -> f64 {
    let errors = (outputs - targets).abs();
    (&errors / targets.abs().clamp_min(1.17e-6)).mean(Kind::Double).double_value(&[])
}

/// The coefficient of determination R² = 1 - Σ (y - y*)² / Σ (y* - mean of y*)² of each of the C outputs,
/// averaged. Where all targets are the same number, it is 1 for outputs without an error, else 0.
pub fn r_squared(outputs: &Tensor, targets: &Tensor) -> f64 {
    let outputs = outputs.to_kind(Kind::Double);
    let targets = targets.to_kind(Kind::Double);
    let sum = |squares: Tensor| squares.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
    let errors = sum((outputs - &targets).square());
    let all = sum((&targets - targets.mean_dim([0i64].as_slice(), true, Kind::Double)).square());
    let constant = errors.eq(0.0).to_kind(Kind::Double);
    let shares: Tensor = 1.0 - &errors / &all;
    let shares = shares.where_self(&all.gt(0.0), &constant);
    shares.mean(Kind::Double).double_value(&[])
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
