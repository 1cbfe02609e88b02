//! A trained network in use: what it says of samples that are prepared as its training set was.
//!
//! Legend: b samples, n_0 inputs, C outputs.

mod description;
mod file;

pub use description::{Description, VERSION};
pub(crate) use file::bytes;
pub use file::{best_of, init, of, save};

use std::path::Path;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::data::Targets;
use crate::engine::{self, Kernels};
use crate::generator::Generator;
use crate::network::Block;
use crate::process::use_threads;
use crate::tensor_file::TensorFile;

/// A network with what it takes to use it. There is nothing of a trainer in it.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use std::path::Path;
///
/// use f3_tch::data::Samples;
/// use f3_tch::model::Model;
/// use f3_tch::tch::Device;
///
/// let model = Model::open(Path::new("runs/mnist/001/model.safetensors"), Device::Cpu)?;
/// let about = model.description();
/// let mut samples = Samples::open(Path::new("digits.png"), about.table, &about.preparation)?;
/// while let Some(part) = samples.next(100)? {
///     model.answer(&part.inputs)?.print(); // scores [b, C]
/// }
/// # Ok(())
/// # }
/// ```
pub struct Model {
    blocks: Vec<Box<dyn Block>>,
    fused: bool, // whether fused kernels compute them
    description: Description,
}

impl Model {
    /// Reads `model.safetensors`, or a checkpoint.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or does not hold the network that it describes.
    pub fn open(path: &Path, device: Device) -> Result<Model> {
        let mut file = TensorFile::open(path)?;
        let description = Description::of(&file)?;
        file::check_size(&file, &description.architecture)?;
        // What is drawn here is overwritten.
        let mut generator = Generator::new(0)?;
        let blocks = description.architecture.shape().blocks(&mut generator, device);
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        file::fill_blocks(&mut file, &blocks)?;
        let fused = description.kernels == Kernels::Fused
            && engine::all_can_be_fused(blocks.iter().map(Box::as_ref)).is_ok();
        Ok(Model { blocks, fused, description })
    }

    /// What the file says about the network.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The network's blocks with their parameters, the output block last.
    pub fn blocks(&self) -> impl Iterator<Item = &dyn Block> {
        self.blocks.iter().map(Box::as_ref)
    }

    /// The outputs `[b, C]` for inputs `[b, n_0]`.
    pub fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        self.blocks().try_fold(inputs.shallow_clone(), |h, it| engine::forward(it, self.fused, &h))
    }

    /// The scores `[b, C]` of classes (softmax of logits, else the outputs), or the numbers that were
    /// to be predicted in their own units, from inputs `[b, n_0]`.
    pub fn answer(&self, inputs: &Tensor) -> Result<Tensor> {
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        let outputs = self.forward(inputs)?;
        Ok(match &self.description.preparation.targets {
            Targets::Classes(_) => self.description.loss.scores(&outputs),
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
