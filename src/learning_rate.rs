//! Learning rates that change from epoch to epoch, as PyTorch defines them.

use std::f64::consts::PI;
use std::ops::Bound;

use serde_json::json;

use crate::settings::domain::{any, number, positive, whole};
use crate::settings::{Domain, Reader, Result, section};

/// The learning rate of a run: its full value, and a schedule over the epochs.
#[derive(Clone, Debug)]
pub struct LearningRate {
    /// η, before its schedule.
    pub base: f64,
    /// How it changes over the epochs.
    pub schedule: LearningRateSchedule,
}

section! {
    /// Learning-rate schedule: a warm-up, then a decay.
    pub struct LearningRateSchedule(learning_rate: f64, epochs: u64) => checked {
        /// Decay of the learning rate after the warm-up.
        #[serde(flatten)]
        decay: Decay => read(epochs);
        /// Epochs over which the learning rate grows linearly to its full value.
        ///
        /// PyTorch's `LinearLR`, joined to the decay by `SequentialLR`.
        warmup_epochs: u64 = 0, whole(0..=MOST_EPOCHS);
        /// Share of the full learning rate at which the warm-up starts.
        warmup_start: f64 = 1.0 / 3.0 => "1/3",
            number("a number above 0 and up to 1", (Bound::Excluded(0.0), Bound::Included(1.0)));
    }
}

section! {
    /// How the learning rate changes after the warm-up; t counts epochs from 0.
    pub enum Decay(epochs: u64) = "constant" {
        /// η
        Constant = "constant",
        /// `StepLR`: η · gamma^⌊t / period⌋
        Step = "step" {
            /// Epochs between two changes of the learning rate.
            period: u64, whole(1..=MOST_EPOCHS).formerly("step_size");
            /// Factor of each change.
            gamma: f64 = 0.1, positive();
        },
        /// `MultiStepLR`: η · gamma^(number of milestones ≤ t)
        MultiStep = "multi_step" {
            /// Epochs after which the learning rate changes.
            milestones: Vec<u64>, milestones();
            /// Factor of each change.
            gamma: f64 = 0.1, positive();
        },
        /// `ExponentialLR`: η · gamma^t
        Exponential = "exponential" {
            /// Factor of each epoch.
            gamma: f64 = 0.95, positive();
        },
        /// `CosineAnnealingLR`: minimum + (η - minimum) (1 + cos(π t / t_max)) / 2
        Cosine = "cosine" {
            /// Epochs from the largest to the smallest learning rate.
            t_max: u64 = epochs => "the epochs after the warm-up", whole(1..=MOST_EPOCHS);
            /// The smallest learning rate.
            minimum: f64 = 0.0, number("a number from 0 to the learning rate", 0.0..);
        },
    }
}

const MOST_EPOCHS: u64 = 1_000_000_000;

fn milestones() -> Domain<Vec<u64>> {
    let schema =
        json!({"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1});
    any("a list of epochs, each greater than the one before", schema)
        .only(|list: &Vec<u64>| !list.is_empty() && list.is_sorted_by(|a, b| a < b))
}

impl LearningRateSchedule {
    fn checked(mut self, reader: &mut Reader, learning_rate: f64, epochs: u64) -> Result<Self> {
        if let Decay::Cosine { t_max, minimum } = &mut self.decay {
            if *minimum > learning_rate {
                let expected = "a number from 0 to the learning rate";
                return Err(reader.refuse("minimum", minimum, expected));
            }
            if !reader.has("t_max") {
                *t_max = epochs.saturating_sub(self.warmup_epochs).max(1);
            }
        }
        Ok(self)
    }
}

impl LearningRate {
    /// The same in all epochs.
    pub fn constant(base: f64) -> LearningRate {
        let (decay, warmup_epochs, warmup_start) = (Decay::Constant, 0, 1.0 / 3.0);
        LearningRate { base, schedule: LearningRateSchedule { decay, warmup_epochs, warmup_start } }
    }

    /// The learning rate of an epoch, counted from 1.
    pub fn at(&self, epoch: u64) -> f64 {
        let LearningRate { base: rate, schedule } = self;
        let LearningRateSchedule { decay, warmup_epochs, warmup_start } = schedule;
        let passed = epoch.saturating_sub(1);
        let Some(t) = passed.checked_sub(*warmup_epochs) else {
            let share = passed as f64 / *warmup_epochs as f64;
            return rate * (warmup_start + (1.0 - warmup_start) * share);
        };
        let power = |gamma: f64, times: u64| gamma.powf(times as f64);
        match decay {
            Decay::Constant => *rate,
            Decay::Step { period, gamma } => rate * power(*gamma, t / period),
            Decay::MultiStep { milestones, gamma } => {
                let reached = milestones.iter().filter(|milestone| **milestone <= t).count();
                rate * power(*gamma, reached as u64)
            }
            Decay::Exponential { gamma } => rate * power(*gamma, t),
            Decay::Cosine { t_max, minimum } => {
                let turn = (PI * t as f64 / *t_max as f64).cos();
                minimum + (rate - minimum) * (1.0 + turn) / 2.0
            }
        }
    }
}
