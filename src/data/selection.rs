//! The part of a data set that a run uses.

use std::sync::Arc;

use anyhow::Result;
use tch::Device;

use super::{DataDirectory, DataSet, Dataset, Progress, SelectionError, ValidationSplit};

/// A data set, how many of its training samples are used, and which of them are held out.
#[derive(Clone, Debug)]
pub struct DataSelection {
    /// The data set.
    pub set: Arc<dyn DataSet>,
    /// How many training samples are used, the first ones; none: all.
    pub train_samples: Option<usize>,
    /// The validation set, taken out of those; none: no validation set.
    pub validation: Option<ValidationSplit>,
}

impl DataSelection {
    /// How many samples are trained on, of the training samples that there are.
    ///
    /// # Errors
    /// If there are not enough.
    pub fn training_samples(&self, mut samples: i64) -> Result<i64, SelectionError> {
        if let Some(wanted) = self.train_samples {
            if wanted as i64 > samples {
                return Err(SelectionError {
                    key: "data.train_samples",
                    found: wanted.to_string(),
                    expected: format!("null, or at most the {samples} training samples"),
                });
            }
            samples = wanted as i64;
        }
        match self.validation {
            None => Ok(samples),
            Some(split) => Ok(samples - split.size.of(samples)?),
        }
    }

    /// The part of a data set in memory; one that has a validation set already has been cut, and is
    /// taken as it is.
    ///
    /// # Errors
    /// [`SelectionError`] if it does not have enough samples.
    pub fn of(&self, data: impl Into<Arc<Dataset>>) -> Result<Arc<Dataset>> {
        let data = data.into();
        self.training_samples(data.training_shape().samples)?;
        let nothing_to_do = self.train_samples.is_none() && self.validation.is_none();
        if nothing_to_do || data.validation.is_some() {
            return Ok(data);
        }
        let mut data = data.shallow_clone();
        if let Some(samples) = self.train_samples {
            data.train = data.train.first(samples as i64);
        }
        Ok(Arc::new(match self.validation {
            None => data,
            Some(split) => data.with_validation(split)?,
        }))
    }

    /// Loads the data set, as [`DataSet::load`] does, and takes the part of it.
    pub fn load(
        &self,
        directory: &DataDirectory,
        device: Device,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Arc<Dataset>> {
        self.of(self.set.load(directory, device, progress)?)
    }
}

impl PartialEq for DataSelection {
    fn eq(&self, other: &DataSelection) -> bool {
        *self.set == *other.set
            && self.train_samples == other.train_samples
            && self.validation == other.validation
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Digits, ValidationSize};
    use super::*;

    #[test]
    fn validation_samples_are_taken_from_the_training_samples_that_are_used() {
        let validation = ValidationSplit { size: ValidationSize::Count(30), seed: 1 };
        let of = |train_samples, validation| {
            let set = Arc::new(Digits);
            let selection = DataSelection { set, train_samples, validation };
            selection.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})
        };
        let all = of(None, None).unwrap();
        assert_eq!((all.train.len(), all.test.len()), (1438, 359));
        assert!(all.validation.is_none());
        let cut = of(Some(100), Some(validation)).unwrap();
        let held_out = cut.validation.as_ref().unwrap();
        assert_eq!((cut.train.len(), held_out.len(), cut.test.len()), (70, 30, 359));
        let first = all.train.first(100);
        let sum = |split: &super::super::Split| split.inputs.sum(tch::Kind::Double);
        assert_eq!(sum(&cut.train) + sum(held_out), sum(&first));
        for (samples, key) in [(1439, "data.train_samples"), (30, "data.validation_samples")] {
            let error = of(Some(samples), Some(validation)).err().unwrap();
            assert_eq!(error.downcast::<SelectionError>().unwrap().key, key);
        }
    }
}
