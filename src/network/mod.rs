//! Feed-forward networks as a row of locally trained layers.

mod dense;
mod layer;

pub use dense::{Activation, Dense};
pub use layer::Layer;

use anyhow::Result;
use tch::{Device, Tensor};

use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::optimizer::OptimizerSettings;

/// The shape of a fully connected network.
///
/// Legend: n_0 inputs, n_1 … n_{K-1} widths of the hidden layers, C outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// n_0.
    pub inputs: i64,
    /// n_1 … n_{K-1}.
    pub hidden: Vec<i64>,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// C.
    pub outputs: i64,
    /// Activation of the output layer.
    pub output_activation: Activation,
}

/// Layers in forward order; the last one is the output layer.
pub struct Network {
    layers: Vec<Layer>,
}

impl Network {
    /// Draws a fully connected network: weights and biases in forward order, then, where
    /// `feedback` is given, a feedback matrix for each hidden layer in forward order.
    pub fn mlp(
        shape: &Mlp,
        feedback: Option<&FeedbackInit>,
        optimizer: &OptimizerSettings,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Network> {
        let mut blocks = Vec::new();
        let mut inputs = shape.inputs;
        for &width in &shape.hidden {
            blocks.push(Dense::new(inputs, width, shape.activation, generator, device)?);
            inputs = width;
        }
        let output = Dense::new(inputs, shape.outputs, shape.output_activation, generator, device)?;

        let mut layers = Vec::new();
        for block in blocks {
            let matrix = feedback
                .map(|init| init.build(shape.outputs, block.outputs(), generator))
                .transpose()?
                .map(|matrix| matrix.to_device(device));
            layers.push(Layer::new(block, matrix, optimizer)?);
        }
        layers.push(Layer::new(output, None, optimizer)?);
        Ok(Network { layers })
    }

    /// All layers, the output layer last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// The hidden layers, and the output layer.
    pub(crate) fn split_output(&mut self) -> (&mut [Layer], &mut Layer) {
        let (output, hidden) = self.layers.split_last_mut().expect("has an output layer");
        (hidden, output)
    }

    /// The outputs `[b, C]` for inputs `[b, n_0]`.
    pub fn forward(&self, inputs: &Tensor) -> Tensor {
        let first = inputs.shallow_clone();
        self.layers.iter().fold(first, |h, layer| layer.forward(&h))
    }

    /// The inputs and every layer's output: h_0, h_1, …, h_K.
    pub fn activations(&self, inputs: &Tensor) -> Vec<Tensor> {
        let mut activations = vec![inputs.shallow_clone()];
        for layer in &self.layers {
            activations.push(layer.forward(activations.last().expect("h_0 is there")));
        }
        activations
    }

    /// How many numbers the optimizer trains.
    pub fn parameter_count(&self) -> i64 {
        let counts = self
            .layers
            .iter()
            .map(|layer| layer.block().parameters().iter().map(|p| p.numel() as i64).sum::<i64>());
        counts.sum()
    }

    /// Makes the layers keep, or not, the norm of the gradients of their coming steps.
    pub(crate) fn watch_gradients(&mut self, watch: bool) {
        for layer in &mut self.layers {
            layer.watch_gradients(watch);
        }
    }

    /// Weights, biases and feedback matrices with the names that the paper's program uses in its
    /// `state_dict`: every linear layer and every feedback matrix is a module of its own, and the
    /// first one also flattens its input (`layers.0.0`), which makes it `layers.0.1`.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        let mut module = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            let place = if index == 0 { 1 } else { 0 };
            let [weight, bias] = layer.block().parameters();
            tensors.push((format!("layers.{module}.{place}.weight"), weight.shallow_clone()));
            tensors.push((format!("layers.{module}.{place}.bias"), bias.shallow_clone()));
            module += 1;
            if let Some(feedback) = layer.feedback() {
                tensors
                    .push((format!("layers.{module}.feedback_weight"), feedback.shallow_clone()));
                module += 1;
            }
        }
        tensors
    }
}
