//! Any block, by libtorch's operations.

use anyhow::Result;
use tch::Tensor;

use super::{Engine, Norm, Signal, Step, Teaching, parameters, step_along};
use crate::network::{Block, Tape};
use crate::optimizer::{Optimizer, OptimizerSettings};

/// Computes a block and its gradients as the block itself says, and steps it with libtorch's fused
/// optimizers.
pub struct BlockEngine {
    block: Box<dyn Block>,
    optimizer: Optimizer,
    gradient_norm: Option<Norm>,
}

impl BlockEngine {
    /// An engine whose optimizer starts from zero.
    pub fn new(block: Box<dyn Block>, optimizer: &OptimizerSettings) -> Result<BlockEngine> {
        let optimizer = optimizer.build(&parameters(block.as_ref()))?;
        Ok(BlockEngine { block, optimizer, gradient_norm: None })
    }
}

impl Engine for BlockEngine {
    fn block(&self) -> &dyn Block {
        self.block.as_ref()
    }

    fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        Ok(self.block.forward(input))
    }

    fn record(&self, input: &Tensor) -> Result<Tape> {
        Ok(self.block.record(input))
    }

    fn step(
        &mut self,
        tape: &Tape,
        rows: &Tensor,
        signal: Signal,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Teaching>> {
        let output_gradient = signal.output_gradient(rows, &tape.output);
        let gradients = self.block.gradients(tape, &output_gradient, input_too);
        self.apply(&gradients.parameters, step)?;
        Ok(gradients.input.map(Teaching::gradient))
    }

    fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()> {
        let BlockEngine { block, optimizer, gradient_norm } = self;
        step_along(gradients, block.as_ref(), optimizer, step, gradient_norm)
    }

    fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(Norm::value)
    }
}
