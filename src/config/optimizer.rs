//! The section `optimizer`: the optimizer, its learning rate and the schedule of that.

use crate::learning_rate::{LearningRate, LearningRateSchedule};
use crate::optimizer::OptimizerSettings;
use crate::settings::domain::positive;
use crate::settings::section;

section! {
    /// The optimizer and its learning rate.
    pub struct OptimizerConfig(epochs: u64) {
        /// The optimizer.
        #[serde(flatten)]
        settings: OptimizerSettings => read();
        /// Learning rate, before its schedule.
        learning_rate: f64, positive();
        /// Learning-rate schedule: a warm-up, then a decay.
        schedule: LearningRateSchedule => read(learning_rate, epochs);
    }
}

impl OptimizerConfig {
    /// The learning rate with its schedule.
    pub fn rate(&self) -> LearningRate {
        LearningRate { base: self.learning_rate, schedule: self.schedule.clone() }
    }
}
