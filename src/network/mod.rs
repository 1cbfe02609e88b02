//! What networks are made of: blocks, each taught by one feedback matrix, and the shapes that draw
//! them.

mod block;
mod convolution;
mod dense;
mod initialise;
mod shapes;
mod transformer;

pub(crate) use block::move_to;
pub use block::{Block, Gradients, Tape, tensor_names, trainable};
pub use convolution::{ConvolutionBlock, Stage, Topology};
pub use dense::Dense;
pub use initialise::WeightInit;
pub use shapes::{Architecture, Cnn, Mlp};
pub use transformer::{TransformerBlock, Vit};

pub use crate::activation::Activation;
