//! Fully connected networks.
//!
//! Legend: n_0 inputs, n_1 … n_{K-1} outputs of the hidden blocks, C outputs.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::Device;

use super::{Block, Dense, Shape, WeightInit};
use crate::activation::Activation;
use crate::feedback::FeedbackInit;
use crate::generator::Generator;

/// A fully connected network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Whether layers have biases.
    pub bias: bool,
}

impl Mlp {
    /// Inputs, outputs and activation of each layer.
    fn layers(&self) -> Vec<(i64, i64, Activation)> {
        let mut sizes = Vec::new();
        let mut inputs = self.inputs;
        for &width in &self.hidden {
            sizes.push((inputs, width, self.activation));
            inputs = width;
        }
        sizes.push((inputs, self.outputs, self.output_activation));
        sizes
    }

    fn dense(&self, generator: &mut Generator, device: Device) -> Result<Vec<Dense>> {
        self.lazily(generator, device).collect()
    }

    /// As [`Shape::blocks`], each drawn when it is asked for.
    pub fn lazily(
        &self,
        generator: &mut Generator,
        device: Device,
    ) -> impl Iterator<Item = Result<Dense>> {
        self.drawn((!self.bias).then_some(WeightInit::PyTorch), generator, device)
    }

    /// The layers one by one: as PyTorch draws them, or without biases where `unbiased` says how.
    fn drawn(
        &self,
        unbiased: Option<WeightInit>,
        generator: &mut Generator,
        device: Device,
    ) -> impl Iterator<Item = Result<Dense>> {
        self.layers().into_iter().map(move |(m, n, activation)| match unbiased {
            None => Dense::new(m, n, activation, generator, device),
            Some(init) => Dense::without_bias(m, n, activation, init, generator, device),
        })
    }

    /// Weights alone, without biases.
    pub fn blocks_without_bias(
        &self,
        init: WeightInit,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Vec<Box<dyn Block>>> {
        let dense: Result<Vec<Dense>> = self.drawn(Some(init), generator, device).collect();
        Ok(boxed(dense?))
    }

    /// As [`Shape::blocks`]; then, for each layer but the first, the fixed matrix `[n_{i+1}, n_i]`
    /// through which gradients go backwards in place of its weight.
    pub fn blocks_for_feedback_alignment(
        &self,
        init: &FeedbackInit,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Vec<Box<dyn Block>>> {
        let mut dense = self.dense(generator, device)?.into_iter();
        let mut aligned = Vec::from_iter(dense.next());
        for block in dense {
            let matrix =
                init.build(block.weight().size()[0], block.weight().size()[1], generator)?;
            aligned.push(block.propagating_through(matrix.to_device(device)));
        }
        Ok(boxed(aligned))
    }
}

impl Shape for Mlp {
    fn widths(&self) -> (i64, i64) {
        (self.inputs, self.outputs)
    }

    fn sizes(&self) -> Vec<i64> {
        [&[self.inputs, self.outputs], self.hidden.as_slice()].concat()
    }

    fn weight_count(&self) -> Result<f64> {
        Ok(self.layers().iter().map(|(m, n, _)| *m as f64 * *n as f64).sum())
    }

    fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>> {
        Ok(boxed(self.dense(generator, device)?))
    }
}

fn boxed(dense: Vec<Dense>) -> Vec<Box<dyn Block>> {
    dense.into_iter().map(|block| Box::new(block) as Box<dyn Block>).collect()
}
