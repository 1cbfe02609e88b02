//! A data set in memory, and batches of its samples.
//!
//! Legend: N samples, n_0 inputs, C outputs, b batch.

use tch::{Device, Kind, Tensor};

use super::{Preparation, Targets, Task};
use crate::loss::Loss;
use crate::metrics::Measure;
use crate::native::{self, SharedTensor};

/// Samples to train on, to choose by, and to test on.
///
/// Nothing writes to its tensors, so threads can share one data set (`Arc<Dataset>`).
///
/// ```no_run
/// use f3_tch::data::{Dataset, Split, Task};
/// use f3_tch::tch::{Device, Kind, Tensor};
///
/// let split = |count: i64| {
///     let pixels = Tensor::rand([count, 3 * 32 * 32], (Kind::Float, Device::Cpu));
///     let classes = Tensor::randint(10, [count], (Kind::Int64, Device::Cpu));
///     Split::new(pixels, classes.onehot(10))
/// };
/// let data = Dataset::new("noise", Task::Classification, split(1000), split(200));
/// let data = Dataset { image: Some([3, 32, 32]), ..data }; // for `cnn` and `vit`
/// ```
pub struct Dataset {
    /// Its name in configurations, or that of its file.
    pub name: String,
    /// What a network is trained for.
    pub task: Task,
    /// Channels, height and width, if each sample's inputs are an image.
    pub image: Option<[i64; 3]>,
    /// Samples to train on.
    pub train: Split,
    /// Samples held out of the training set, to stop early and to choose a checkpoint by.
    pub validation: Option<Split>,
    /// Samples that are only evaluated.
    pub test: Split,
    /// How the samples were prepared, where that is known.
    pub preparation: Option<Preparation>,
}

impl Dataset {
    /// A data set of the caller's own tensors: inputs `[N, n_0]` and targets `[N, C]`, of any kind;
    /// without a validation set.
    pub fn new(name: &str, task: Task, train: Split, test: Split) -> Dataset {
        let float = |split: Split| split.map(|it| it.to_kind(Kind::Float).contiguous());
        Dataset {
            name: name.to_string(),
            task,
            image: None,
            train: float(train),
            validation: None,
            test: float(test),
            preparation: None,
        }
    }

    /// Its parts by name: `train`, `validation` if there is one, `test`.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        let validation = self.validation.as_ref().map(|split| ("validation", split));
        [("train", &self.train)].into_iter().chain(validation).chain([("test", &self.test)])
    }

    /// By what a network is measured that learns with this loss.
    pub fn measured_by(&self, loss: Loss) -> Measure<'_> {
        let scaling = match self.preparation.as_ref().map(|it| &it.targets) {
            Some(Targets::Numbers { scaling, .. }) => scaling.as_slice(),
            _ => &[],
        };
        Measure { loss, task: self.task, scaling }
    }

    /// The shape of the training set, before a validation set was taken out of it.
    pub(crate) fn training_shape(&self) -> TrainingShape {
        TrainingShape {
            samples: self.train.len() + self.validation.as_ref().map_or(0, Split::len),
            outputs: self.train.output_count(),
            image: self.image,
        }
    }
}

/// The shape of a training set, which a configuration has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingShape {
    /// N.
    pub samples: i64,
    /// C.
    pub outputs: i64,
    /// Channels, height and width, if the inputs are images.
    pub image: Option<[i64; 3]>,
}

/// Samples on one device, each known by its position.
///
/// ```
/// use f3_tch::data::Split;
/// use f3_tch::tch::{Device, Kind, Tensor};
///
/// let inputs = Tensor::rand([25, 8], (Kind::Float, Device::Cpu));
/// let targets = Tensor::zeros([25, 3], (Kind::Float, Device::Cpu));
/// let data = Split::new(inputs, targets);
/// let order = Tensor::randperm(25, (Kind::Int64, Device::Cpu));
/// let sizes: Vec<i64> = data.batches(&order, 10).map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [10, 10, 5]);
/// ```
pub struct Split {
    /// Float `[N, n_0]`.
    pub inputs: SharedTensor,
    /// Float `[N, C]`.
    pub targets: SharedTensor,
}

/// Some samples of a split: what [`Split::batches`] and [`Split::gather`] give.
///
/// ```
/// use f3_tch::data::Split;
/// use f3_tch::tch::Tensor;
///
/// let inputs = Tensor::from_slice(&[1f32, 2., 3., 4.]).view([4, 1]);
/// let data = Split::new(inputs.shallow_clone(), inputs * 10.0);
/// let batch = data.gather(&Tensor::from_slice(&[3i64, 0]));
/// assert_eq!(batch.inputs, Tensor::from_slice(&[4f32, 1.]).view([2, 1]));
/// assert_eq!(batch.targets, Tensor::from_slice(&[40f32, 10.]).view([2, 1]));
/// ```
pub struct Batch {
    /// Their positions in the split: int64 `[b]`.
    pub positions: Tensor,
    /// `[b, n_0]`.
    pub inputs: Tensor,
    /// `[b, C]`.
    pub targets: Tensor,
}

impl Split {
    /// Samples from inputs `[N, n_0]` and targets `[N, C]`.
    pub fn new(inputs: Tensor, targets: Tensor) -> Split {
        Split { inputs: inputs.into(), targets: targets.into() }
    }

    /// N.
    #[allow(clippy::len_without_is_empty)] // no data set is empty
    pub fn len(&self) -> i64 {
        self.inputs.size()[0]
    }

    /// n_0.
    pub fn input_count(&self) -> i64 {
        self.inputs.size()[1]
    }

    /// C.
    pub fn output_count(&self) -> i64 {
        self.targets.size()[1]
    }

    /// Consecutive slices of an order (int64 `[N]`, on the split's device), each gathered on the
    /// device; the last one may be smaller.
    pub fn batches(&self, order: &Tensor, size: i64) -> impl Iterator<Item = Batch> {
        let count = order.size()[0];
        (0..count)
            .step_by(size as usize)
            .map(move |start| self.gather(&order.narrow(0, start, size.min(count - start))))
    }

    /// The samples at these positions (int64 `[b]`, on the split's device).
    pub fn gather(&self, positions: &Tensor) -> Batch {
        let rows = |source: &Tensor| match source.device() {
            // libtorch's OpenMP threads would stand in the way of the kernels' own.
            Device::Cpu => native::dense::gather(source, positions)
                .expect("positions are those of samples, which are float32 and contiguous"),
            _ => source.index_select(0, positions),
        };
        Batch {
            inputs: rows(&self.inputs),
            targets: rows(&self.targets),
            positions: positions.shallow_clone(),
        }
    }

    fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> Split {
        Split::new(change(&self.inputs), change(&self.targets))
    }

    /// The first `count` samples, in the same memory.
    pub fn first(&self, count: i64) -> Split {
        self.map(|it| it.narrow(0, 0, count))
    }

    /// Copies of some samples, in the order given.
    pub(super) fn select(&self, positions: &[i64]) -> Split {
        let positions = Tensor::from_slice(positions).to_device(self.inputs.device());
        self.map(|it| it.index_select(0, &positions))
    }

    /// The same samples, in the same memory.
    pub fn shallow_clone(&self) -> Split {
        self.map(Tensor::shallow_clone)
    }
}

impl Batch {
    /// b.
    #[allow(clippy::len_without_is_empty)] // no batch is empty
    pub fn len(&self) -> i64 {
        self.positions.size()[0]
    }

    /// The same samples, in the same memory.
    pub fn shallow_clone(&self) -> Batch {
        let [positions, inputs, targets] =
            [&self.positions, &self.inputs, &self.targets].map(Tensor::shallow_clone);
        Batch { positions, inputs, targets }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn threads_share_one_data_set() {
        fn can_be_shared<T: Send + Sync>(it: T) -> T {
            it
        }
        let split = || {
            let inputs = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([3, 2]);
            Split::new(inputs, Tensor::ones([3, 1], (Kind::Float, Device::Cpu)))
        };
        let data = Dataset::new("t", Task::Regression, split(), split());
        let data = can_be_shared(Arc::new(data));
        let sums: Vec<f64> = std::thread::scope(|scope| {
            let sum = || data.train.inputs.sum(Kind::Float).double_value(&[]);
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(sum)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sums, [15.0; 3]);
    }
}
