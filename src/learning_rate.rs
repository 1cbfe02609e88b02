//! Step sizes that change from epoch to epoch, as PyTorch defines them.

use std::f64::consts::PI;

use serde::Serialize;

/// How the step size goes on over the epochs: first a warm-up, then a decay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearningRateSchedule {
    /// What follows the warm-up.
    #[serde(flatten)]
    pub decay: Decay,
    /// Over so many epochs the step size grows linearly to its full value (PyTorch's `LinearLR`,
    /// then the decay, joined by `SequentialLR`).
    pub warmup_epochs: u64,
    /// The share of the full value at which the warm-up starts.
    pub warmup_start: f64,
}

/// How the step size goes on after the warm-up; t counts epochs from 0.
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
        /// After so many epochs the step size changes.
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
        /// Epochs from the largest to the smallest step size.
        t_max: u64,
        /// The smallest step size.
        minimum: f64,
    },
}

impl LearningRateSchedule {
    /// The same step size in all epochs.
    pub fn constant() -> LearningRateSchedule {
        LearningRateSchedule { decay: Decay::Constant, warmup_epochs: 0, warmup_start: 1.0 / 3.0 }
    }

    /// The step size of an epoch, counted from 1, for the full value `rate`.
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
