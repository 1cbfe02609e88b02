//! Which error information teaches the hidden layers: the variants of F³, DFA and DRTP.
//!
//! The conventions of sign and scale stand here and nowhere else. Hidden layer i receives
//! `δh_i = e · B_i` **as a gradient**, where e = y* - y: the sign is plus, and e is not divided by
//! the batch size, while the output layer's gradient is that of a mean loss. `DelayedLoss` and its
//! variants store *minus* the derivative of the mean loss, so they do carry the factor 1/(b·C).
//!
//! Legend: b batch, C outputs, y `[b, C]` the output after its activation, y* `[b, C]` the targets.

use tch::{Kind, Tensor};

use crate::batches::{in_batches, joined};
use crate::loss::Loss;
use crate::settings::named;

named! {
    /// What the hidden layers are taught with (Flügel et al. 2024, sections 3 and 4).
    ///
    /// ```
    /// use f3_tch::error_info::{ErrorInfo, Timing};
    /// use f3_tch::loss::Loss;
    /// use f3_tch::tch::Tensor;
    ///
    /// let row = |values: &[f64]| Tensor::from_slice(values).view([1, -1]);
    /// let (output, targets) = (row(&[0.25, 0.5]), row(&[1.0, 0.0]));
    /// let info = ErrorInfo::DelayedError;
    /// assert_eq!(info.timing(), Timing::Delayed);
    /// // In the first epoch nothing is stored yet, and the targets teach.
    /// assert_eq!(info.signal(None, &targets), targets);
    /// let stored = info.observe(&output, &targets, Loss::BinaryCrossEntropy); // y* - y
    /// assert_eq!(info.signal(Some(&stored), &targets), row(&[0.75, -0.5]));
    /// ```
    pub enum ErrorInfo {
        /// DRTP: the targets y*.
        OneHotTarget = "one_hot_target",
        /// DFA: y* - y of this very batch, before any layer steps.
        CurrentError = "current_error",
        /// DFA for networks that put out logits: y* - softmax(y) of this very batch.
        CurrentErrorSoftmax = "current_error_softmax",
        /// F³-Error: this sample's y* - y of the previous epoch.
        DelayedError = "delayed_error",
        /// F³-Loss: this sample's -∂L/∂y of the previous epoch.
        DelayedLoss = "delayed_loss",
        /// y* ⊙ the delayed error: only the true class teaches.
        DelayedErrorOneHot = "delayed_error_one_hot",
        /// y* ⊙ the delayed loss derivative: only the true class teaches.
        DelayedLossOneHot = "delayed_loss_one_hot",
        /// y* - softmax(y) of the previous epoch; the softmax stands on top of the output activation.
        DelayedErrorSoftmax = "delayed_error_softmax",
        /// -∂L(softmax(y), y*)/∂y of the previous epoch.
        DelayedLossSoftmax = "delayed_loss_softmax",
        /// y* - sigmoid(y) of the previous epoch, for networks that put out logits.
        DelayedErrorSigmoid = "delayed_error_sigmoid",
        /// This sample's present y* - y, which each layer predicts from its guess of the network's output and,
        /// if wanted, from the error of the previous epoch; with `loss: cross_entropy` y* - softmax(y).
        DelayedErrorPredicted = "delayed_error_predicted",
        /// Nothing: the hidden layers get a gradient of zero.
        Zeros = "zeros",
    }
}

/// When error information is known, and so what a training step must do for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Before the forward pass, from the sample alone.
    Known,
    /// Only after this batch's forward pass: layers cannot learn on the way.
    Current,
    /// From the previous epoch, out of the error store.
    Delayed,
}

impl ErrorInfo {
    /// When this information is known.
    pub fn timing(self) -> Timing {
        match self {
            ErrorInfo::OneHotTarget | ErrorInfo::Zeros => Timing::Known,
            ErrorInfo::CurrentError | ErrorInfo::CurrentErrorSoftmax => Timing::Current,
            _ => Timing::Delayed,
        }
    }

    /// The e `[b, C]` that the hidden layers get, from what the store holds for the batch.
    ///
    /// `stored` is what [`ErrorInfo::observe`] gave for these samples, or y* in the first epoch;
    /// information that is known without it ignores it.
    pub fn signal(self, stored: Option<&Tensor>, targets: &Tensor) -> Tensor {
        match (self, stored) {
            (ErrorInfo::Zeros, _) => targets.zeros_like(),
            (ErrorInfo::DelayedErrorOneHot | ErrorInfo::DelayedLossOneHot, Some(stored)) => {
                targets * stored
            }
            (_, Some(stored)) => stored.shallow_clone(),
            (_, None) => targets.shallow_clone(),
        }
    }

    /// The error information `[b, C]` of an output: what is stored for the next epoch, or, for
    /// current kinds, handed to the hidden layers at once.
    pub fn observe(self, output: &Tensor, targets: &Tensor, loss: Loss) -> Tensor {
        use ErrorInfo::*;
        match self {
            OneHotTarget => targets.shallow_clone(),
            Zeros => targets.zeros_like(),
            CurrentError | DelayedError | DelayedErrorOneHot => targets - output,
            DelayedLoss | DelayedLossOneHot => -loss.gradient(output, targets),
            DelayedErrorSoftmax | CurrentErrorSoftmax => {
                targets - output.softmax(-1, output.kind())
            }
            DelayedErrorSigmoid => targets - output.sigmoid(),
            DelayedErrorPredicted => targets - loss.scores(output),
            DelayedLossSoftmax => {
                let probabilities = output.softmax(-1, output.kind());
                let gradient = loss.gradient(&probabilities, targets);
                -softmax_backward(&gradient, &probabilities)
            }
        }
    }

    /// As [`ErrorInfo::observe`], of several batches of `batch_size` rows, the last of which may have
    /// fewer: the same numbers as those of one after the other.
    pub(crate) fn observe_batches(
        self,
        output: &Tensor,
        targets: &Tensor,
        loss: Loss,
        batch_size: i64,
    ) -> Tensor {
        // The derivative of a mean loss depends on the batch; and libtorch's exponentials, in the last
        // bit, on where an element stands. A difference depends on neither.
        let is_difference = match self {
            ErrorInfo::DelayedError | ErrorInfo::DelayedErrorOneHot => true,
            ErrorInfo::DelayedErrorPredicted => loss != Loss::CrossEntropy,
            _ => false,
        };
        if is_difference {
            return self.observe(output, targets, loss);
        }
        let batches = in_batches(output, batch_size).zip(in_batches(targets, batch_size));
        joined(batches.map(|(output, targets)| self.observe(&output, &targets, loss)).collect())
    }
}

/// ∂L/∂y from g = ∂L/∂p `[b, C]` through p = softmax(y): p ⊙ (g - Σ_C g p).
fn softmax_backward(gradient: &Tensor, probabilities: &Tensor) -> Tensor {
    let mean = (gradient * probabilities).sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>);
    probabilities * (gradient - mean)
}
