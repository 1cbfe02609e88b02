//! A convolutional block and its gradients in closed form.
//!
//! Legend: b batch; c channels and r x s pixels of an image.

use anyhow::{Result, bail};
use tch::{Device, Tensor};

use super::block::{Block, Gradients, Tape};
use super::initialise;
use crate::activation::Activation;
use crate::generator::Generator;
use crate::native::{convolution_backward, or_panic_as_tch, pooling};

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
        Ok(ConvolutionBlock { weight, bias, activation, pool, image, output_image })
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

    /// [b, c, r, s] from [b, c·r·s].
    fn images(&self, input: &Tensor) -> Tensor {
        let [channels, height, width] = self.image;
        input.reshape([-1, channels, height, width])
    }

    fn padding(&self) -> i64 {
        self.weight.size()[2] / 2 // kernels are odd
    }

    fn convolved(&self, images: &Tensor) -> Tensor {
        let around = [self.padding(); 2];
        images.conv2d(&self.weight, Some(&self.bias), [1i64, 1], around, [1i64, 1], 1)
    }

    /// The output images and, if they are pooled, the places of their pixels.
    ///
    /// The largest h is that of the largest z, if the activation is monotone: then it is applied to the
    /// pooled ones only.
    fn pass(&self, input: &Tensor) -> (Tensor, Option<Tensor>) {
        let z = self.convolved(&self.images(input));
        if !self.pool {
            return (self.activation.apply_(z), None);
        }
        let monotone = self.activation.is_monotone();
        let z = if monotone { z } else { self.activation.apply_(z) };
        let (pooled, places) = pooled(&z);
        (if monotone { self.activation.apply_(pooled) } else { pooled }, Some(places))
    }

    /// The gradient of the images before the pooling, if there was one: [b, c, r, s].
    fn unpooled(&self, gradient: &Tensor, tape: &Tape) -> Tensor {
        let [channels, height, width] = self.output_image;
        let gradient = gradient.reshape([-1, channels, height, width]).contiguous();
        let Some(places) = &tape.kept else { return gradient };
        let [_, height, width] = self.image;
        match gradient.device() {
            Device::Cpu => {
                or_panic_as_tch(pooling::max_pool_backward(&gradient, places, [height, width]))
            }
            _ => gradient.max_unpool2d(places, [height, width]),
        }
    }
}

/// The largest of each 2 x 2 pixels, and their places, as [`ConvolutionBlock::unpooled`] takes them.
fn pooled(images: &Tensor) -> (Tensor, Tensor) {
    match images.device() {
        Device::Cpu => or_panic_as_tch(pooling::max_pool(&images.contiguous())),
        _ => images.max_pool2d_with_indices([2i64, 2], [2i64, 2], [0i64, 0], [1i64, 1], false),
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
        self.pass(input).0.flatten(1, -1)
    }

    fn record(&self, input: &Tensor) -> Tape {
        let (output, kept) = self.pass(input);
        Tape { input: input.shallow_clone(), output: output.flatten(1, -1), kept }
    }

    /// δz goes back through the pooling to the pixels that were the largest, and from there through the
    /// convolution.
    fn gradients(&self, tape: &Tape, output_gradient: &Tensor, input_too: bool) -> Gradients {
        let images = self.images(&tape.input);
        let delta = if self.activation.is_monotone() {
            let delta = self.activation.backward(output_gradient, &tape.output);
            self.unpooled(&delta, tape)
        } else {
            let delta = self.unpooled(output_gradient, tape);
            // z is computed again; to keep it would take four times the memory of the outputs.
            self.activation.backward(&delta, &self.convolved(&images))
        };
        let (weight, padding) = (&self.weight, self.padding());
        let (parameters, input) =
            or_panic_as_tch(convolution_backward(&delta, &images, weight, padding, input_too));
        Gradients {
            parameters: parameters.into(),
            input: input.map(|it| it.reshape(tape.input.size())),
        }
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
