//! Fully connected networks.
//!
//! Legend: n_0 inputs, n_1 … n_{K-1} outputs of the hidden blocks, C outputs.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Device;

use super::{Activation, Architecture, Block, Blocks, Dense, Ends, Network, Shape};
use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::settings::domain::{any, choice, whole};
use crate::settings::{ConfigError, Domain, Reader, Refusal, section};

/// More hidden layers than this are taken for a mistake.
const MOST_LAYERS: usize = 10_000;

section! {
    /// A fully connected network as a configuration asks for it.
    pub struct MlpSettings => checked {
        /// Number of hidden layers.
        hidden_layers: usize = 1, whole(0..=MOST_LAYERS);
        /// Width of all hidden layers, or a list with the width of each: `[500, 300]`.
        width: Width = Width::All(500), widths();
        /// Activation of the hidden layers.
        activation: Activation = Activation::Tanh, choice();
    }
}

impl MlpSettings {
    /// A list of widths says how many layers there are.
    fn checked(mut self, reader: &mut Reader) -> Result<MlpSettings, ConfigError> {
        if let Width::Each(widths) = &self.width {
            let contradicts = reader.has("hidden_layers") && self.hidden_layers != widths.len();
            if contradicts && !reader.yields("hidden_layers", "width") {
                let expected = format!("as many as `model.width` lists ({})", widths.len());
                return Err(reader.refuse("hidden_layers", self.hidden_layers, &expected));
            }
            self.hidden_layers = widths.len();
        }
        Ok(self)
    }

    fn widths(&self) -> Vec<i64> {
        match &self.width {
            Width::All(width) => vec![*width; self.hidden_layers],
            Width::Each(widths) => widths.clone(),
        }
    }
}

impl Network for MlpSettings {
    fn hidden_widths(&self) -> Option<Vec<i64>> {
        Some(self.widths())
    }

    fn size(&self) -> (&'static str, String) {
        ("model.width", self.width.to_string())
    }

    fn architecture(&self, ends: Ends) -> Result<Architecture, Refusal> {
        let Ends { inputs, outputs, output_activation, bias, .. } = ends;
        let (hidden, activation) = (self.widths(), self.activation);
        Ok(Architecture::Mlp(Mlp { inputs, hidden, activation, outputs, output_activation, bias }))
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

/// A fully connected network.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::Generator;
/// use f3_tch::network::{Activation, Block, Mlp, Shape};
/// use f3_tch::tch::Device;
///
/// let network = Mlp {
///     inputs: 784,
///     hidden: vec![500, 300],
///     activation: Activation::Tanh,
///     outputs: 10,
///     output_activation: Activation::Sigmoid,
///     bias: true,
/// };
/// let mut generator = Generator::new(1)?;
/// let blocks = network.blocks(&mut generator, Device::Cpu).collect::<anyhow::Result<Vec<_>>>()?;
/// assert_eq!(blocks.iter().map(|block| block.outputs()).collect::<Vec<_>>(), [500, 300, 10]);
/// # Ok(())
/// # }
/// ```
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
    /// Whether layers have biases; weights without them are drawn as [`Dense::without_bias`] says.
    pub bias: bool,
}

impl Mlp {
    /// Inputs, outputs and activation of each layer.
    fn layers(&self) -> impl Iterator<Item = (i64, i64, Activation)> {
        let hidden = self.hidden.iter().map(|width| (*width, self.activation));
        let outputs = hidden.chain([(self.outputs, self.output_activation)]);
        let inputs = [self.inputs].into_iter().chain(self.hidden.iter().copied());
        inputs.zip(outputs).map(|(inputs, (outputs, activation))| (inputs, outputs, activation))
    }

    fn dense(
        &self,
        generator: &mut Generator,
        device: Device,
    ) -> impl Iterator<Item = Result<Dense>> {
        self.layers().map(move |(m, n, activation)| match self.bias {
            true => Dense::new(m, n, activation, generator, device),
            false => Dense::without_bias(m, n, activation, generator, device),
        })
    }

    /// As [`Shape::blocks`]; then, for each layer but the first, the fixed matrix `[n_{i+1}, n_i]`
    /// through which gradients go backwards in place of its weight.
    pub fn blocks_for_feedback_alignment(
        &self,
        init: &FeedbackInit,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Blocks<'static>> {
        let mut dense = self.dense(generator, device).collect::<Result<Vec<Dense>>>()?;
        for block in dense.iter_mut().skip(1) {
            let (outputs, inputs) = block.weight().size2()?;
            let matrix = init.build(outputs, inputs, generator)?;
            block.propagate_through(matrix.to_device(device));
        }
        Ok(Box::new(dense.into_iter().map(Ok).map(boxed)))
    }
}

impl Shape for Mlp {
    fn widths(&self) -> (i64, i64) {
        (self.inputs, self.outputs)
    }

    fn sizes(&self) -> Vec<i64> {
        [&[self.inputs, self.outputs], self.hidden.as_slice()].concat()
    }

    fn weight_count(&self) -> Result<f64> {
        Ok(self.layers().map(|(m, n, _)| m as f64 * n as f64).sum())
    }

    fn blocks<'a>(&'a self, generator: &'a mut Generator, device: Device) -> Blocks<'a> {
        Box::new(self.dense(generator, device).map(boxed))
    }
}

fn boxed(dense: Result<Dense>) -> Result<Box<dyn Block>> {
    Ok(Box::new(dense?))
}
