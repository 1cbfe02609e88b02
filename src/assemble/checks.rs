//! What can only be told about a configuration when the shape of the data is known.

use anyhow::{Result, bail};

use super::Plan;
use crate::machine::memory;
use crate::network::{Architecture, Ends};
use crate::prediction::Prediction;
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
        let weights = self.architecture(inputs)?.shape().weight_count()?;
        self.check_memory(weights, samples as f64, memory())
    }

    /// Refuses a network that cannot be in memory, of so many bytes, before it takes all there is.
    fn check_memory(&self, weights: f64, samples: f64, memory: Option<u64>) -> Result<()> {
        let config = self.config;
        let states = match self.rule.teaches_hidden_layers() {
            true => config.optimizer.settings.states(),
            false => 0,
        };
        // Other networks are not deep enough for it to matter.
        let layers = config.model.hidden_widths().map_or(0, |widths| widths.len());
        let guesses = match self.rule.prediction().is_some_and(Prediction::keeps_guesses) {
            true => layers as f64 * samples * self.shape.outputs as f64,
            false => 0.0,
        };
        let bytes = size_of::<f32>() as f64 * (weights * (1 + states) as f64 + guesses);
        let elsewhere = config.schedule.offload.is_some() || config.schedule.devices.is_some();
        let Some(memory) = memory.filter(|memory| !elsewhere && bytes > *memory as f64) else {
            return Ok(());
        };
        let [needed, there] = [bytes, memory as f64].map(|bytes| bytes / f64::from(1 << 30));
        let (what, remedy) = match guesses > 0.0 {
            true => (
                "weights, optimizer state and guesses of each sample",
                "without guesses, `algorithm.prediction.stored: false`, it takes less",
            ),
            false => ("weights and optimizer state", "`schedule.offload` keeps them in files"),
        };
        let expected = format!(
            "a network that fits into memory: this one's {what} take {needed:.0} GiB, and there are \
             {there:.0} ({remedy})"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::data::TrainingShape;
    use crate::settings::Source;

    /// What is refused of a network of 1,000 hidden layers with one neuron each, in 1 GiB of memory.
    fn refused(prediction: &str) -> Option<String> {
        let text = format!(
            "data: {{name: mnist}}\nmodel: {{hidden_layers: 1000, width: 1}}\n\
             algorithm: {{name: f3, error_info: delayed_error_predicted, prediction: {prediction}}}\n\
             optimizer: {{learning_rate: 1e-3}}"
        );
        let (config, _) = Config::read(&Source::parse("here", &text).unwrap()).unwrap();
        let shape = TrainingShape { samples: 60_000, outputs: 10, image: Some([1, 28, 28]) };
        let plan = Plan::new(&config, shape);
        let weights = plan.architecture(784).unwrap().shape().weight_count().unwrap();
        let refusal = plan.check_memory(weights, 60_000.0, Some(1 << 30)).err()?;
        Some(refusal.downcast::<Refusal>().unwrap().expected)
    }

    #[test]
    fn guesses_of_all_layers_must_be_in_memory() {
        let refusal = refused("{}").unwrap();
        assert!(refusal.contains("guesses of each sample take 2 GiB"), "{refusal}");
        assert!(refusal.contains("`algorithm.prediction.stored: false`"), "{refusal}");
        assert_eq!(refused("{stored: false}"), None);
        assert_eq!(refused("{local_rate: 0}"), None);
    }
}
