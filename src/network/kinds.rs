//! The kinds of networks: as configurations ask for them, and as they are when the data are known.
//!
//! Legend: n_0 inputs, n_1 … n_{K-1} outputs of the hidden blocks, C outputs.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::cnn::CnnSettings;
use super::mlp::MlpSettings;
use super::vit::VitSettings;
use super::{Activation, Block, Cnn, Mlp, Vit};
use crate::generator::Generator;
use crate::loss::Loss;
use crate::settings::{Refusal, section};

macro_rules! networks {
    ($($(#[doc = $doc:literal])* $kind:ident = $name:literal ($settings:ident)),*) => {
        section! {
            /// The network.
            pub enum ModelConfig = "mlp": Network {
                $($(#[doc = $doc])* $kind = $name ($settings)),*
            }
        }

        /// What a network is, without its parameters: with these it can be rebuilt.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        pub enum Architecture {
            $($(#[doc = $doc])* #[serde(rename = $name)] $kind($kind)),*
        }

        impl Architecture {
            /// The kind that it is.
            pub fn shape(&self) -> &dyn Shape {
                match self { $(Architecture::$kind(shape) => shape),* }
            }
        }
    };
}

// All of them: the kind, its `model.name`, its keys.
networks! {
    /// Fully connected.
    Mlp = "mlp" (MlpSettings),
    /// Convolutional.
    Cnn = "cnn" (CnnSettings),
    /// Vision Transformer.
    Vit = "vit" (VitSettings)
}

/// A network as a configuration asks for it.
pub trait Network {
    /// The loss with which it learns classes, if a configuration asks for no other.
    fn loss_of_classes(&self) -> Loss {
        Loss::BinaryCrossEntropy
    }

    /// n_1 … n_{K-1}, if they are known without the data.
    fn hidden_widths(&self) -> Option<Vec<i64>> {
        None
    }

    /// The key that the network's size depends on most, and its value.
    fn size(&self) -> (&'static str, String);

    /// The network between these ends.
    ///
    /// # Errors
    /// If it does not go with the samples.
    fn architecture(&self, ends: Ends) -> Result<Architecture, Refusal>;
}

/// What data, loss and learning rule say about a network.
pub struct Ends {
    /// n_0.
    pub inputs: i64,
    /// Channels, height and width, if the inputs are images.
    pub image: Option<[i64; 3]>,
    /// C.
    pub outputs: i64,
    /// Activation of the output layer.
    pub output_activation: Activation,
    /// Whether layers have biases; only fully connected networks can do without.
    pub bias: bool,
}

impl Ends {
    /// Channels, height and width of the images that `name` must have.
    pub(super) fn image(&self, name: &str) -> Result<[i64; 3], Refusal> {
        let expected = "mlp, since the samples of this data set are no images";
        self.image.ok_or_else(|| Refusal::new("model.name", name, expected))
    }
}

/// A network's blocks, each drawn when it is asked for: all of them may be more than fits into memory.
pub type Blocks<'a> = Box<dyn Iterator<Item = Result<Box<dyn Block>>> + 'a>;

/// A kind of network, of a certain size.
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
    fn blocks<'a>(&'a self, generator: &'a mut Generator, device: Device) -> Blocks<'a>;
}

impl Architecture {
    /// A fully connected network.
    ///
    /// # Errors
    /// If it is another one.
    pub fn mlp(&self) -> Result<&Mlp> {
        match self {
            Architecture::Mlp(mlp) => Ok(mlp),
            _ => bail!("the network is not fully connected"),
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
