//! A trained network in use: what it says of samples that are prepared as its training set was.
//!
//! Legend: b samples, n_0 inputs, C outputs.

use std::path::Path;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::assemble;
use crate::config::Config;
use crate::data::{Preparation, Targets};
use crate::model_file::Description;
use crate::network::Network;
use crate::tensor_file::TensorFile;

/// A network with what it takes to use it.
pub struct Model {
    network: Network,
    config: Config,
    preparation: Preparation,
}

impl Model {
    /// Reads `model.safetensors`, or a checkpoint.
    pub fn open(path: &Path, device: Device) -> Result<Model> {
        let mut file = TensorFile::open(path)?;
        let description = Description::of(&file)?;
        let (network, config) = assemble::network_in(&mut file, &description, device)?;
        Ok(Model { network, config, preparation: description.preparation })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What the run was told to do.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How samples become inputs, and outputs answers.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// The scores `[b, C]` of classes (softmax of logits, else the outputs), or the numbers that were
    /// to be predicted in their own units, from inputs `[b, n_0]`.
    pub fn answer(&self, inputs: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let outputs = self.network.forward(inputs)?;
        Ok(match &self.preparation.targets {
            Targets::Classes(_) => self.config.loss.scores(&outputs),
            Targets::Numbers { scaling, .. } if scaling.is_empty() => outputs,
            Targets::Numbers { scaling, .. } => {
                let row = |values: Vec<f64>| Tensor::from_slice(&values).reshape([1, -1]);
                let outputs = outputs.to_device(Device::Cpu).to_kind(Kind::Double);
                outputs * row(scaling.iter().map(|it| it.standard_deviation).collect())
                    + row(scaling.iter().map(|it| it.mean).collect())
            }
        })
    }
}
