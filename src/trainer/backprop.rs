//! Backpropagation, the rival: the same blocks, kernels and optimizer, with true gradients.

use anyhow::{Context, Result};
use tch::Device;

use super::Trainer;
use super::rule::{Beside, Parts, Rule};
use crate::data::Batch;
use crate::engine::{Step, Teaching};
use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::layers::Layers;
use crate::loss::Loss;
use crate::network::{Architecture, Blocks};
use crate::process::use_threads;
use crate::settings::{ConfigError, Reader, section};

section! {
    /// Backpropagation has no settings.
    pub struct Bp {}
}

section! {
    /// Settings of feedback alignment (FA).
    pub struct Fa {
        /// How the fixed matrices are made that carry gradients backwards.
        ///
        /// Their shape is [n_{i+1}, n_i] instead of [C, n_i].
        feedback_init: FeedbackInit => read();
    }
}

impl Rule for Bp {
    fn trainer(&self, Parts { layers, loss, .. }: Parts) -> Result<Box<dyn Trainer>> {
        Ok(Box::new(BackpropTrainer::new(layers, loss)))
    }
}

impl Rule for Fa {
    fn check(&self, reader: &mut Reader, beside: &Beside) -> Result<(), ConfigError> {
        beside.check_mlp("fa", reader)
    }

    fn blocks<'a>(
        &'a self,
        architecture: &'a Architecture,
        generator: &'a mut Generator,
        device: Device,
    ) -> Result<Blocks<'a>> {
        let mlp = architecture.mlp()?;
        mlp.blocks_for_feedback_alignment(&self.feedback_init, generator, device)
    }

    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>> {
        Bp {}.trainer(parts)
    }
}

/// Backpropagation from block to block; what the blocks recorded is kept for one batch.
///
/// On blocks that propagate through fixed matrices
/// ([`Dense::propagate_through`](crate::network::Dense::propagate_through)) this is feedback alignment.
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
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        let tapes = self.layers.record(&batch.inputs)?;
        let output = &tapes.last().expect("made with an output layer").output;
        let gradient = self.layers.between(|| self.loss.gradient(output, &batch.targets));
        let mut teaching = Some(Teaching::gradient(gradient));

        let layers = self.layers.as_mut_slice().iter_mut().zip(&tapes).enumerate();
        for (index, (layer, tape)) in layers.rev() {
            let of_output = teaching.context("the gradient of the input was asked for")?;
            teaching = layer.update(tape, &of_output, step, index > 0)?; // nobody needs that of the data
        }
        Ok(())
    }

    fn layers(&self) -> &Layers {
        &self.layers
    }
}
