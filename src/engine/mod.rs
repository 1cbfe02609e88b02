//! Who computes a layer: the seam between what a layer is and the arithmetic that runs it.
//!
//! An engine owns a block and the optimizer that steps it. [`BlockEngine`] runs any block with
//! libtorch's operations, [`FusedDense`] a fully connected one and [`FusedTransformer`] one of a
//! transformer with kernels in which forward pass and gradients are one pass. Which of them a layer gets is decided by [`EngineSettings::build`],
//! once, when the layer is made. A new engine is a file beside these and a line there.
//!
//! Legend: r rows (samples of one or more batches), b batch, m inputs, n outputs of the block, C outputs
//! of the network.

mod block;
mod fused_dense;
mod fused_transformer;
mod fusible;
mod norm;
mod settings;
mod signal;

pub use block::BlockEngine;
pub use fused_dense::FusedDense;
pub use fused_transformer::FusedTransformer;
pub use fusible::{all_can_be_fused, forward};
pub(crate) use norm::norm;
pub use settings::{EngineSettings, Kernels, Precision};
pub use signal::{Signal, Step, Teaching};

use anyhow::Result;
use norm::Norm;
use tch::Tensor;

use crate::batches::{in_batches, joined};
use crate::network::{Block, Tape};
use crate::optimizer::Optimizer;

/// Computes a block, its gradients and its steps.
pub trait Engine: Send {
    /// What is computed.
    fn block(&self) -> &dyn Block;

    /// Whether our own kernels compute it, with threads of their own.
    fn is_fused(&self) -> bool {
        false
    }

    /// Has libtorch's threads compute it from now on, which compute other layers of the network.
    fn go_beside_libtorch(&mut self) {}

    /// The optimizer and its state.
    fn optimizer(&self) -> &Optimizer;

    /// h `[r, n]` from x `[r, m]`.
    fn forward(&self, input: &Tensor) -> Result<Tensor>;

    /// As [`Engine::forward`] for one batch, keeping what a later [`Engine::step`] needs.
    fn record(&self, input: &Tensor) -> Result<Tape>;

    /// One step on a recorded batch, of these rows of the signal; if `input_too`, gives what teaches the
    /// layer before in backpropagation, of the weights before the step: δx `[b, m]`, or two factors of it.
    fn step(
        &mut self,
        tape: &Tape,
        rows: &Tensor,
        signal: Signal,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Teaching>>;

    /// One step of a fully connected block without bias along δᵀ x, with a δ `[b, n]` of its
    /// preactivations, wherever that comes from, and x `[b, m]`.
    fn descend(&mut self, input: &Tensor, delta: &Tensor, step: &Step) -> Result<()> {
        self.apply(&[delta.tr().mm(input)], step)
    }

    /// One step along gradients of the parameters, in their order, wherever these come from.
    fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()>;

    /// The L2 norm of all parameters' gradients together in the last watched step, if there was one.
    fn gradient_norm(&self) -> Option<f64>;

    /// h `[r, n]` from x `[r, m]`, batch by batch, as [`Engine::record`] computes it.
    fn pass(&self, input: &Tensor, batch_size: i64) -> Result<Tensor> {
        let outputs = in_batches(input, batch_size).map(|input| self.forward(&input));
        Ok(joined(outputs.collect::<Result<_>>()?))
    }

    /// Takes some batches x `[r, m]`, one after the other: a step for each, of its rows of the signal.
    /// Gives the outputs h `[r, n]`, each of the weights before its batch's step.
    fn learn(
        &mut self,
        input: &Tensor,
        rows: &Tensor,
        signal: Signal,
        step: &Step,
    ) -> Result<Tensor> {
        batch_by_batch(self, input, rows, signal, step)
    }
}

fn batch_by_batch(
    engine: &mut (impl Engine + ?Sized),
    input: &Tensor,
    rows: &Tensor,
    signal: Signal,
    step: &Step,
) -> Result<Tensor> {
    each_batch(input, rows, step, |input, rows, step| {
        let tape = engine.record(input)?;
        engine.step(&tape, rows, signal, step, false)?;
        Ok(tape.output)
    })
}

/// The outputs of all batches, which `learn` gives for the inputs, the rows and the step of each.
fn each_batch(
    input: &Tensor,
    rows: &Tensor,
    step: &Step,
    mut learn: impl FnMut(&Tensor, &Tensor, &Step) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut left = input.size()[0];
    let batches = in_batches(input, step.batch_size).zip(in_batches(rows, step.batch_size));
    let outputs = batches.map(|(input, rows)| {
        left -= input.size()[0];
        learn(&input, &rows, &Step { watch: step.watch && left == 0, ..*step })
    });
    Ok(joined(outputs.collect::<Result<_>>()?))
}

/// Steps along gradients, and keeps their norm if it is watched.
fn step_along(
    gradients: &[Tensor],
    block: &dyn Block,
    optimizer: &mut Optimizer,
    step: &Step,
    kept: &mut Option<Norm>,
) -> Result<()> {
    if step.watch {
        *kept = Some(Norm::of(norm(gradients)));
    }
    let gradients: Vec<&Tensor> = gradients.iter().collect();
    optimizer.step(&parameters(block), &gradients, step.learning_rate)
}

/// A block's parameters, in their order.
pub(crate) fn parameters(block: &dyn Block) -> Vec<&Tensor> {
    block.parameters().into_iter().map(|(_, tensor)| tensor).collect()
}

/// The tensors of an engine's optimizer that are as large as parameters; Adam's counter is not.
pub(crate) fn large_state(engine: &dyn Engine) -> impl Iterator<Item = &Tensor> {
    let state = engine.optimizer().state().into_iter().map(|(_, tensor)| tensor);
    state.filter(|tensor| tensor.dim() > 0)
}
