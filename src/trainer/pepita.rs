//! PEPITA (Dellaferrera & Kreiman 2022): the error modulates the input of a second forward pass.
//!
//! Legend: b batch, n_0 inputs, C outputs, h_l `[b, n_l]` output of layer l, m_l its dropout mask.

use anyhow::Result;
use serde_yaml::Mapping;
use tch::{Device, Tensor};

use super::Trainer;
use super::rule::{Beside, Parts, Rule};
use crate::data::{Batch, Task};
use crate::engine::Step;
use crate::generator::Generator;
use crate::layers::Layers;
use crate::loss::Loss;
use crate::process::use_threads;
use crate::settings::domain::{positive, share};
use crate::settings::{ConfigError, Reader, lay_over, lookup, section};

section! {
    /// Settings of PEPITA.
    pub struct Pepita {
        /// Size of the matrix that carries the error to the input, as a multiple of √(6/inputs).
        projection_scale: f64 = 0.05, positive();
        /// Share of the hidden units that are left out of a step.
        dropout: f64 = 0.1, share();
    }
}

/// What PEPITA's authors trained with: defaults that take the place of the other rules'.
const DEFAULTS: &str = "
data: {standardize: false, batch_size: 64}
model: {width: 1024, activation: relu}
loss: cross_entropy
optimizer: {name: sgd, learning_rate: 0.1, momentum: 0.9}
";

impl Rule for Pepita {
    fn has_biases(&self) -> bool {
        false
    }

    /// Its masks are drawn on the host.
    fn can_be_recorded(&self) -> bool {
        false
    }

    fn defaults(&self, given: &Mapping) -> Mapping {
        let given = |path| lookup(given, path);
        let mut defaults = Mapping::new();
        let mut add = |yaml| {
            lay_over(&mut defaults, &serde_yaml::from_str(yaml).expect("the defaults are YAML"))
        };
        add(DEFAULTS);
        if given("optimizer.learning_rate").is_none() {
            // It goes with the authors' learning rate.
            add("optimizer: {schedule: {name: multi_step, milestones: [60, 90], gamma: 0.1}}");
        }
        let without = given("optimizer.momentum").and_then(|it| it.as_f64()) == Some(0.0);
        if !without && given("optimizer.nesterov") != Some(&true.into()) {
            add("optimizer: {classical_momentum: true}");
        }
        defaults
    }

    fn check(&self, reader: &mut Reader, beside: &Beside) -> Result<(), ConfigError> {
        beside.check_mlp("pepita", reader)?;
        if beside.data.task == Task::Regression {
            let expected = "a data set of classes (or `data.task: classification`): `pepita` \
                            classifies with softmax outputs";
            return Err(reader.refuse("data.name", beside.data.name, expected));
        }
        if beside.loss != Loss::CrossEntropy {
            let expected = "cross_entropy: `pepita` classifies with softmax outputs";
            return Err(reader.refuse("loss", beside.loss, expected));
        }
        Ok(())
    }

    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>> {
        let Parts { layers, data, generator, .. } = parts;
        let Pepita { projection_scale, dropout } = *self;
        let inputs = data.input_count();
        Ok(Box::new(PepitaTrainer::new(layers, inputs, projection_scale, dropout, generator)?))
    }
}

/// Trains with two forward passes and no backward one. The network is fully connected and puts out
/// logits; p is their softmax.
///
/// Pass 1 gives h_l = m_l ⊙ σ(W_l h_{l-1}) and e = p - y*; pass 2, from x' = x + F e with the same
/// masks, h'_l and p'. Layer l steps along (h_l - h'_l) h'_{l-1}ᵀ (the first one with x' for h'_0),
/// the output layer along (p' - y*) h'ᵀ, averaged over the batch. No derivative of the activation
/// enters.
pub struct PepitaTrainer {
    layers: Layers,
    projection: Tensor, // F [n_0, C]
    dropout: f64,
    masks: Generator,
}

impl PepitaTrainer {
    /// Draws F `[n_0, C]` from U(-s, s) with s = `scale`·√(6/n_0), and then where the stream of
    /// dropout masks starts.
    ///
    /// `dropout` is the share of hidden units that are left out of a step; those that stay are
    /// scaled up by 1/(1 - `dropout`).
    pub fn new(
        layers: Layers,
        inputs: i64,
        scale: f64,
        dropout: f64,
        generator: &mut Generator,
    ) -> Result<PepitaTrainer> {
        let output = layers.as_slice().last().expect("made with an output layer").block();
        let bound = scale * (6.0 / inputs as f64).sqrt();
        let projection = generator.uniform(&[inputs, output.outputs()], -bound, bound)?;
        let device = output.parameters()[0].1.device();
        Ok(PepitaTrainer {
            layers,
            projection: projection.to_device(device),
            dropout,
            masks: Generator::new(generator.int64()?.cast_unsigned())?,
        })
    }

    /// An inverted-dropout mask for each hidden layer, drawn in forward order; none without dropout.
    fn draw_masks(&mut self, batch: &Tensor) -> Result<Vec<Tensor>> {
        if self.dropout == 0.0 {
            return Ok(Vec::new());
        }
        let PepitaTrainer { layers, masks, dropout, .. } = self;
        let (_, hidden) = layers.as_slice().split_last().expect("made with an output layer");
        let drawn = hidden.iter().map(|layer| {
            let drawn = masks.uniform(&[batch.size()[0], layer.block().outputs()], 0.0, 1.0)?;
            Ok(layers.between(|| {
                let kept = to_device(drawn.ge(*dropout), batch.device());
                kept.to_kind(batch.kind()) / (1.0 - *dropout)
            }))
        });
        drawn.collect()
    }

    /// h_0 = x, h_1, …, and p.
    fn pass(&self, input: &Tensor, masks: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut activations = vec![input.shallow_clone()];
        for (index, layer) in self.layers.as_slice().iter().enumerate() {
            let h = layer.forward(&activations[index])?;
            activations.push(match masks.get(index) {
                Some(mask) => self.layers.between(|| h * mask),
                None => h,
            });
        }
        let logits = activations.pop().expect("made with an output layer");
        activations.push(self.layers.between(|| logits.softmax(-1, logits.kind())));
        Ok(activations)
    }
}

/// Copies to a device without waiting for what it has been given before.
fn to_device(tensor: Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(_) => tensor.pin_memory(device).to_device_(device, tensor.kind(), true, false),
        _ => tensor,
    }
}

impl Trainer for PepitaTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        let masks = self.draw_masks(&batch.inputs)?;
        let first = self.pass(&batch.inputs, &masks)?;
        let modulated = self.layers.between(|| {
            let error = first.last().expect("holds p") - &batch.targets;
            &batch.inputs + error.mm(&self.projection.tr())
        });
        let second = self.pass(&modulated, &masks)?;

        let last = self.layers.as_slice().len() - 1;
        for (index, input) in second[..=last].iter().enumerate() {
            let delta = self.layers.between(|| {
                let difference = match index == last {
                    false => &first[index + 1] - &second[index + 1],
                    true => &second[index + 1] - &batch.targets,
                };
                difference / batch.len() as f64
            });
            self.layers.as_mut_slice()[index].descend(input, &delta, step)?;
        }
        Ok(())
    }

    fn layers(&self) -> &Layers {
        &self.layers
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.layers.state();
        state.push(("projection".to_string(), self.projection.shallow_clone()));
        state
    }

    fn generators_mut(&mut self) -> Vec<(&'static str, &mut Generator)> {
        vec![("generator.masks", &mut self.masks)]
    }
}
