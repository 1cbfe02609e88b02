//! The section `data`: the data set and how it is cut.

use super::ConfigError;
use crate::data::{CsvSettings, DataSettings, Task};
use crate::settings::domain::{choice, share, truth, whole};
use crate::settings::{Key, Kind, Reader, section};

section! {
    /// The data set and how it is cut.
    pub struct DataConfig => checked {
        /// The data set.
        #[serde(flatten)]
        set: DataSettings => read();
        /// How many training samples are used, the first ones; `null`: all.
        train_samples: Option<usize> = None, whole(1..=usize::MAX).or_null();
        /// Share of the training samples that is set aside for validation.
        ///
        /// They are not trained on, and measured as `validation_*`. For classification, every class gives
        /// the same share of its samples.
        validation_fraction: f64 = 0.0, share();
        /// How many training samples are set aside, in place of `data.validation_fraction`.
        validation_samples: Option<usize> = None, whole(1..=usize::MAX).or_null();
        /// Seed of the choice of validation samples.
        validation_seed: u32 = 1, whole(0..=u32::MAX);
        /// Samples per training step.
        batch_size: i64 = 50, whole(1..=i64::MAX);
        /// Samples per forward pass when evaluating.
        eval_batch_size: i64 = 1000, whole(1..=i64::MAX);
    }
}

impl DataConfig {
    /// Whether some of the training samples are set aside for validation.
    pub fn has_validation(&self) -> bool {
        self.validation_fraction > 0.0 || self.validation_samples.is_some()
    }

    fn checked(self, reader: &mut Reader) -> Result<DataConfig, ConfigError> {
        match self.validation_samples {
            Some(samples) if self.validation_fraction > 0.0 => {
                let expected = "null where `data.validation_fraction` is above 0";
                Err(reader.refuse("validation_samples", samples, expected))
            }
            _ => Ok(self),
        }
    }
}

section! {
    /// Keys of data sets that can be standardized.
    struct Scaled {
        /// Whether inputs and numeric targets have mean 0 and standard deviation 1.
        ///
        /// By the training set. Images are in [0, 1] otherwise.
        standardize: bool = true, truth();
    }
}

section! {
    /// Keys of Wine Quality.
    struct WineQuality {
        /// What the network is trained for.
        task: Task = Task::Regression, choice();
        /// Whether inputs and numeric targets have mean 0 and standard deviation 1.
        ///
        /// By the training set. Images are in [0, 1] otherwise.
        standardize: bool = true, truth();
    }
}

/// Every data set, with its keys.
static KINDS: &[Kind<DataSettings>] = &[
    Kind {
        name: "mnist",
        summary: "70,000 handwritten digits of 28 x 28 pixels (LeCun et al. 1998)",
        keys: Scaled::keys,
        read: |reader| {
            Ok(DataSettings::Mnist { standardize: Scaled::read_keys(reader)?.standardize })
        },
    },
    Kind {
        name: "fashion_mnist",
        summary: "70,000 pieces of clothing of 28 x 28 pixels (Xiao et al. 2017), scaled as MNIST",
        keys: Scaled::keys,
        read: |reader| {
            Ok(DataSettings::FashionMnist { standardize: Scaled::read_keys(reader)?.standardize })
        },
    },
    Kind {
        name: "digits",
        summary: "1,797 handwritten digits of 8 x 8 pixels in [0, 1], carried by the program",
        keys: Vec::new,
        read: |_| Ok(DataSettings::Digits),
    },
    Kind {
        name: "cifar10",
        summary: "60,000 colour photographs of 32 x 32 pixels (Krizhevsky 2009)",
        keys: Scaled::keys,
        read: |reader| {
            Ok(DataSettings::Cifar10 { standardize: Scaled::read_keys(reader)?.standardize })
        },
    },
    Kind {
        name: "wine_quality",
        summary: "6,497 Portuguese wines, red and white (Cortez et al. 2009)",
        keys: WineQuality::keys,
        read: |reader| {
            let WineQuality { task, standardize } = WineQuality::read_keys(reader)?;
            Ok(DataSettings::WineQuality { task, standardize })
        },
    },
    Kind {
        name: "sgemm",
        summary: "Run times of 241,600 settings of a GPU's matrix product (Nugteren & Codreanu 2015)",
        keys: Scaled::keys,
        read: |reader| {
            Ok(DataSettings::Sgemm { standardize: Scaled::read_keys(reader)?.standardize })
        },
    },
    Kind {
        name: "csv",
        summary: "Files of your own",
        keys: CsvSettings::keys,
        read: |reader| Ok(DataSettings::Csv(CsvSettings::read_keys(reader)?)),
    },
];

impl DataSettings {
    pub(crate) fn keys() -> Vec<Key> {
        Kind::keys_of(KINDS)
    }

    pub(crate) fn read_keys(reader: &mut Reader) -> Result<DataSettings, ConfigError> {
        Kind::read_one(KINDS, reader)
    }
}
