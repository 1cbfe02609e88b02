//! What networks are made of: blocks, each taught by one feedback matrix, and the architectures
//! that draw them.

mod architecture;
mod block;
mod cnn;
mod convolution;
mod dense;
mod initialise;
mod mlp;
mod transformer;
mod vit;

pub use architecture::{Architecture, Shape};
pub(crate) use block::move_to;
pub use block::{Block, Gradients, Tape, tensor_names, trainable};
pub use cnn::{Cnn, Stage, Topology};
pub use convolution::ConvolutionBlock;
pub use dense::Dense;
pub use initialise::WeightInit;
pub use mlp::Mlp;
pub use transformer::TransformerBlock;
pub use vit::Vit;

pub use crate::activation::Activation;
