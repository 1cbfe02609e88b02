//! The section `model`: the network.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ConfigError;
use crate::network::{Activation, Topology};
use crate::settings::domain::{any, choice, text, whole};
use crate::settings::{Domain, Reader, section};

/// More hidden layers than this are taken for a mistake.
const MOST_LAYERS: usize = 10_000;
const MOST_UNITS: i64 = 100_000;

section! {
    /// The network.
    pub enum ModelConfig = "mlp" => checked {
        /// Fully connected.
        Mlp = "mlp" {
            /// Number of hidden layers.
            hidden_layers: usize = 1, whole(0..=MOST_LAYERS);
            /// Width of all hidden layers, or a list with the width of each: `[500, 300]`.
            width: Width = Width::All(500), widths();
            /// Activation of the hidden layers.
            activation: Activation = Activation::Tanh, choice();
        },
        /// Convolutional.
        Cnn = "cnn" {
            /// Hidden blocks, such as `32C5-pool-64C5-pool-1000FC`.
            ///
            /// 32 filters of 5 x 5 (kernels are odd) that keep the image's size, 2 x 2 max-pooling (part
            /// of the block before it), 1000 fully connected units.
            topology: Topology, topology();
            /// Activation of the hidden layers.
            activation: Activation = Activation::Tanh, choice();
        },
        /// Vision Transformer.
        Vit = "vit" {
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
        },
    }
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

    /// A list of widths says how many layers there are.
    fn checked(mut self, reader: &mut Reader) -> Result<ModelConfig, ConfigError> {
        if let ModelConfig::Mlp { hidden_layers, width: Width::Each(widths), .. } = &mut self {
            let contradicts = reader.has("hidden_layers") && *hidden_layers != widths.len();
            if contradicts && !reader.yields("hidden_layers", "width") {
                let expected = format!("as many as `model.width` lists ({})", widths.len());
                return Err(reader.refuse("hidden_layers", hidden_layers, &expected));
            }
            *hidden_layers = widths.len();
        }
        Ok(self)
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

fn widths() -> Domain<Width> {
    let width = json!({"type": "integer", "minimum": 1});
    let schema = json!({"anyOf": [width, {"type": "array", "items": width}]});
    any("a width of at least 1, or a list of them", schema).only(|width| match width {
        Width::All(width) => *width >= 1,
        Width::Each(widths) => {
            widths.len() <= MOST_LAYERS && widths.iter().all(|width| *width >= 1)
        }
    })
}

fn topology() -> Domain<Topology> {
    text("hidden blocks such as 32C5-pool-64C5-pool-1000FC")
        .then(|text| text.parse().map_err(|reason| format!(": {reason}")))
}
