//! The part of a data set that a run uses, and the validation set that is held out of it.

use std::cmp::Reverse;
use std::sync::Arc;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::{Dataset, Task};
use crate::generator::Generator;
use crate::settings::Refusal;

/// How many training samples of a data set are used, and which of them are held out.
#[derive(Clone, Copy, Debug)]
pub struct DataSelection {
    /// How many training samples are used, the first ones; none: all.
    pub train_samples: Option<usize>,
    /// The validation set, taken out of those; none: no validation set.
    pub validation: Option<ValidationSplit>,
}

/// How a validation set is taken out of the training set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidationSplit {
    /// How many samples it has.
    pub size: ValidationSize,
    /// The seed of the random choice, which no other random number of a run depends on.
    pub seed: u64,
}

/// How many samples a validation set has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValidationSize {
    /// This share of the training samples, rounded to the nearest whole number.
    Share(f64),
    /// This many.
    Count(usize),
}

impl DataSelection {
    /// How many samples are trained on, of the training samples that there are.
    ///
    /// # Errors
    /// If there are not enough.
    pub fn training_samples(&self, mut samples: i64) -> Result<i64, Refusal> {
        if let Some(wanted) = self.train_samples {
            if wanted as i64 > samples {
                let expected = format!("null, or at most the {samples} training samples");
                return Err(Refusal::new("data.train_samples", wanted, expected));
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
    /// [`Refusal`] if it does not have enough samples.
    pub fn of(&self, data: Arc<Dataset>) -> Result<Arc<Dataset>> {
        self.training_samples(data.training_shape().samples)?;
        let nothing_to_do = self.train_samples.is_none() && self.validation.is_none();
        if nothing_to_do || data.validation.is_some() {
            return Ok(data);
        }
        let used = self.train_samples.map_or(data.train.len(), |samples| samples as i64);
        let (train, test) = (data.train.first(used), data.test.shallow_clone());
        let part = Dataset {
            image: data.image,
            preparation: data.preparation.clone(),
            ..Dataset::new(&data.name, data.task, train, test)
        };
        Ok(Arc::new(match self.validation {
            None => part,
            Some(split) => part.with_validation(split)?,
        }))
    }
}

impl ValidationSize {
    /// How many of `samples` training samples it is.
    ///
    /// # Errors
    /// If the validation set or the rest of the training set would be empty.
    fn of(self, samples: i64) -> Result<i64, Refusal> {
        let count = match self {
            ValidationSize::Share(share) => (share * samples as f64).round() as i64,
            ValidationSize::Count(count) => i64::try_from(count).unwrap_or(i64::MAX),
        };
        if (1..samples).contains(&count) {
            return Ok(count);
        }
        Err(self.refuse(format!(
            "a part of the {samples} training samples that leaves at least one sample on either side"
        )))
    }

    fn refuse(self, expected: String) -> Refusal {
        let (key, found) = match self {
            ValidationSize::Share(share) => ("data.validation_fraction", share.to_string()),
            ValidationSize::Count(count) => ("data.validation_samples", count.to_string()),
        };
        Refusal { key, found, expected }
    }
}

impl Dataset {
    /// Takes a validation set out of the training set. What is left of the training set keeps its
    /// order, and the validation set has that order too.
    ///
    /// The choice is random. Classes keep their shares: each gives the share that the validation set
    /// has of the whole, rounded by largest remainders so that the sum is exact, and keeps at least
    /// one training sample.
    ///
    /// Standardised data stay as they are: their means and standard deviations are those of the
    /// whole training set, validation samples included.
    ///
    /// # Errors
    /// [`Refusal`] if the validation set would be empty, or the training set or one of its
    /// classes.
    pub fn with_validation(self, split: ValidationSplit) -> Result<Dataset> {
        let samples = self.train.len();
        let wanted = split.size.of(samples)?;
        let classes = match self.task {
            Task::Classification => self.train.targets.argmax(1, false).to_device(Device::Cpu),
            Task::Regression => Tensor::zeros([samples], (Kind::Int64, Device::Cpu)),
        };
        let sizes: Vec<i64> = classes.bincount::<Tensor>(None, 0).try_into()?;
        let classes: Vec<i64> = classes.try_into()?;
        let mut left = quotas(&sizes, wanted).ok_or_else(|| {
            let classes = sizes.iter().filter(|&&size| size > 0).count() as i64;
            split.size.refuse(format!(
                "at most {} of the {samples} training samples, so that each of the {classes} \
                 classes keeps one",
                samples - classes
            ))
        })?;
        let order: Vec<i64> = Generator::new(split.seed)?.permutation(samples)?.try_into()?;
        let is_held_out = |&position: &i64| {
            let quota = &mut left[classes[position as usize] as usize];
            *quota -= 1;
            *quota >= 0
        };
        let (validation, train): (Vec<i64>, Vec<i64>) = order.into_iter().partition(is_held_out);
        let part = |mut positions: Vec<i64>| {
            positions.sort_unstable();
            self.train.select(&positions)
        };
        let (train, validation) = (part(train), Some(part(validation)));
        Ok(Dataset { train, validation, ..self })
    }
}

/// How many of `wanted` samples each class gives, from how many it has; none if one would have to give
/// all.
fn quotas(sizes: &[i64], wanted: i64) -> Option<Vec<i64>> {
    if wanted > sizes.iter().map(|size| (size - 1).max(0)).sum() {
        return None;
    }
    let all = i128::from(sizes.iter().sum::<i64>());
    let exact = |size: i64| i128::from(wanted) * i128::from(size);
    let mut quotas: Vec<i64> = sizes.iter().map(|&size| (exact(size) / all) as i64).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| Reverse(exact(sizes[class]) % all));
    let mut turns = by_remainder.into_iter().cycle();
    for _ in quotas.iter().sum()..wanted {
        let class = turns.find(|&class| quotas[class] + 1 < sizes[class])?;
        quotas[class] += 1;
    }
    Some(quotas)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{DataDirectory, DataSet, Digits, Split};
    use super::ValidationSize::{Count, Share};
    use super::*;

    #[test]
    fn validation_samples_are_taken_from_the_training_samples_that_are_used() {
        let validation = ValidationSplit { size: Count(30), seed: 1 };
        let of = |train_samples, validation| {
            let directory = DataDirectory::locate(None);
            let data = Digits {}.load(&directory, Device::Cpu, &mut |_| {}).unwrap();
            DataSelection { train_samples, validation }.of(data.into())
        };
        let all = of(None, None).unwrap();
        assert_eq!((all.train.len(), all.test.len()), (1438, 359));
        assert!(all.validation.is_none());
        let cut = of(Some(100), Some(validation)).unwrap();
        let held_out = cut.validation.as_ref().unwrap();
        assert_eq!((cut.train.len(), held_out.len(), cut.test.len()), (70, 30, 359));
        let first = all.train.first(100);
        let sum = |split: &Split| split.inputs.sum(Kind::Double);
        assert_eq!(sum(&cut.train) + sum(held_out), sum(&first));
        for (samples, key) in [(1439, "data.train_samples"), (30, "data.validation_samples")] {
            let error = of(Some(samples), Some(validation)).err().unwrap();
            assert_eq!(error.downcast::<Refusal>().unwrap().key, key);
        }
    }

    /// Samples whose input is their position.
    fn data(task: Task, classes: &[i64]) -> Dataset {
        let samples = classes.len() as i64;
        let targets = match task {
            Task::Classification => Tensor::from_slice(classes).onehot(4),
            Task::Regression => Tensor::from_slice(classes).reshape([-1, 1]),
        };
        let split = || {
            let inputs = Tensor::arange(samples, (Kind::Float, Device::Cpu)).reshape([-1, 1]);
            Split::new(inputs, targets.shallow_clone())
        };
        Dataset::new("t", task, split(), split())
    }

    fn positions(split: &Split) -> Vec<i64> {
        split.inputs.flatten(0, -1).to_kind(Kind::Int64).try_into().unwrap()
    }

    #[test]
    fn classes_give_their_shares_by_largest_remainders() {
        assert_eq!(quotas(&[50, 30, 20], 10), Some(vec![5, 3, 2]));
        assert_eq!(quotas(&[5, 3, 2], 5), Some(vec![3, 1, 1])); // 2.5, 1.5, 1
        assert_eq!(quotas(&[7, 0, 2, 1], 3), Some(vec![2, 0, 1, 0])); // 2.1, 0, 0.6, 0.3
        assert_eq!(quotas(&[9, 1], 6), Some(vec![6, 0]), "5.4 and 0.6, but the last sample stays");
        assert_eq!(quotas(&[3, 2, 1], 3), Some(vec![2, 1, 0]));
        assert_eq!(quotas(&[3, 2, 1], 4), None);
    }

    #[test]
    fn validation_set_is_a_random_seeded_stratified_part_of_the_training_set() {
        let classes: Vec<i64> = (0..100).map(|position| [0, 1, 0, 3][position % 4]).collect();
        for task in [Task::Classification, Task::Regression] {
            let of = |seed| {
                let split = ValidationSplit { size: Share(0.2), seed };
                data(task, &classes).with_validation(split).unwrap()
            };
            let cut = of(1);
            let validation = positions(cut.validation.as_ref().unwrap());
            let train = positions(&cut.train);
            assert!(train.is_sorted() && validation.is_sorted());
            assert_eq!((train.len(), validation.len()), (80, 20));
            let both: BTreeSet<i64> = train.iter().chain(&validation).copied().collect();
            assert_eq!(both, (0..100).collect(), "no sample is lost or doubled");
            if task == Task::Classification {
                let chosen: Vec<i64> =
                    validation.iter().map(|&position| classes[position as usize]).collect();
                let count = |class| chosen.iter().filter(|&&it| it == class).count();
                assert_eq!([0, 1, 2, 3].map(count), [10, 5, 0, 5]);
            }
            assert_eq!(positions(&cut.test), (0..100).collect::<Vec<_>>());
            assert_eq!(validation, positions(of(1).validation.as_ref().unwrap()));
            assert_ne!(validation, positions(of(2).validation.as_ref().unwrap()));
        }
    }

    #[test]
    fn sizes_that_leave_nothing_on_a_side_are_refused_by_their_key() {
        let classes = [0, 1, 1, 1, 2, 2];
        for (size, reason) in [
            (Share(0.05), "`data.validation_fraction` is `0.05`; expected a part"),
            (Share(1.0), "`data.validation_fraction` is `1`"),
            (Count(0), "`data.validation_samples` is `0`"),
            (Count(6), "`data.validation_samples` is `6`; expected a part of the 6"),
            (Count(4), "at most 3 of the 6 training samples, so that each of the 3"),
        ] {
            let data = data(Task::Classification, &classes);
            let cut = data.with_validation(ValidationSplit { size, seed: 1 });
            let error = cut.err().unwrap().to_string();
            assert!(error.contains(reason), "no `{reason}` in {error}");
        }
    }
}
