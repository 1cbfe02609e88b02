//! What can only be told about a configuration when the shape of the data is known.

use anyhow::{Result, bail};

use super::Plan;
use crate::machine::memory;
use crate::network::{Architecture, Ends};
use crate::settings::Refusal;

impl Plan<'_> {
    /// Refuses what does not go with the data, or cannot be in memory.
    pub(super) fn check(&self) -> Result<()> {
        let Plan { config, shape, .. } = self;
        let samples = config.data.selection().training_samples(shape.samples)?;
        let batch_size = config.data.batch_size;
        if batch_size > samples {
            let expected = format!("at most the {samples} training samples");
            bail!(Refusal::new("data.batch_size", batch_size, expected));
        }
        if let Some(init) = self.rule.feedback_init() {
            for width in config.model.hidden_widths().unwrap_or_default() {
                if let Err(reason) = init.check(shape.outputs, width) {
                    let expected = format!("a width that the feedback allows: {reason}");
                    bail!(Refusal::new("model.width", width, expected));
                }
            }
        }
        let inputs = shape.image.map_or(1, |image| image.iter().product());
        self.check_memory(self.architecture(inputs)?.shape().weight_count()?)
    }

    /// Refuses a network that cannot be in memory, before it takes all there is.
    fn check_memory(&self, weights: f64) -> Result<()> {
        let config = self.config;
        let states = match self.rule.teaches_hidden_layers() {
            true => config.optimizer.settings.states(),
            false => 0,
        };
        let bytes = weights * size_of::<f32>() as f64 * (1 + states) as f64;
        let elsewhere = config.schedule.offload.is_some() || config.schedule.devices.is_some();
        let Some(memory) = memory().filter(|memory| !elsewhere && bytes > *memory as f64) else {
            return Ok(());
        };
        let [needed, there] = [bytes, memory as f64].map(|bytes| bytes / f64::from(1 << 30));
        let expected = format!(
            "a network that fits into memory: this one's weights and optimizer state take {needed:.0} \
             GiB, and there are {there:.0} (`schedule.offload` keeps them in files)"
        );
        let (key, found) = config.model.size();
        bail!(Refusal::new(key, found, expected))
    }

    /// The network that is asked for, on data of so many inputs.
    pub(super) fn architecture(&self, inputs: i64) -> Result<Architecture, Refusal> {
        let Plan { config, shape, .. } = self;
        config.model.architecture(Ends {
            inputs,
            image: shape.image,
            outputs: shape.outputs,
            output_activation: config.loss.output_activation(),
            bias: self.rule.has_biases(),
        })
    }
}
