//! The section `data`: the data set, and which of its samples are used for what.

use serde_yaml::Mapping;

use super::{ConfigError, Source};
use crate::data::{DataSelection, KnownDataSet, ValidationSize, ValidationSplit};
use crate::settings::domain::{share, whole};
use crate::settings::{Reader, section};

section! {
    /// The data set, and which of its samples are used for what.
    pub struct DataConfig => checked {
        /// The data set.
        #[serde(flatten)]
        set: KnownDataSet => read();
        /// Number of training samples that are used (the first ones); `null`: all.
        train_samples: Option<usize> = None, whole(1..=usize::MAX).or_null();
        /// Share of the training samples that is set aside for validation.
        ///
        /// They are not trained on; metrics on them are called `validation_*`. For classification, the
        /// same share of every class is taken.
        validation_fraction: f64 = 0.0, share();
        /// Number of training samples that are set aside, instead of `data.validation_fraction`.
        validation_samples: Option<usize> = None, whole(1..=usize::MAX).or_null();
        /// Seed for the choice of the validation samples.
        validation_seed: u64 = 1, whole(0..=u64::MAX);
        /// Samples per training step.
        batch_size: i64 = 50, whole(1..=i64::MAX);
        /// Samples per forward pass when evaluating.
        eval_batch_size: i64 = 1000, whole(1..=i64::MAX);
    }
}

impl DataConfig {
    /// Reads the section alone, as a model has it that was trained on these data; `name` stands in
    /// complaints.
    pub fn from_value(name: &str, section: &serde_json::Value) -> Result<DataConfig, ConfigError> {
        let source = Source::parse(name, &serde_json::json!({ "data": section }).to_string())?;
        let read = |reader: &mut Reader| reader.section("data", DataConfig::read_keys);
        Ok(source.read(Mapping::new(), super::keys(), Vec::new(), read)?.0)
    }

    /// The part of the data set that is used, and how it is divided.
    pub fn selection(&self) -> DataSelection {
        let share = Some(self.validation_fraction).filter(|share| *share > 0.0);
        let count = self.validation_samples.map(ValidationSize::Count);
        let (size, seed) = (count.or(share.map(ValidationSize::Share)), self.validation_seed);
        DataSelection {
            train_samples: self.train_samples,
            validation: size.map(|size| ValidationSplit { size, seed }),
        }
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
