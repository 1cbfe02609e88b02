//! The shapes of networks, and the blocks that are drawn for them, always in forward order.
//!
//! Legend: n_0 inputs, n_1 … n_{K-1} outputs of the hidden blocks, C outputs.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::{Block, ConvolutionBlock, Dense, Stage, Topology, TransformerBlock, Vit, WeightInit};
use crate::activation::Activation;
use crate::feedback::FeedbackInit;
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

impl Architecture {
    /// A block for each layer, drawn in forward order, the output block last.
    pub fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>> {
        match self {
            Architecture::Mlp(mlp) => mlp.blocks(generator, device),
            Architecture::Cnn(cnn) => cnn.blocks(generator, device),
            Architecture::Vit(vit) => vit.blocks(generator, device),
        }
    }

    /// How many weights there are, at least; it may be absurdly many.
    ///
    /// # Errors
    /// If the images do not go with the rest.
    pub fn weight_count(&self) -> Result<f64> {
        match self {
            Architecture::Mlp(mlp) => Ok(mlp.weight_count()),
            Architecture::Cnn(cnn) => cnn.weight_count(),
            Architecture::Vit(vit) => vit.weight_count(),
        }
    }

    /// n_0 and C.
    pub fn widths(&self) -> (i64, i64) {
        match self {
            Architecture::Mlp(Mlp { inputs, outputs, .. }) => (*inputs, *outputs),
            Architecture::Cnn(Cnn { image, outputs, .. })
            | Architecture::Vit(Vit { image, outputs, .. }) => (image.iter().product(), *outputs),
        }
    }

    /// Refuses sizes that no network has.
    pub(crate) fn check(&self) -> Result<()> {
        let image_sizes =
            |image: &[i64; 3], outputs: &i64| vec![image[0], image[1], image[2], *outputs];
        let sizes = match self {
            Architecture::Mlp(it) => [&[it.inputs, it.outputs], it.hidden.as_slice()].concat(),
            Architecture::Cnn(it) => image_sizes(&it.image, &it.outputs),
            Architecture::Vit(it) => {
                let own = [
                    it.patch_size,
                    it.token_width,
                    it.blocks,
                    it.heads,
                    it.head_size,
                    it.mlp_width,
                ];
                [image_sizes(&it.image, &it.outputs), own.to_vec()].concat()
            }
        };
        if let Some(wrong) = sizes.iter().find(|size| !(1..1 << 28).contains(*size)) {
            bail!("describes a network with a size of {wrong}");
        }
        Ok(())
    }
}

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
    /// How many weights there are, biases not counted; it may be absurdly many.
    pub fn weight_count(&self) -> f64 {
        self.sizes().iter().map(|(m, n, _)| *m as f64 * *n as f64).sum()
    }

    /// Inputs, outputs and activation of each layer.
    fn sizes(&self) -> Vec<(i64, i64, Activation)> {
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

    /// As [`Mlp::blocks`], each drawn when it is asked for.
    pub fn lazily(
        &self,
        generator: &mut Generator,
        device: Device,
    ) -> impl Iterator<Item = Result<Dense>> {
        let sizes = self.sizes().into_iter();
        let bias = self.bias;
        sizes.map(move |(m, n, activation)| match bias {
            true => Dense::new(m, n, activation, generator, device),
            false => {
                let init = WeightInit::PyTorch;
                Dense::without_bias(m, n, activation, init, generator, device)
            }
        })
    }

    /// Weight and, if there is one, bias of each layer, as PyTorch draws them.
    pub fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>> {
        Ok(boxed(self.dense(generator, device)?))
    }

    /// Weights alone, without biases.
    pub fn blocks_without_bias(
        &self,
        init: WeightInit,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Vec<Box<dyn Block>>> {
        let dense: Result<Vec<Dense>> = self
            .sizes()
            .into_iter()
            .map(|(m, n, activation)| {
                Dense::without_bias(m, n, activation, init, generator, device)
            })
            .collect();
        Ok(boxed(dense?))
    }

    /// As [`Mlp::blocks`]; then, for each layer but the first, the fixed matrix `[n_{i+1}, n_i]`
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

fn boxed(dense: Vec<Dense>) -> Vec<Box<dyn Block>> {
    dense.into_iter().map(|block| Box::new(block) as Box<dyn Block>).collect()
}

impl Vit {
    /// How many weights there are, biases and norms not counted; it may be absurdly many.
    pub fn weight_count(&self) -> Result<f64> {
        let pixels: i64 = self.image.iter().product();
        let row = self.tokens()? as f64 * self.token_width as f64;
        let inner = 4.0 * self.heads as f64 * self.head_size as f64 + 2.0 * self.mlp_width as f64;
        let blocks = self.blocks as f64 * self.token_width as f64 * inner;
        Ok(pixels as f64 * row + blocks + row * row + row * self.outputs as f64)
    }

    /// The embedding with the first transformer block, the other transformer blocks, the hidden
    /// layer of the head, the output layer.
    pub fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>> {
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

/// A convolutional network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cnn {
    /// Channels, height and width of the images.
    pub image: [i64; 3],
    /// The hidden blocks.
    pub topology: Topology,
    /// Activation of the hidden blocks.
    pub activation: Activation,
    /// C.
    pub outputs: i64,
    /// Activation of the output layer.
    pub output_activation: Activation,
}

impl Cnn {
    /// How many weights there are, biases not counted; it may be absurdly many.
    ///
    /// # Errors
    /// If the images are too small for the topology.
    pub fn weight_count(&self) -> Result<f64> {
        let mut image = self.image;
        let mut inputs = image.iter().product::<i64>() as f64;
        let mut count = 0.0;
        for &stage in &self.topology.0 {
            match stage {
                Stage::Convolution { channels, kernel, pool } => {
                    count += channels as f64 * image[0] as f64 * (kernel * kernel) as f64;
                    image = ConvolutionBlock::image_after(image, channels, pool)?;
                    inputs = image.iter().product::<i64>() as f64;
                }
                Stage::Dense { width } => {
                    count += inputs * width as f64;
                    inputs = width as f64;
                }
            }
        }
        Ok(count + inputs * self.outputs as f64)
    }

    /// A block for each stage, and the output layer.
    pub fn blocks(&self, generator: &mut Generator, device: Device) -> Result<Vec<Box<dyn Block>>> {
        let mut image = self.image;
        let mut inputs: i64 = image.iter().product();
        let mut blocks: Vec<Box<dyn Block>> = Vec::new();
        for &stage in &self.topology.0 {
            let block: Box<dyn Block> = match stage {
                Stage::Convolution { channels, kernel, pool } => {
                    let block = ConvolutionBlock::new(
                        image,
                        channels,
                        kernel,
                        pool,
                        self.activation,
                        generator,
                        device,
                    )?;
                    image = block.output_image();
                    Box::new(block)
                }
                Stage::Dense { width } => {
                    Box::new(Dense::new(inputs, width, self.activation, generator, device)?)
                }
            };
            inputs = block.outputs();
            blocks.push(block);
        }
        let output = Dense::new(inputs, self.outputs, self.output_activation, generator, device)?;
        blocks.push(Box::new(output));
        Ok(blocks)
    }
}
