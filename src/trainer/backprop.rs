//! Backpropagation, the rival: the same blocks, kernels and optimizer, with true gradients.

use anyhow::Result;

use super::Trainer;
use crate::data::Batch;
use crate::engine::Step;
use crate::layers::Layers;
use crate::loss::Loss;

/// Backpropagation from block to block; what the blocks recorded is kept for one batch.
///
/// On blocks that propagate through fixed matrices
/// ([`Dense::propagating_through`](crate::network::Dense::propagating_through)) this is feedback
/// alignment.
pub struct BackpropTrainer {
    layers: Layers,
    loss: Loss,
}

impl BackpropTrainer {
    /// A trainer for these layers.
    pub fn new(layers: Layers, loss: Loss) -> BackpropTrainer {
        BackpropTrainer { layers, loss }
    }
}

impl Trainer for BackpropTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let tapes = self.layers.record(&batch.inputs)?;
        let output = &tapes.last().expect("made with an output layer").output;
        let mut gradient = self.loss.gradient(output, &batch.targets);

        let layers = self.layers.as_mut_slice().iter_mut().zip(&tapes).enumerate();
        for (index, (layer, tape)) in layers.rev() {
            if index == 0 {
                // Nobody needs the gradient of the data.
                layer.update(tape, &gradient, step)?;
            } else {
                gradient = layer.update_and_backpropagate(tape, &gradient, step)?;
            }
        }
        Ok(())
    }

    fn layers(&self) -> &Layers {
        &self.layers
    }
}
