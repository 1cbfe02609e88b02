//! Vision Transformers.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::{Block, Dense, Shape, TransformerBlock};
use crate::activation::Activation;
use crate::generator::Generator;

/// The sizes of a Vision Transformer as Flügel et al. train it: no class token, no positional
/// encoding; all tokens go to the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vit {
    /// Channels, height and width of the images.
    pub image: [i64; 3],
    /// Height and width of a patch; both sides of an image are multiples of it.
    pub patch_size: i64,
    /// w.
    pub token_width: i64,
    /// How many transformer blocks.
    pub blocks: i64,
    /// a.
    pub heads: i64,
    /// s.
    pub head_size: i64,
    /// Width of the perceptron inside each block.
    pub mlp_width: i64,
    /// Activation of that perceptron and of the hidden head layer.
    pub activation: Activation,
    /// Outputs of the network, C.
    pub outputs: i64,
    /// Activation of the output layer.
    pub output_activation: Activation,
}

impl Vit {
    /// t: a token for each patch.
    pub fn tokens(&self) -> Result<i64> {
        let Vit { image: [_, height, width], patch_size, .. } = self;
        if height % patch_size != 0 || width % patch_size != 0 {
            bail!("images of {height} x {width} cannot be cut into patches of {patch_size}");
        }
        Ok((height / patch_size) * (width / patch_size))
    }
}

impl Shape for Vit {
    fn widths(&self) -> (i64, i64) {
        (self.image.iter().product(), self.outputs)
    }

    fn sizes(&self) -> Vec<i64> {
        let Vit { patch_size, token_width, blocks, heads, head_size, mlp_width, .. } = *self;
        let own = [self.outputs, patch_size, token_width, blocks, heads, head_size, mlp_width];
        [self.image.as_slice(), &own].concat()
    }

    fn weight_count(&self) -> Result<f64> {
        let pixels: i64 = self.image.iter().product();
        let row = self.tokens()? as f64 * self.token_width as f64;
        let inner = 4.0 * self.heads as f64 * self.head_size as f64 + 2.0 * self.mlp_width as f64;
        let blocks = self.blocks as f64 * self.token_width as f64 * inner;
        Ok(pixels as f64 * row + blocks + row * row + row * self.outputs as f64)
    }

    /// The embedding with the first transformer block, the other transformer blocks, the hidden
    /// layer of the head, the output layer.
    fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>> {
        let mut blocks: Vec<Box<dyn Block>> = Vec::new();
        for index in 0..self.blocks {
            blocks.push(Box::new(TransformerBlock::new(self, index == 0, generator, device)?));
        }
        let width = self.tokens()? * self.token_width;
        let outputs = self.outputs;
        blocks.push(Box::new(Dense::new(width, width, self.activation, generator, device)?));
        let output = Dense::new(width, outputs, self.output_activation, generator, device)?;
        blocks.push(Box::new(output));
        Ok(blocks)
    }
}
