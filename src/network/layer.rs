//! A locally trained layer: what it computes, what teaches it, what steps it.
//!
//! Legend: b batch, m inputs, n outputs of the layer, C outputs of the network.

use anyhow::Result;
use tch::Tensor;

use super::block::{Block, Gradients, Tape, norm};
use crate::optimizer::{Optimizer, OptimizerSettings};

/// A layer that learns from its own input and a teaching signal, and from nothing else: no weights
/// of other layers, no order among the layers beyond "input before output".
pub struct Layer {
    block: Box<dyn Block>,
    feedback: Option<Tensor>, // B [C, n]; none: feedback does not teach this layer
    optimizer: Box<dyn Optimizer>,
    watched: bool,
    gradient_norm: Option<Tensor>,
}

impl Layer {
    /// A layer whose optimizer starts from zero.
    pub fn new(
        block: Box<dyn Block>,
        feedback: Option<Tensor>,
        optimizer: &OptimizerSettings,
    ) -> Result<Layer> {
        let optimizer = optimizer.build(&tensors(block.as_ref()))?;
        Ok(Layer { block, feedback, optimizer, watched: false, gradient_norm: None })
    }

    /// What the layer computes.
    pub fn block(&self) -> &dyn Block {
        self.block.as_ref()
    }

    /// B `[C, n]`, if feedback teaches this layer.
    pub fn feedback(&self) -> Option<&Tensor> {
        self.feedback.as_ref()
    }

    /// The optimizer and its state.
    pub fn optimizer(&self) -> &dyn Optimizer {
        self.optimizer.as_ref()
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        self.optimizer.set_learning_rate(rate);
    }

    /// h `[b, n]` from x `[b, m]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        self.block.forward(input)
    }

    /// As [`Layer::forward`], keeping what a later [`Layer::teach`] or [`Layer::update`] needs.
    pub fn record(&self, input: &Tensor) -> Tape {
        self.block.record(input)
    }

    /// One local training step: takes a batch's input x `[b, m]` and error information e `[b, C]`,
    /// learns, and hands on the output h `[b, n]` that it had before learning.
    ///
    /// A layer without feedback hands on its output and stays as it is.
    pub fn learn(&mut self, input: &Tensor, error: &Tensor) -> Result<Tensor> {
        if self.feedback.is_none() {
            return Ok(self.forward(input));
        }
        let tape = self.record(input);
        self.teach(&tape, error)?;
        Ok(tape.output)
    }

    /// The second half of [`Layer::learn`]: steps along δh = e · B (eq. 1 of the paper).
    pub fn teach(&mut self, tape: &Tape, error: &Tensor) -> Result<()> {
        let Some(feedback) = &self.feedback else {
            return Ok(());
        };
        let output_gradient = error.mm(feedback);
        self.update(tape, &output_gradient)
    }

    /// Steps along the gradient δh `[b, n]` of the recorded output.
    pub fn update(&mut self, tape: &Tape, output_gradient: &Tensor) -> Result<()> {
        let gradients = self.block.gradients(tape, output_gradient, false);
        self.step(&gradients.parameters)
    }

    /// As [`Layer::update`]; also gives δx `[b, m]` of the weights before the step.
    pub fn update_and_backpropagate(
        &mut self,
        tape: &Tape,
        output_gradient: &Tensor,
    ) -> Result<Tensor> {
        let Gradients { parameters, input } = self.block.gradients(tape, output_gradient, true);
        self.step(&parameters)?;
        Ok(input.expect("the input's gradient was asked for"))
    }

    /// Steps along gradients of the parameters, in their order, wherever these come from.
    pub fn step(&mut self, gradients: &[Tensor]) -> Result<()> {
        if self.watched {
            self.gradient_norm = Some(norm(gradients.iter()));
        }
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        self.optimizer.step(&tensors(self.block.as_ref()), &gradients)
    }

    /// Makes coming steps keep the norm of their gradient; what was kept is dropped.
    pub(crate) fn watch_gradients(&mut self, watch: bool) {
        self.watched = watch;
        if watch {
            self.gradient_norm = None;
        }
    }

    /// The L2 norm of all parameters together.
    pub fn weight_norm(&self) -> f64 {
        tch::no_grad(|| norm(tensors(self.block.as_ref()).into_iter())).double_value(&[])
    }

    /// The L2 norm of all parameters' gradients together in the last watched step, if there was
    /// one.
    pub fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(|norm| norm.double_value(&[]))
    }
}

fn tensors(block: &dyn Block) -> Vec<&Tensor> {
    block.parameters().into_iter().map(|(_, tensor)| tensor).collect()
}
