//! Backpropagation, the rival: the same blocks, kernels and optimizer, with true gradients.

use anyhow::Result;

use super::Trainer;
use crate::data::Batch;
use crate::loss::Loss;
use crate::network::Network;

/// Backpropagation from block to block; what the blocks recorded is kept for one batch.
///
/// On blocks that propagate through fixed matrices
/// ([`Dense::propagating_through`](crate::network::Dense::propagating_through)) this is feedback
/// alignment.
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
        let tapes = self.network.record(&batch.inputs)?;
        let output = &tapes.last().expect("has an output layer").output;
        let mut gradient = self.loss.gradient(output, &batch.targets);

        let layers = self.network.layers_mut().iter_mut().zip(&tapes).enumerate();
        for (index, (layer, tape)) in layers.rev() {
            if index == 0 {
                // Nobody needs the gradient of the data.
                layer.update(tape, &gradient)?;
            } else {
                gradient = layer.update_and_backpropagate(tape, &gradient)?;
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
