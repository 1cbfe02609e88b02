//! Engines whose tensors live in files.

use anyhow::Result;
use tch::Tensor;

use super::{Engine, Forward, Signal, Step, parameters};
use crate::native::drop_pages;
use crate::network::{Block, Tape};
use crate::offload::Offload;
use crate::optimizer::Optimizer;

/// An engine whose parameters and optimizer state live in files: when its turn is over, the system may
/// take their memory back.
pub struct Offloaded(Box<dyn Engine>);

impl Offloaded {
    /// Moves the optimizer's state into files, where the parameters are already (see
    /// [`Offload::take`]).
    pub fn new(engine: Box<dyn Engine>, offload: &Offload) -> Result<Offloaded> {
        large_state(engine.as_ref()).into_iter().try_for_each(|tensor| offload.take(tensor))?;
        Ok(Offloaded(engine))
    }

    fn rest(&self) -> Result<()> {
        let parameters = parameters(self.block());
        parameters.into_iter().chain(large_state(self.0.as_ref())).try_for_each(drop_pages)
    }
}

/// The optimizer's tensors that are as large as parameters; Adam's counter is not.
fn large_state(engine: &dyn Engine) -> Vec<&Tensor> {
    let state = engine.optimizer().state().into_iter().map(|(_, tensor)| tensor);
    state.filter(|tensor| tensor.dim() > 0).collect()
}

impl Forward for Offloaded {
    fn block(&self) -> &dyn Block {
        self.0.block()
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let output = self.0.forward(input)?;
        self.rest()?;
        Ok(output)
    }
}

impl Engine for Offloaded {
    fn optimizer(&self) -> &Optimizer {
        self.0.optimizer()
    }

    fn record(&self, input: &Tensor) -> Result<Tape> {
        self.0.record(input)
    }

    fn pass(&self, input: &Tensor, batch_size: i64) -> Result<Tensor> {
        let output = self.0.pass(input, batch_size)?;
        self.rest()?;
        Ok(output)
    }

    fn learn(&mut self, input: &Tensor, signal: Signal, step: &Step) -> Result<Tensor> {
        let output = self.0.learn(input, signal, step)?;
        self.rest()?;
        Ok(output)
    }

    fn step(
        &mut self,
        tape: &Tape,
        signal: Signal,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Tensor>> {
        let gradient = self.0.step(tape, signal, step, input_too)?;
        self.rest()?;
        Ok(gradient)
    }

    fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()> {
        self.0.apply(gradients, step)?;
        self.rest()
    }

    fn is_offloaded(&self) -> bool {
        true
    }

    fn gradient_norm(&self) -> Option<f64> {
        self.0.gradient_norm()
    }
}
