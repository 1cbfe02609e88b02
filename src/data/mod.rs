//! Data sets as tensors on the training device.
//!
//! Legend: N samples, n_0 inputs, C outputs, b batch.

mod catalog;
mod csv_files;
mod directory;
mod fetch;
mod file;
mod idx;
mod images;
mod preparation;
mod prepare;
mod samples;
mod settings;
mod sources;
mod split;
mod table;
mod translate;
mod uci;

pub use crate::native::SharedTensor;
pub use catalog::DatasetName;
pub use csv_files::{CsvFiles, CsvSettings, Encoding};
pub use directory::DataDirectory;
pub use fetch::{Fetched, fetch};
pub use preparation::{Coding, Column, Inputs, Preparation, Scaling, Targets};
pub use samples::Samples;
pub use settings::DataSettings;
pub(crate) use settings::TrainingShape;
pub use table::{Header, TableFormat};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::native;

/// What a network is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Targets are one-hot.
    Classification,
    /// Targets are numbers.
    Regression,
}

/// A training set, a test set, and maybe a validation set.
pub struct Dataset {
    /// Its name in configurations, or that of its file.
    pub name: String,
    /// What it is for.
    pub task: Task,
    /// Channels, height and width, if each sample's inputs are an image.
    pub image: Option<[i64; 3]>,
    /// What is trained on.
    pub train: Split,
    /// What is evaluated after each epoch to choose by, if there is such a part.
    pub validation: Option<Split>,
    /// What is only evaluated.
    pub test: Split,
    /// What was done to the samples, where that is known.
    pub preparation: Option<Preparation>,
}

impl Dataset {
    /// Of tensors that the caller has: inputs float `[N, n_0]`, targets `[N, C]` of any kind.
    pub fn new(name: &str, task: Task, train: Split, test: Split) -> Dataset {
        let float = |split: Split| Split {
            inputs: split.inputs.to_kind(Kind::Float).contiguous().into(),
            targets: split.targets.to_kind(Kind::Float).contiguous().into(),
        };
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

    /// Its parts by name: `train`, `validation` where there is one, `test`.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        let validation = self.validation.as_ref().map(|split| ("validation", split));
        [("train", &self.train)].into_iter().chain(validation).chain([("test", &self.test)])
    }

    /// The same samples, in the same memory.
    pub fn shallow_clone(&self) -> Dataset {
        Dataset {
            name: self.name.clone(),
            task: self.task,
            image: self.image,
            train: self.train.shallow_clone(),
            validation: self.validation.as_ref().map(Split::shallow_clone),
            test: self.test.shallow_clone(),
            preparation: self.preparation.clone(),
        }
    }

    pub(crate) fn training_shape(&self) -> TrainingShape {
        TrainingShape {
            samples: self.train.len(),
            outputs: self.train.output_count(),
            image: self.image,
        }
    }
}

/// Samples that lie on one device, known by their position.
pub struct Split {
    /// Float `[N, n_0]`.
    pub inputs: SharedTensor,
    /// Float `[N, C]`.
    pub targets: SharedTensor,
}

/// Some samples of a split.
pub struct Batch {
    /// Where they stand in the split: int64 `[b]`.
    pub positions: Tensor,
    /// `[b, n_0]`.
    pub inputs: Tensor,
    /// `[b, C]`.
    pub targets: Tensor,
}

impl Split {
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

    /// The first `count` samples, in the same memory.
    pub fn first(&self, count: i64) -> Split {
        let first = |tensor: &Tensor| tensor.narrow(0, 0, count).into();
        Split { inputs: first(&self.inputs), targets: first(&self.targets) }
    }

    /// The same samples, in the same memory.
    pub fn shallow_clone(&self) -> Split {
        let same = |tensor: &Tensor| tensor.shallow_clone().into();
        Split { inputs: same(&self.inputs), targets: same(&self.targets) }
    }
}

impl Batch {
    /// b.
    #[allow(clippy::len_without_is_empty)] // no batch is empty
    pub fn len(&self) -> i64 {
        self.positions.size()[0]
    }
}
