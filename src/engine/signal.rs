//! What teaches a layer, and how rows become training steps.
//!
//! Legend: r rows (samples of one or more batches), b batch, n outputs of the layer, C outputs of the
//! network.

use tch::Tensor;

use crate::loss::Loss;
use crate::process::use_threads;

/// How rows, one for each sample, teach a layer.
#[derive(Clone, Copy)]
pub enum Signal<'a> {
    /// The rows are e `[r, C]`: with this B `[C, n]`, the gradient of the outputs is δh = e · B (eq. 1
    /// of the paper).
    Feedback(&'a Tensor),
    /// The rows are y* `[r, n]`: the gradient of the outputs is that of the mean loss of each batch.
    Loss(Loss),
    /// The rows are the gradient δh `[r, n]` of the outputs itself.
    Gradient,
}

impl Signal<'_> {
    /// δh `[b, n]` of the rows of one batch with these outputs `[b, n]`.
    pub(super) fn output_gradient(self, rows: &Tensor, output: &Tensor) -> Tensor {
        match self {
            Signal::Feedback(matrix) => rows.mm(matrix),
            Signal::Loss(loss) => loss.gradient(output, rows),
            Signal::Gradient => rows.shallow_clone(),
        }
    }
}

/// The rows of one batch, and how they teach: what a layer hands back to the one before.
pub struct Teaching {
    /// `[b, n]`, or `[b, C]` with a matrix.
    pub rows: Tensor,
    /// If there is one, the rows are e of [`Signal::Feedback`] with it, else δh itself.
    pub matrix: Option<Tensor>,
}

impl Teaching {
    /// By the gradient δh `[b, n]` of the outputs.
    pub fn gradient(rows: Tensor) -> Teaching {
        Teaching { rows, matrix: None }
    }

    /// How the rows teach.
    pub fn signal(&self) -> Signal<'_> {
        self.matrix.as_ref().map_or(Signal::Gradient, Signal::Feedback)
    }
}

/// As [`Signal::output_gradient`], beside the fused kernels: libtorch's OpenMP threads would go on spinning
/// where the kernels' own threads compute next.
pub(super) fn output_gradient(signal: Signal, rows: &Tensor, output: &Tensor) -> Tensor {
    let _threads = use_threads(Some(1));
    signal.output_gradient(rows, output)
}

/// How rows become training steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// η of every step.
    pub learning_rate: f64,
    /// b: a step is taken for so many rows; the last one may have fewer.
    pub batch_size: i64,
    /// Whether the last step's gradient is measured, see [`Engine::gradient_norm`](super::Engine::gradient_norm).
    pub watch: bool,
}

impl Step {
    /// One step for all rows, which are one batch.
    pub fn for_batch(self, rows: &Tensor) -> Step {
        Step { batch_size: rows.size()[0], ..self }
    }
}
