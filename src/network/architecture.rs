//! What networks are, and the blocks that are drawn for them.
//!
//! Legend: n_0 inputs, C outputs.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::{Block, Cnn, Mlp, Vit};
use crate::generator::Generator;

/// What a network is, without its parameters: with these it can be rebuilt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Architecture {
    /// Fully connected.
    Mlp(Mlp),
    /// Convolutional.
    Cnn(Cnn),
    /// A Vision Transformer.
    Vit(Vit),
}

/// A kind of network.
pub trait Shape {
    /// n_0 and C.
    fn widths(&self) -> (i64, i64);

    /// All sizes that it has.
    fn sizes(&self) -> Vec<i64>;

    /// How many weights there are, at least (biases and norms are not counted); it may be absurdly many.
    ///
    /// # Errors
    /// If the images do not go with the rest.
    fn weight_count(&self) -> Result<f64>;

    /// A block for each layer, drawn in forward order as PyTorch draws them, the output block last.
    fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>>;
}

impl Architecture {
    /// The kind that it is.
    pub fn shape(&self) -> &dyn Shape {
        match self {
            Architecture::Mlp(mlp) => mlp,
            Architecture::Cnn(cnn) => cnn,
            Architecture::Vit(vit) => vit,
        }
    }

    /// Refuses sizes that no network has.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(wrong) = self.shape().sizes().iter().find(|size| !(1..1 << 28).contains(*size))
        {
            bail!("describes a network with a size of {wrong}");
        }
        Ok(())
    }
}
