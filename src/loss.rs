//! Losses, and the output activations that go with them.
//!
//! Legend: b batch, C outputs, y `[b, C]` the network's output after its activation, y* `[b, C]` the
//! targets.

use tch::{Reduction, Tensor};

use crate::activation::Activation;
use crate::settings::named;

named! {
    /// What the output layer minimises.
    ///
    /// ```
    /// use f3_tch::loss::Loss;
    /// use f3_tch::tch::Tensor;
    ///
    /// let row = |values: &[f64]| Tensor::from_slice(values).view([1, -1]);
    /// let (output, targets) = (row(&[0.5, 3.0]), row(&[1.0, 2.0]));
    /// let loss = Loss::MeanSquaredError;
    /// assert_eq!(loss.sum(&output, &targets).double_value(&[]), 0.25 + 1.0);
    /// assert_eq!(loss.gradient(&output, &targets), row(&[-0.5, 1.0])); // 2 (y - y*) / (b C)
    /// ```
    pub enum Loss {
        /// Binary cross-entropy over C independent sigmoid outputs.
        ///
        /// As in PyTorch the logarithms are clamped at -100, and the derivative divides by
        /// max(y (1 - y), 1e-12): behind a sigmoid a saturated output has gradient 0.
        BinaryCrossEntropy = "bce",
        /// Mean squared error of linear outputs.
        MeanSquaredError = "mse",
        /// Cross-entropy of softmax(y) for logits y: PyTorch's `log_softmax` and `nll_loss`.
        CrossEntropy = "cross_entropy",
    }
}

impl Loss {
    /// The activation of an output layer with this loss.
    pub fn output_activation(self) -> Activation {
        match self {
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
            Loss::MeanSquaredError | Loss::CrossEntropy => Activation::Identity,
        }
    }

    /// What is measured as a classifier's output: softmax(y) of logits, else y itself.
    pub fn scores(self, output: &Tensor) -> Tensor {
        match self {
            Loss::CrossEntropy => output.softmax(-1, output.kind()),
            Loss::BinaryCrossEntropy | Loss::MeanSquaredError => output.shallow_clone(),
        }
    }

    /// The derivative ∂L/∂y `[b, C]` of the mean loss: over all b·C elements, or, of the
    /// cross-entropy, over the b samples.
    pub fn gradient(self, output: &Tensor, targets: &Tensor) -> Tensor {
        let one = Tensor::ones([], (output.kind(), output.device()));
        match self {
            Loss::BinaryCrossEntropy => {
                output.binary_cross_entropy_backward(&one, targets, None::<Tensor>, Reduction::Mean)
            }
            Loss::MeanSquaredError => output.mse_loss_backward(&one, targets, Reduction::Mean),
            Loss::CrossEntropy => {
                (output.softmax(-1, output.kind()) - targets) / output.size()[0] as f64
            }
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
            Loss::CrossEntropy => {
                let log_probabilities = output.log_softmax(-1, output.kind());
                (targets * log_probabilities).sum(output.kind()).neg()
            }
        }
    }
}
