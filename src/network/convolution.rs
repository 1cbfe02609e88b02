//! A convolutional block, and the notation for networks of them; gradients by autograd.
//!
//! Legend: b batch; c channels and r x s pixels of an image.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::block::{Block, trainable};
use super::initialise::{self, WeightInit};
use crate::activation::Activation;
use crate::generator::Generator;

/// Convolution, activation and, if wanted, pooling, on images that lie in a row `[b, c·r·s]`; its
/// feedback is onto the flattened output.
pub struct ConvolutionBlock {
    weight: Tensor, // [output channels, input channels, kernel, kernel]
    bias: Tensor,
    activation: Activation,
    pool: bool,
    image: [i64; 3],
    output_image: [i64; 3],
}

impl ConvolutionBlock {
    /// Draws a block as PyTorch's `nn.Conv2d` does, weight first. The convolution has stride 1 and
    /// is padded with zeros so that images keep their size; pooling takes the largest of each 2 x 2
    /// pixels, leaving out an odd last row or column.
    pub fn new(
        image: [i64; 3],
        channels: i64,
        kernel: i64,
        pool: bool,
        activation: Activation,
        generator: &mut Generator,
        device: Device,
    ) -> Result<ConvolutionBlock> {
        let output_image = ConvolutionBlock::image_after(image, channels, pool)?;
        let shape = [channels, image[0], kernel, kernel];
        let weight = initialise::weight(&shape, WeightInit::PyTorch, generator, device)?;
        let bias = initialise::bias(&shape, generator, device)?;
        Ok(ConvolutionBlock {
            weight: trainable(weight),
            bias: trainable(bias),
            activation,
            pool,
            image,
            output_image,
        })
    }

    /// What becomes of an image (channels, height, width) in such a block.
    pub fn image_after(image: [i64; 3], channels: i64, pool: bool) -> Result<[i64; 3]> {
        let [_, height, width] = image;
        let divisor = if pool { 2 } else { 1 };
        if height < divisor || width < divisor {
            bail!("images of {height} x {width} are too small to be pooled");
        }
        Ok([channels, height / divisor, width / divisor])
    }

    /// Channels, height and width of the output.
    pub fn output_image(&self) -> [i64; 3] {
        self.output_image
    }
}

impl Block for ConvolutionBlock {
    fn outputs(&self) -> i64 {
        self.output_image.iter().product()
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        vec![("weight", &self.weight), ("bias", &self.bias)]
    }

    fn operations(&self) -> i64 {
        self.weight.numel() as i64 * self.image[1] * self.image[2]
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let [channels, height, width] = self.image;
        let images = input.reshape([-1, channels, height, width]);
        let z =
            images.conv2d_padding(&self.weight, Some(&self.bias), [1i64, 1], "same", [1i64, 1], 1);
        let h = self.activation.apply_(z);
        let h = if self.pool {
            h.max_pool2d([2i64, 2], [2i64, 2], [0i64, 0], [1i64, 1], false)
        } else {
            h
        };
        h.flatten(1, -1)
    }
}

/// The hidden blocks of a convolutional network, written as `32C5-pool-64C5-pool-1000FC`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Topology(pub Vec<Stage>);

/// One hidden block of a [`Topology`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `32C5`: a convolution with 32 output channels and a kernel of 5 x 5; with `-pool` after it,
    /// its block ends in a pooling of 2 x 2.
    Convolution {
        /// Output channels.
        channels: i64,
        /// Height and width of the kernel.
        kernel: i64,
        /// Whether a pooling follows.
        pool: bool,
    },
    /// `1000FC`: fully connected.
    Dense {
        /// Outputs.
        width: i64,
    },
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Topology, String> {
        let mut stages: Vec<Stage> = Vec::new();
        let size =
            |text: &str| text.parse::<i64>().ok().filter(|size| (1..=100_000).contains(size));
        for part in text.split('-') {
            let dense = matches!(stages.last(), Some(Stage::Dense { .. }));
            if part == "pool" {
                match stages.last_mut() {
                    Some(Stage::Convolution { pool, .. }) if !*pool => *pool = true,
                    _ => return Err("`pool` must follow a convolution".to_string()),
                }
            } else if let Some(width) = part.strip_suffix("FC").and_then(size) {
                stages.push(Stage::Dense { width });
            } else if let Some((channels, kernel)) = part.split_once('C')
                && let (Some(channels), Some(kernel)) = (size(channels), size(kernel))
            {
                if kernel % 2 == 0 {
                    return Err(format!("`{part}` has an even kernel, which has no middle"));
                }
                if dense {
                    return Err(format!("`{part}` cannot follow a fully connected block"));
                }
                stages.push(Stage::Convolution { channels, kernel, pool: false });
            } else {
                return Err(format!("`{part}` is not one of 32C5, pool, 1000FC"));
            }
        }
        Ok(Topology(stages))
    }
}

impl TryFrom<String> for Topology {
    type Error = String;

    fn try_from(text: String) -> Result<Topology, String> {
        text.parse()
    }
}

impl From<Topology> for String {
    fn from(topology: Topology) -> String {
        topology.to_string()
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|stage| match stage {
                Stage::Convolution { channels, kernel, pool } => {
                    format!("{channels}C{kernel}{}", if *pool { "-pool" } else { "" })
                }
                Stage::Dense { width } => format!("{width}FC"),
            })
            .collect();
        formatter.write_str(&parts.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topology_reads_what_it_writes() {
        for text in ["32C5-pool-64C5-pool-1000FC", "8C3", "100FC-50FC", "8C3-8C3-pool"] {
            assert_eq!(text.parse::<Topology>().unwrap().to_string(), text);
        }
        for (text, reason) in [
            ("", "`` is not one of"),
            ("pool-8C3", "must follow a convolution"),
            ("8C3-pool-pool", "must follow a convolution"),
            ("10FC-8C3", "cannot follow a fully connected"),
            ("8C0", "`8C0` is not"),
            ("8C4", "`8C4` has an even kernel"),
            ("8X3", "`8X3` is not"),
            ("99999999999FC", "is not one of"),
        ] {
            let error = text.parse::<Topology>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn pooling_halves_and_convolution_keeps_the_size() {
        let mut generator = Generator::new(1).unwrap();
        let block = |pool, generator: &mut Generator| {
            let tanh = Activation::Tanh;
            ConvolutionBlock::new([2, 7, 6], 3, 5, pool, tanh, generator, Device::Cpu).unwrap()
        };
        let input = generator.uniform(&[4, 2 * 7 * 6], -1.0, 1.0).unwrap();
        for (pool, image) in [(false, [3, 7, 6]), (true, [3, 3, 3])] {
            let block = block(pool, &mut generator);
            assert_eq!(block.output_image(), image);
            assert_eq!(block.forward(&input).size(), [4, image.iter().product::<i64>()]);
        }
    }
}
