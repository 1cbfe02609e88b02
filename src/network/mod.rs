//! What networks are made of: blocks, each taught by one feedback matrix, and the architectures
//! that draw them.

mod block;
mod cnn;
mod convolution;
mod dense;
mod initialise;
mod kinds;
mod mlp;
mod transformer;
mod vit;

pub(crate) use block::move_to;
pub use block::{Block, Gradients, Tape, tensor_names, trainable};
pub use cnn::{Cnn, CnnSettings, Stage, Topology};
pub use convolution::ConvolutionBlock;
pub use dense::Dense;
pub use kinds::{Architecture, Blocks, Ends, ModelConfig, Network, Shape};
pub use mlp::{Mlp, MlpSettings, Width};
pub use transformer::TransformerBlock;
pub use vit::{Vit, VitSettings};

pub use crate::activation::Activation;
