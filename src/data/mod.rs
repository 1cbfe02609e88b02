//! Data sets as tensors on the training device.
//!
//! Legend: N samples, n_0 inputs, C outputs, b batch.

mod catalog;
mod directory;
mod fetch;
mod idx;

pub use catalog::DatasetName;
pub use directory::DataDirectory;
pub use fetch::{Fetched, fetch};

use anyhow::Result;
use tch::{Device, Tensor};

/// What a network is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Targets are one-hot.
    Classification,
    /// Targets are numbers.
    Regression,
}

/// A training set and a test set.
pub struct Dataset {
    /// Its name in configurations.
    pub name: String,
    /// What it is for.
    pub task: Task,
    /// What is trained on.
    pub train: Split,
    /// What is only evaluated.
    pub test: Split,
}

/// Samples that lie on one device, known by their position.
pub struct Split {
    /// Float `[N, n_0]`.
    pub inputs: Tensor,
    /// Float `[N, C]`.
    pub targets: Tensor,
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
        (0..count).step_by(size as usize).map(move |start| {
            let positions = order.narrow(0, start, size.min(count - start));
            Batch {
                inputs: self.inputs.index_select(0, &positions),
                targets: self.targets.index_select(0, &positions),
                positions,
            }
        })
    }
}

impl Batch {
    /// b.
    #[allow(clippy::len_without_is_empty)] // no batch is empty
    pub fn len(&self) -> i64 {
        self.positions.size()[0]
    }
}

impl DatasetName {
    /// Loads the data set onto a device, fetching first what is missing in the directory.
    pub fn load(self, directory: &DataDirectory, device: Device) -> Result<Dataset> {
        match self {
            DatasetName::Digits => digits(device),
            DatasetName::Mnist | DatasetName::FashionMnist => {
                let files = fetch(self, directory)?;
                // Mean and deviation of MNIST's training pixels; Fashion-MNIST uses them too.
                let prepare = |pixels: Tensor| (pixels / 255.0 - 0.1307) / 0.3081;
                let split = |part: &str| -> Result<Split> {
                    let images = idx::images(files.content(&format!("{part}-images-idx3-ubyte")))?;
                    let labels =
                        idx::labels(files.content(&format!("{part}-labels-idx1-ubyte")), 10)?;
                    Ok(Split {
                        inputs: prepare(images.to_device(device).to_kind(tch::Kind::Float)),
                        targets: idx::one_hot(&labels, 10, device),
                    })
                };
                Ok(Dataset {
                    name: self.to_string(),
                    task: Task::Classification,
                    train: split("train")?,
                    test: split("t10k")?,
                })
            }
        }
    }
}

/// The 1,797 optical digits of 8 x 8 pixels from the UCI repository, which the program carries
/// (Alpaydin & Kaynak 1998, CC BY 4.0). Pixels 0..16 become [0, 1]; every fifth sample is a test
/// sample: 1,438 are trained on, 359 tested.
fn digits(device: Device) -> Result<Dataset> {
    let images = idx::images(&idx::File::embedded(
        "digits (images)",
        include_bytes!("digits/images-idx3-ubyte.gz"),
    )?)?;
    let labels = idx::labels(
        &idx::File::embedded("digits (labels)", include_bytes!("digits/labels-idx1-ubyte.gz"))?,
        10,
    )?;
    let inputs = images.to_device(device).to_kind(tch::Kind::Float) / 16.0;
    let targets = idx::one_hot(&labels, 10, device);
    let split = |is_test: bool| {
        let positions: Vec<i64> =
            (0..inputs.size()[0]).filter(|position| (position % 5 == 4) == is_test).collect();
        let positions = Tensor::from_slice(&positions).to_device(device);
        Split {
            inputs: inputs.index_select(0, &positions),
            targets: targets.index_select(0, &positions),
        }
    };
    Ok(Dataset {
        name: DatasetName::Digits.to_string(),
        task: Task::Classification,
        train: split(false),
        test: split(true),
    })
}
