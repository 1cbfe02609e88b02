//! Backpropagation, the rival: the same layers, kernels and optimizer, with true gradients.

use anyhow::Result;

use super::Trainer;
use crate::data::Batch;
use crate::loss::Loss;
use crate::network::Network;

/// Backpropagation in closed form; nothing is recorded, the activations are kept for one batch.
pub struct BackpropTrainer {
    network: Network,
    loss: Loss,
}

impl BackpropTrainer {
    /// A trainer for this network.
    pub fn new(network: Network, loss: Loss) -> BackpropTrainer {
        BackpropTrainer { network, loss }
    }
}

impl Trainer for BackpropTrainer {
    fn train_batch(&mut self, batch: &Batch) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let activations = self.network.activations(&batch.inputs);
        let output = activations.last().expect("has h_0");
        let mut gradient = self.loss.gradient(output, &batch.targets);

        let layers = self.network.layers_mut().iter_mut().enumerate();
        for ((index, layer), pair) in layers.zip(activations.windows(2)).rev() {
            if index == 0 {
                // Nobody needs the gradient of the data.
                layer.update(&pair[0], &pair[1], &gradient)?;
            } else {
                gradient = layer.update_and_backpropagate(&pair[0], &pair[1], &gradient)?;
            }
        }
        Ok(())
    }

    fn network(&self) -> &Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }
}
