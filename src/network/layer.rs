//! A locally trained layer: what it computes, what teaches it, what steps it.
//!
//! Legend: b batch, m inputs, n outputs of the layer, C outputs of the network.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::dense::{Dense, DenseGradients};
use crate::optimizer::{Optimizer, OptimizerSettings};

/// A layer that learns from its own input and a teaching signal, and from nothing else: no weights
/// of other layers, no order among the layers beyond "input before output".
pub struct Layer {
    block: Dense,
    feedback: Option<Tensor>, // B [C, n]; none: feedback does not teach this layer
    optimizer: Box<dyn Optimizer>,
    watched: bool,
    gradient_norm: Option<Tensor>,
}

impl Layer {
    /// A layer whose optimizer starts from zero.
    pub fn new(
        block: Dense,
        feedback: Option<Tensor>,
        optimizer: &OptimizerSettings,
    ) -> Result<Layer> {
        let optimizer = optimizer.build(&block.parameters())?;
        Ok(Layer { block, feedback, optimizer, watched: false, gradient_norm: None })
    }

    /// What the layer computes.
    pub fn block(&self) -> &Dense {
        &self.block
    }

    /// B `[C, n]`, if feedback teaches this layer.
    pub fn feedback(&self) -> Option<&Tensor> {
        self.feedback.as_ref()
    }

    /// The optimizer and its state.
    pub fn optimizer(&self) -> &dyn Optimizer {
        self.optimizer.as_ref()
    }

    /// h `[b, n]` from x `[b, m]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        self.block.forward(input)
    }

    /// One local training step: takes a batch's input x `[b, m]` and error information e `[b, C]`,
    /// learns, and hands on the output h `[b, n]` that it had before learning.
    ///
    /// A layer without feedback hands on its output and stays as it is.
    pub fn learn(&mut self, input: &Tensor, error: &Tensor) -> Result<Tensor> {
        let output = self.forward(input);
        self.teach(input, &output, error)?;
        Ok(output)
    }

    /// The second half of [`Layer::learn`]: steps along δh = e · B (eq. 1 of the paper).
    pub fn teach(&mut self, input: &Tensor, output: &Tensor, error: &Tensor) -> Result<()> {
        let Some(feedback) = &self.feedback else {
            return Ok(());
        };
        let output_gradient = error.mm(feedback);
        self.update(input, output, &output_gradient)
    }

    /// Steps along the gradient δh `[b, n]` of the layer's output.
    pub fn update(
        &mut self,
        input: &Tensor,
        output: &Tensor,
        output_gradient: &Tensor,
    ) -> Result<()> {
        let gradients = self.block.gradients(input, output, output_gradient);
        self.step(&gradients)
    }

    /// As [`Layer::update`]; also gives δx `[b, m]` of the weights before the step.
    pub fn update_and_backpropagate(
        &mut self,
        input: &Tensor,
        output: &Tensor,
        output_gradient: &Tensor,
    ) -> Result<Tensor> {
        let gradients = self.block.gradients(input, output, output_gradient);
        let input_gradient = self.block.input_gradient(&gradients.preactivation);
        self.step(&gradients)?;
        Ok(input_gradient)
    }

    fn step(&mut self, gradients: &DenseGradients) -> Result<()> {
        let gradients = gradients.parameters.each_ref();
        if self.watched {
            let squares = gradients.map(|gradient| gradient.square().sum(Kind::Float));
            self.gradient_norm = Some(Tensor::stack(&squares, 0).sum(Kind::Float).sqrt());
        }
        self.optimizer.step(&self.block.parameters(), &gradients)
    }

    /// Makes coming steps keep the norm of their gradient; what was kept is dropped.
    pub(crate) fn watch_gradients(&mut self, watch: bool) {
        self.watched = watch;
        if watch {
            self.gradient_norm = None;
        }
    }

    /// The L2 norm of W and b together.
    pub fn weight_norm(&self) -> f64 {
        let squares = self.block.parameters().map(|p| p.square().sum(Kind::Float));
        Tensor::stack(&squares, 0).sum(Kind::Float).sqrt().double_value(&[])
    }

    /// The L2 norm of δW and δb together in the last watched step, if there was one.
    pub fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(|norm| norm.double_value(&[]))
    }
}
