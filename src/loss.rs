//! Losses, and the output activations that go with them.
//!
//! Legend: b batch, C outputs, y `[b, C]` the network's output after its activation, y* `[b, C]` the
//! targets.

use tch::{Reduction, Tensor};

/// What the output layer minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Binary cross-entropy over C independent outputs, each in (0, 1).
    ///
    /// As in PyTorch the logarithms are clamped at -100, and the derivative divides by
    /// max(y (1 - y), 1e-12): behind a sigmoid a saturated output has gradient 0.
    BinaryCrossEntropy,
    /// Mean squared error.
    MeanSquaredError,
}

impl Loss {
    /// The derivative ∂L/∂y `[b, C]` of the loss averaged over all b·C elements.
    pub fn gradient(self, output: &Tensor, targets: &Tensor) -> Tensor {
        let one = Tensor::ones([], (output.kind(), output.device()));
        match self {
            Loss::BinaryCrossEntropy => {
                output.binary_cross_entropy_backward(&one, targets, None::<Tensor>, Reduction::Mean)
            }
            Loss::MeanSquaredError => output.mse_loss_backward(&one, targets, Reduction::Mean),
        }
    }

    /// The loss summed over all elements, as a scalar tensor on the output's device; NaN if an
    /// output is.
    pub fn sum(self, output: &Tensor, targets: &Tensor) -> Tensor {
        match self {
            Loss::BinaryCrossEntropy => {
                // libtorch's own `binary_cross_entropy` stops the program at a NaN.
                let log = |tensor: Tensor| -> Tensor { tensor.clamp_min(-100.0) };
                let hits: Tensor = targets * log(output.log());
                let misses: Tensor = targets.rsub_scalar(1.0) * log(output.neg().log1p());
                (hits + misses).sum(output.kind()).neg()
            }
            Loss::MeanSquaredError => output.mse_loss(targets, Reduction::Sum),
        }
    }
}
