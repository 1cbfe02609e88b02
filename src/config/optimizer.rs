//! The section `optimizer`: the optimizer and its learning-rate schedule.

use crate::learning_rate::LearningRateSchedule;
use crate::optimizer::OptimizerSettings;
use crate::settings::section;

section! {
    /// The optimizer and its learning-rate schedule.
    pub struct OptimizerConfig(epochs: u64) {
        /// The optimizer.
        #[serde(flatten)]
        settings: OptimizerSettings => read();
        /// Learning-rate schedule: a warm-up, then a decay.
        schedule: LearningRateSchedule => read(settings.learning_rate(), epochs);
    }
}
