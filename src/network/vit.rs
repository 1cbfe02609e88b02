//! Vision Transformers.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::{
    Activation, Architecture, Block, Blocks, Dense, Ends, Network, Shape, TransformerBlock,
};
use crate::generator::Generator;
use crate::loss::Loss;
use crate::settings::domain::{choice, whole};
use crate::settings::{Refusal, section};

const MOST_UNITS: i64 = 100_000;

section! {
    /// A Vision Transformer as a configuration asks for it.
    pub struct VitSettings {
        /// Height and width of a patch.
        patch_size: i64 = 7, whole(1..=MOST_UNITS);
        /// Width of a token.
        token_width: i64 = 32, whole(1..=MOST_UNITS);
        /// Number of transformer blocks.
        blocks: i64 = 4, whole(1..=MOST_UNITS);
        /// Heads of each block's attention.
        heads: i64 = 8, whole(1..=MOST_UNITS);
        /// Width of a head.
        head_size: i64 = 64, whole(1..=MOST_UNITS);
        /// Width of the perceptron inside each block.
        mlp_width: i64 = 128, whole(1..=MOST_UNITS);
        /// Activation of the hidden layers.
        activation: Activation = Activation::Tanh, choice();
    }
}

impl Network for VitSettings {
    fn loss_of_classes(&self) -> Loss {
        Loss::CrossEntropy
    }

    fn size(&self) -> (&'static str, String) {
        ("model.token_width", self.token_width.to_string())
    }

    fn architecture(&self, ends: Ends) -> Result<Architecture, Refusal> {
        let (image, Ends { outputs, output_activation, .. }) = (ends.image("vit")?, ends);
        let VitSettings { patch_size, token_width, blocks, heads, head_size, mlp_width, .. } =
            *self;
        let vit = Vit {
            image,
            patch_size,
            token_width,
            blocks,
            heads,
            head_size,
            mlp_width,
            activation: self.activation,
            outputs,
            output_activation,
        };
        vit.tokens().map_err(|error| {
            let expected = format!("a size that divides the images: {error}");
            Refusal::new("model.patch_size", patch_size, expected)
        })?;
        Ok(Architecture::Vit(vit))
    }
}

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
    fn blocks<'a>(&'a self, generator: &'a mut Generator, device: Device) -> Blocks<'a> {
        Box::new((0..self.blocks + 2).map(move |index| -> Result<Box<dyn Block>> {
            if index < self.blocks {
                return Ok(Box::new(TransformerBlock::new(self, index == 0, generator, device)?));
            }
            let width = self.tokens()? * self.token_width;
            let (outputs, activation) = match index == self.blocks {
                true => (width, self.activation),
                false => (self.outputs, self.output_activation),
            };
            Ok(Box::new(Dense::new(width, outputs, activation, generator, device)?))
        }))
    }
}
