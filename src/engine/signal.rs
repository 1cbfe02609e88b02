//! What teaches a layer, and how rows become training steps.
//!
//! Legend: r rows (samples of one or more batches), b batch, n outputs of the layer, C outputs of the
//! network.

use tch::Tensor;

use crate::loss::Loss;

/// What teaches a layer.
#[derive(Clone, Copy)]
pub enum Signal<'a> {
    /// The gradient of the outputs is δh = e · B (eq. 1 of the paper).
    Feedback {
        /// e `[r, C]`
        error: &'a Tensor,
        /// B `[C, n]`
        matrix: &'a Tensor,
    },
    /// The gradient of the outputs is that of the mean loss of each batch.
    Targets {
        /// y* `[r, n]`
        targets: &'a Tensor,
        /// L
        loss: Loss,
    },
    /// The gradient δh `[r, n]` of the outputs itself.
    Gradient(&'a Tensor),
}

impl<'a> Signal<'a> {
    /// What belongs to the rows: e, y* or δh.
    pub(super) fn rows(&self) -> &'a Tensor {
        match *self {
            Signal::Feedback { error: rows, .. }
            | Signal::Targets { targets: rows, .. }
            | Signal::Gradient(rows) => rows,
        }
    }

    /// The same signal for other rows.
    pub(super) fn with_rows<'b>(&self, rows: &'b Tensor) -> Signal<'b>
    where
        'a: 'b,
    {
        match *self {
            Signal::Feedback { matrix, .. } => Signal::Feedback { error: rows, matrix },
            Signal::Targets { loss, .. } => Signal::Targets { targets: rows, loss },
            Signal::Gradient(_) => Signal::Gradient(rows),
        }
    }

    /// δh `[b, n]` for one batch with these outputs `[b, n]`.
    pub(super) fn output_gradient(&self, output: &Tensor) -> Tensor {
        match *self {
            Signal::Feedback { error, matrix } => error.mm(matrix),
            Signal::Targets { targets, loss } => loss.gradient(output, targets),
            Signal::Gradient(gradient) => gradient.shallow_clone(),
        }
    }
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
