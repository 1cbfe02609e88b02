//! Convolutional networks, and the notation for them.
//!
//! Legend: C outputs.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::Device;

use super::{
    Activation, Architecture, Block, Blocks, ConvolutionBlock, Dense, Ends, Network, Shape,
};
use crate::generator::Generator;
use crate::settings::domain::{choice, text};
use crate::settings::{Domain, Refusal, section};

section! {
    /// A convolutional network as a configuration asks for it.
    pub struct CnnSettings {
        /// Hidden blocks, such as `32C5-pool-64C5-pool-1000FC`.
        ///
        /// 32 filters of 5 x 5 (kernels are odd) that keep the image's size, 2 x 2 max-pooling (part
        /// of the block before it), 1000 fully connected units.
        topology: Topology, topology();
        /// Activation of the hidden layers.
        activation: Activation = Activation::Tanh, choice();
    }
}

fn topology() -> Domain<Topology> {
    text("hidden blocks such as 32C5-pool-64C5-pool-1000FC")
        .then(|text| text.parse().map_err(|reason| format!(": {reason}")))
}

impl Network for CnnSettings {
    fn size(&self) -> (&'static str, String) {
        ("model.topology", self.topology.to_string())
    }

    fn architecture(&self, ends: Ends) -> Result<Architecture, Refusal> {
        let (image, Ends { outputs, output_activation, .. }) = (ends.image("cnn")?, ends);
        let CnnSettings { topology, activation } = self.clone();
        let cnn = Cnn { image, topology, activation, outputs, output_activation };
        cnn.weight_count().map_err(|error| {
            let expected = format!("one that the images allow: {error}");
            Refusal::new("model.topology", &cnn.topology, expected)
        })?;
        Ok(Architecture::Cnn(cnn))
    }
}

/// A convolutional network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cnn {
    /// Channels, height and width of the images.
    pub image: [i64; 3],
    /// The hidden blocks.
    pub topology: Topology,
    /// Activation of the hidden blocks.
    pub activation: Activation,
    /// C.
    pub outputs: i64,
    /// Activation of the output layer.
    pub output_activation: Activation,
}

impl Cnn {
    /// Each layer: what it is, the image that it gets, and its activation.
    fn layers(&self) -> impl Iterator<Item = Result<(Stage, [i64; 3], Activation)>> {
        let output = Stage::Dense { width: self.outputs };
        let hidden = self.topology.0.iter().map(|stage| (*stage, self.activation));
        let mut next = self.image;
        hidden.chain([(output, self.output_activation)]).map(move |(stage, activation)| {
            let image = next;
            next = match stage {
                Stage::Convolution { channels, pool, .. } => {
                    ConvolutionBlock::image_after(image, channels, pool)?
                }
                Stage::Dense { width } => [width, 1, 1],
            };
            Ok((stage, image, activation))
        })
    }
}

impl Shape for Cnn {
    fn widths(&self) -> (i64, i64) {
        (self.image.iter().product(), self.outputs)
    }

    fn sizes(&self) -> Vec<i64> {
        [self.image.as_slice(), &[self.outputs]].concat()
    }

    fn weight_count(&self) -> Result<f64> {
        let weights = self.layers().map(|layer| {
            let (stage, image, _) = layer?;
            Ok(match stage {
                Stage::Convolution { channels, kernel, .. } => {
                    channels as f64 * image[0] as f64 * (kernel * kernel) as f64
                }
                Stage::Dense { width } => image.iter().product::<i64>() as f64 * width as f64,
            })
        });
        weights.sum()
    }

    /// A block for each stage, and the output layer.
    fn blocks<'a>(&'a self, generator: &'a mut Generator, device: Device) -> Blocks<'a> {
        Box::new(self.layers().map(move |layer| -> Result<Box<dyn Block>> {
            let (stage, image, activation) = layer?;
            Ok(match stage {
                Stage::Convolution { channels, kernel, pool } => Box::new(ConvolutionBlock::new(
                    image, channels, kernel, pool, activation, generator, device,
                )?),
                Stage::Dense { width } => {
                    let inputs = image.iter().product();
                    Box::new(Dense::new(inputs, width, activation, generator, device)?)
                }
            })
        }))
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
}
