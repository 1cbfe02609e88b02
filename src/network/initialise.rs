//! First values of parameters.

use anyhow::{Context, Result};
use tch::{Device, Tensor};

use crate::generator::Generator;

/// How a weight is drawn that sums over `fan_in` inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightInit {
    /// U(-1/√fan_in, 1/√fan_in), the default of PyTorch's layers.
    PyTorch,
    /// U(-√(6/fan_in), √(6/fan_in)), He et al.'s for ReLU.
    He,
}

/// A weight of this shape, whose first dimension counts the outputs.
pub(super) fn weight(
    shape: &[i64],
    init: WeightInit,
    generator: &mut Generator,
    device: Device,
) -> Result<Tensor> {
    let fan_in = shape[1..].iter().product::<i64>() as f64;
    let bound = match init {
        // Kaiming's bound with a = √5, in the order of operations that PyTorch rounds in.
        WeightInit::PyTorch => 3f64.sqrt() * ((2.0f64 / 6.0).sqrt() / fan_in.sqrt()),
        WeightInit::He => (6.0 / fan_in).sqrt(),
    };
    uniform(shape, bound, generator, device)
}

/// A bias beside a weight of this shape, drawn as in PyTorch's layers.
pub(super) fn bias(
    weight_shape: &[i64],
    generator: &mut Generator,
    device: Device,
) -> Result<Tensor> {
    let fan_in = weight_shape[1..].iter().product::<i64>() as f64;
    uniform(&weight_shape[..1], 1.0 / fan_in.sqrt(), generator, device)
}

fn uniform(shape: &[i64], bound: f64, generator: &mut Generator, device: Device) -> Result<Tensor> {
    let no_memory = || {
        let shape: Vec<String> = shape.iter().map(i64::to_string).collect();
        format!("no memory for a layer of {} weights", shape.join(" x "))
    };
    let values = generator.uniform(shape, -bound, bound).with_context(no_memory)?;
    values.f_to_device(device).with_context(no_memory)
}
