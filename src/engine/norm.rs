//! Norms of parameters and gradients.

use tch::{Device, Kind, Tensor};

/// A norm that is read from the device only when somebody asks. On the CPU it is a number at once: a
/// tensor that stays would lie between the large ones that come and go, and keep their memory from
/// being used again.
pub(super) enum Norm {
    Known(f64),
    OnDevice(Tensor),
}

impl Norm {
    pub(super) fn of(norm: Tensor) -> Norm {
        match norm.device() {
            Device::Cpu => Norm::Known(norm.double_value(&[])),
            _ => Norm::OnDevice(norm),
        }
    }

    pub(super) fn value(&self) -> f64 {
        match self {
            Norm::Known(norm) => *norm,
            Norm::OnDevice(norm) => norm.double_value(&[]),
        }
    }
}

/// The L2 norm of some tensors taken as one long vector, as a scalar tensor in float64: squares of
/// float32 numbers may be larger than such numbers can be.
pub(crate) fn norm<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Tensor {
    const PART: i64 = 1 << 20; // elements that are copied at a time
    let norm = |part: Tensor| part.norm_scalaropt_dtype(2, Kind::Double);
    let parts = tensors.into_iter().flat_map(|tensor| tensor.flatten(0, -1).split(PART, 0));
    let norms: Vec<Tensor> = parts.map(norm).collect();
    if norms.is_empty() {
        return Tensor::from(0f64);
    }
    norm(Tensor::stack(&norms, 0))
}
