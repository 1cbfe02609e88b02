//! First values of parameters.

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use crate::generator::Generator;

/// A weight of this shape, whose first dimension counts the outputs, as PyTorch's layers draw it: from
/// U(-1/√fan_in, 1/√fan_in), where fan_in counts the inputs of an output.
pub(super) fn weight(shape: &[i64], generator: &mut Generator, device: Device) -> Result<Tensor> {
    // Kaiming's bound with a = √5, in the order of operations that PyTorch rounds in.
    let bound = 3f64.sqrt() * ((2.0f64 / 6.0).sqrt() / fan_in(shape).sqrt());
    uniform(shape, bound, generator, device)
}

/// A weight of this shape from U(-√(6/fan_in), √(6/fan_in)), He et al.'s for ReLU.
pub(super) fn he_weight(
    shape: &[i64],
    generator: &mut Generator,
    device: Device,
) -> Result<Tensor> {
    uniform(shape, (6.0 / fan_in(shape)).sqrt(), generator, device)
}

/// A weight of this shape and a bias beside it, drawn in this order as in PyTorch's layers.
pub(super) fn weight_and_bias(
    shape: &[i64],
    generator: &mut Generator,
    device: Device,
) -> Result<(Tensor, Tensor)> {
    let weight = weight(shape, generator, device)?;
    let bias = uniform(&shape[..1], 1.0 / fan_in(shape).sqrt(), generator, device)?;
    Ok((weight, bias))
}

fn fan_in(shape: &[i64]) -> f64 {
    shape[1..].iter().product::<i64>() as f64
}

fn uniform(shape: &[i64], bound: f64, generator: &mut Generator, device: Device) -> Result<Tensor> {
    let no_memory = || {
        let shape: Vec<String> = shape.iter().map(i64::to_string).collect();
        format!("no memory for a layer of {} weights", shape.join(" x "))
    };
    let values = generator.uniform(shape, -bound, bound).with_context(no_memory)?;
    values.f_to_device(device).with_context(no_memory)
}
