//! Learning rates that change from epoch to epoch, as PyTorch defines them.

use std::f64::consts::PI;

use serde::Serialize;

/// The learning rate of a run: its full value, and a schedule over the epochs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearningRate {
    /// η, before its schedule.
    #[serde(rename = "learning_rate")]
    pub base: f64,
    /// How it changes over the epochs.
    pub schedule: LearningRateSchedule,
}

impl LearningRate {
    /// The same in all epochs.
    pub fn constant(base: f64) -> LearningRate {
        LearningRate { base, schedule: LearningRateSchedule::constant() }
    }

    /// The learning rate of an epoch, counted from 1.
    pub fn at(&self, epoch: u64) -> f64 {
        self.schedule.at(self.base, epoch)
    }
}

/// A learning-rate schedule: a warm-up, then a decay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearningRateSchedule {
    /// What follows the warm-up.
    #[serde(flatten)]
    pub decay: Decay,
    /// Over so many epochs the learning rate grows linearly to its full value (PyTorch's `LinearLR`,
    /// then the decay, joined by `SequentialLR`).
    pub warmup_epochs: u64,
    /// The share of the full value at which the warm-up starts.
    pub warmup_start: f64,
}

/// The learning rate after the warm-up; t counts epochs from 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Decay {
    /// η
    Constant,
    /// `StepLR`: η · gamma^⌊t / step_size⌋
    Step {
        /// Epochs between two changes.
        step_size: u64,
        /// Factor of each change.
        gamma: f64,
    },
    /// `MultiStepLR`: η · gamma^(number of milestones ≤ t)
    MultiStep {
        /// Epochs after which the learning rate changes.
        milestones: Vec<u64>,
        /// Factor of each change.
        gamma: f64,
    },
    /// `ExponentialLR`: η · gamma^t
    Exponential {
        /// Factor of each epoch.
        gamma: f64,
    },
    /// `CosineAnnealingLR`: minimum + (η - minimum) (1 + cos(π t / t_max)) / 2
    Cosine {
        /// Epochs from the largest to the smallest learning rate.
        t_max: u64,
        /// The smallest learning rate.
        minimum: f64,
    },
}

impl LearningRateSchedule {
    /// The same learning rate in all epochs.
    pub fn constant() -> LearningRateSchedule {
        LearningRateSchedule { decay: Decay::Constant, warmup_epochs: 0, warmup_start: 1.0 / 3.0 }
    }

    /// The learning rate of an epoch, counted from 1, for the full value `rate`.
    pub fn at(&self, rate: f64, epoch: u64) -> f64 {
        let passed = epoch.saturating_sub(1);
        if passed < self.warmup_epochs {
            let share = passed as f64 / self.warmup_epochs as f64;
            return rate * (self.warmup_start + (1.0 - self.warmup_start) * share);
        }
        let t = passed - self.warmup_epochs;
        let power = |gamma: f64, times: u64| gamma.powf(times as f64);
        match &self.decay {
            Decay::Constant => rate,
            Decay::Step { step_size, gamma } => rate * power(*gamma, t / step_size),
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
