//! The section `model`: the network.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::section::Section;
use crate::network::{Activation, Topology};

/// More hidden layers than this are taken for a mistake.
const MOST_LAYERS: usize = 10_000;

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum ModelConfig {
    /// Fully connected.
    Mlp {
        /// How many hidden layers.
        hidden_layers: usize,
        /// Their widths.
        width: Width,
        /// Their activation.
        activation: Activation,
    },
    /// A convolutional network.
    Cnn {
        /// The hidden blocks, written as `32C5-pool-1000FC`.
        topology: Topology,
        /// Their activation.
        activation: Activation,
    },
    /// A Vision Transformer.
    Vit {
        /// Height and width of a patch.
        patch_size: i64,
        /// Width of a token.
        token_width: i64,
        /// How many transformer blocks.
        blocks: i64,
        /// Heads of each block's attention.
        heads: i64,
        /// Width of a head.
        head_size: i64,
        /// Width of the perceptron inside each block.
        mlp_width: i64,
        /// Activation of the perceptrons and of the hidden head layer.
        activation: Activation,
    },
}

impl ModelConfig {
    /// The widths n_1 … n_{K-1} of the hidden layers, if they are known without the data.
    pub fn hidden_widths(&self) -> Option<Vec<i64>> {
        let ModelConfig::Mlp { hidden_layers, width, .. } = self else {
            return None;
        };
        Some(match width {
            Width::All(width) => vec![*width; *hidden_layers],
            Width::Each(widths) => widths.clone(),
        })
    }

    pub(super) fn read(section: &mut Section, pepita: bool) -> Result<ModelConfig, ConfigError> {
        #[derive(Clone, Copy, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Name {
            Mlp,
            Cnn,
            Vit,
        }
        let name = section.choice("name")?.unwrap_or(Name::Mlp);
        let activation = section.choice("activation")?.unwrap_or(match pepita {
            true => Activation::Relu,
            false => Activation::Tanh,
        });
        match name {
            Name::Mlp => read_mlp(section, activation, if pepita { 1024 } else { 500 }),
            Name::Cnn => {
                let example = "hidden blocks such as 32C5-pool-64C5-pool-1000FC";
                let text = section
                    .text("topology", example, |_| true)?
                    .ok_or_else(|| section.missing("topology", example))?;
                match text.parse() {
                    Ok(topology) => Ok(ModelConfig::Cnn { topology, activation }),
                    Err(reason) => {
                        let expected = format!("{example}: {reason}");
                        Err(section.refuse("topology", text, &expected))
                    }
                }
            }
            Name::Vit => {
                let mut size = |key, default| {
                    Ok::<_, ConfigError>(section.whole(key, 1..=100_000)?.unwrap_or(default))
                };
                Ok(ModelConfig::Vit {
                    patch_size: size("patch_size", 7)?,
                    token_width: size("token_width", 32)?,
                    blocks: size("blocks", 4)?,
                    heads: size("heads", 8)?,
                    head_size: size("head_size", 64)?,
                    mlp_width: size("mlp_width", 128)?,
                    activation,
                })
            }
        }
    }
}

/// One width for all hidden layers, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Width {
    /// The same for all.
    All(i64),
    /// In forward order.
    Each(Vec<i64>),
}

impl fmt::Display for Width {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Width::All(width) => write!(formatter, "{width}"),
            Width::Each(widths) => write!(formatter, "{widths:?}"),
        }
    }
}

fn read_mlp(
    section: &mut Section,
    activation: Activation,
    default_width: i64,
) -> Result<ModelConfig, ConfigError> {
    let layers = section.whole("hidden_layers", 0..=MOST_LAYERS)?;
    let width = section
        .checked("width", "a width of at least 1, or a list of them", |width| match width {
            Width::All(width) => *width >= 1,
            Width::Each(widths) => {
                widths.len() <= MOST_LAYERS && widths.iter().all(|width| *width >= 1)
            }
        })?
        .unwrap_or(Width::All(default_width));
    let hidden_layers = match (&width, layers) {
        (Width::Each(widths), Some(layers))
            if layers != widths.len() && !section.yields("hidden_layers", "width") =>
        {
            let expected = format!("as many as `model.width` lists ({})", widths.len());
            return Err(section.refuse("hidden_layers", layers, &expected));
        }
        (Width::Each(widths), _) => widths.len(),
        (Width::All(_), layers) => layers.unwrap_or(1),
    };
    Ok(ModelConfig::Mlp { hidden_layers, width, activation })
}
