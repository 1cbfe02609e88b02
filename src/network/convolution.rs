//! A convolutional block; gradients by autograd.
//!
//! Legend: b batch; c channels and r x s pixels of an image.

use anyhow::{Result, bail};
use tch::{Device, Tensor};

use super::block::{Block, trainable};
use super::initialise;
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
        let (weight, bias) = initialise::weight_and_bias(&shape, generator, device)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(block.output_image, image);
            assert_eq!(block.forward(&input).size(), [4, image.iter().product::<i64>()]);
        }
    }
}
