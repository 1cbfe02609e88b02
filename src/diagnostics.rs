//! How well feedback stands in for backpropagation: angles to the true gradient, layer by layer.
//!
//! Legend: b samples, C outputs, n_i outputs of hidden layer i, K layers, W_i weights, B_i feedback.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::data::{Batch, Split};
use crate::layers::Layer;
use crate::loss::Loss;
use crate::network::{Gradients, Tape};
use crate::prediction::{Drift, Predictor};
use crate::settings::domain::whole;
use crate::settings::section;
use crate::trainer::Trainer;

section! {
    /// How often the layers' gradients are compared with backpropagation's.
    #[derive(Copy)]
    pub struct Diagnostics {
        /// Epochs between two comparisons of gradients with backpropagation's; `null`: never.
        every: Option<u64> = None, whole(1..=1_000_000_000).or_null();
        /// Number of training samples for the comparison (the first ones).
        samples: i64 = 1000, whole(1..=i64::MAX);
    }
}

impl Diagnostics {
    /// Whether they are made after this epoch.
    pub fn are_due(&self, epoch: u64) -> bool {
        self.every.is_some_and(|every| epoch.is_multiple_of(every))
    }
}

/// What is measured of one hidden layer; angles in degrees.
///
/// An angle below 90° means that a small enough step lowers the loss (theorem 4 of the paper).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerAngles {
    /// Between a sample's δh_i = e · B_i and its true gradient: the mean over the samples.
    pub delta_mean: f64,
    /// Its standard deviation over the samples.
    pub delta_deviation: f64,
    /// Between all parameters' gradients under δh_i and under the true gradient.
    pub parameters: f64,
    /// Between W_K ⋯ W_{i+1} and -B_i `[C, n_i]`, if all layers behind are fully connected. The sign
    /// is that of e = y* - y, which the hidden layers get as a gradient: -B_i is what stands where
    /// backpropagation has the product.
    pub weights: Option<f64>,
    /// How far the errors have drifted in the last epoch, if the layer predicts them. These are no angles.
    #[serde(default)]
    pub drift: Option<Drift>,
}

/// Measures the hidden layers of a network that is taught with feedback; nothing is trained.
///
/// Samples on which one of the two directions vanishes count as 90°.
pub fn measure(
    trainer: &dyn Trainer,
    data: &Split,
    loss: Loss,
    samples: i64,
) -> Result<Vec<LayerAngles>> {
    let _no_grad = tch::no_grad_guard();
    let count = samples.min(data.len());
    let positions = Tensor::arange(count, (Kind::Int64, data.inputs.device()));
    let batch = data.batches(&positions, count).next().expect("a data set has samples");
    let errors = trainer.teaching_errors(&batch)?;
    let errors = errors.context("diagnostics need an algorithm that teaches with feedback")?;
    let layers = trainer.layers().as_slice();
    let tapes = record(layers, &batch.inputs);
    let truth = true_gradients(layers, &tapes, &batch, loss);

    let mut angles = Vec::new();
    for (index, (layer, tape)) in layers[..layers.len() - 1].iter().zip(&tapes).enumerate() {
        let feedback = layer.feedback();
        let feedback = feedback.with_context(|| format!("layer {} has no feedback", index + 1))?;
        let delta = errors[index].to_device(feedback.device()).mm(feedback);
        // A tape's graph is gone through once; these gradients need one of their own.
        let taught = layer.block().gradients(&layer.block().record(&tape.input), &delta, false);
        let (true_delta, true_parameters) = &truth[index];
        let per_sample = angle(&delta, true_delta);
        angles.push(LayerAngles {
            delta_mean: per_sample.mean(Kind::Double).double_value(&[]),
            delta_deviation: if count == 1 { 0.0 } else { per_sample.std(true).double_value(&[]) },
            parameters: angle(&as_row(&taught.parameters), &as_row(true_parameters))
                .double_value(&[0]),
            weights: forward_product(&layers[index + 1..]).map(|product| {
                let flat = |matrix: &Tensor| matrix.to_device(Device::Cpu).reshape([1, -1]);
                angle(&flat(&product), &flat(&feedback.neg())).double_value(&[0])
            }),
            drift: layer.predictor().and_then(Predictor::drift),
        });
    }
    Ok(angles)
}

/// A forward pass that the blocks themselves record: what an engine keeps is for its own steps.
fn record(layers: &[Layer], inputs: &Tensor) -> Vec<Tape> {
    let mut tapes: Vec<Tape> = Vec::with_capacity(layers.len());
    for layer in layers {
        let input = tapes.last().map_or(inputs, |tape| &tape.output);
        let tape = layer.block().record(&layer.bring(input));
        tapes.push(tape);
    }
    tapes
}

/// For each layer the gradient of its output and those of its parameters, by backpropagation.
fn true_gradients(
    layers: &[Layer],
    tapes: &[Tape],
    batch: &Batch,
    loss: Loss,
) -> Vec<(Tensor, Vec<Tensor>)> {
    let output = &tapes.last().expect("has an output layer").output;
    let mut delta = Some(loss.gradient(output, &batch.targets.to_device(output.device())));
    let mut gradients = Vec::new();
    for (index, (layer, tape)) in layers.iter().zip(tapes).enumerate().rev() {
        let output_gradient = delta.take().expect("only the first layer's input has none");
        let output_gradient = layer.bring(&output_gradient);
        let Gradients { parameters, input } =
            layer.block().gradients(tape, &output_gradient, index > 0);
        gradients.push((output_gradient, parameters));
        delta = input;
    }
    gradients.reverse();
    gradients
}

/// The product of the weights of these layers, the last one leftmost: `[C, n]`.
fn forward_product(layers: &[Layer]) -> Option<Tensor> {
    let mut weights = layers.iter().rev().map(|layer| Some(layer.block().as_dense()?.weight()));
    let last = weights.next()??.shallow_clone();
    weights.try_fold(last, |product, weight| Some(product.mm(&weight?.to_device(product.device()))))
}

/// Angles in degrees between the rows of two matrices: double `[rows]`.
fn angle(a: &Tensor, b: &Tensor) -> Tensor {
    let [a, b] = [a, b].map(|matrix| matrix.to_kind(Kind::Double));
    let dot = |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist([-1i64].as_slice(), false, None);
    let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
    cosine.nan_to_num(0.0, None, None).clamp(-1.0, 1.0).acos() * (180.0 / std::f64::consts::PI)
}

fn as_row(tensors: &[Tensor]) -> Tensor {
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.flatten(0, -1)).collect();
    Tensor::cat(&flat, 0).unsqueeze(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_between_rows_and_in_degrees() {
        let a = Tensor::from_slice(&[1f32, 0.0, 1.0, 1.0, 2.0, 0.0, 0.0, 0.0]).reshape([4, 2]);
        let b = Tensor::from_slice(&[0f32, 3.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0]).reshape([4, 2]);
        let found: Vec<f64> = angle(&a, &b).try_into().unwrap();
        for (found, expected) in found.iter().zip([90.0, 45.0, 180.0, 90.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
    }
}
