//! Fully connected layers by kernels in which forward pass, gradient and step are one pass.
//!
//! Legend: r rows, b batch, m inputs, n outputs of the layer, C outputs of the network.

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::{Engine, Forward, Norm, Signal, Step, batch_by_batch, parameters, step_along};
use crate::loss::Loss;
use crate::native::dense::{self, DenseLayer, DenseLoss, Steps};
use crate::network::{Block, Dense, Tape};
use crate::optimizer::{Optimizer, OptimizerSettings};

/// A fully connected block whose outputs the kernels compute.
pub struct FusedForward(Dense);

impl FusedForward {
    /// Shares the block's parameters.
    ///
    /// # Errors
    /// If the kernels do not know the block, with the reason: this is the only place that tells.
    pub fn new(block: &dyn Block) -> Result<FusedForward> {
        let dense = block.as_dense().context("the fused kernels are for `model.name: mlp`")?;
        if parameters(dense).iter().any(|it| it.device() != Device::Cpu) {
            bail!("the fused kernels are for the CPU");
        }
        dense.kernel_activation().context("the fused kernels have no `model.activation: gelu`")?;
        Ok(FusedForward(dense.shallow_clone()))
    }

    fn layer(&self) -> Result<DenseLayer<'_>> {
        let activation = self.0.kernel_activation().context("checked when this was made")?;
        Ok(DenseLayer { weight: self.0.weight(), bias: self.0.bias(), activation, half: false })
    }
}

impl Forward for FusedForward {
    fn block(&self) -> &dyn Block {
        &self.0
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        dense::forward(self.layer()?, input)
    }
}

/// A fully connected layer that learns in one pass over its inputs: a strip of neurons goes through
/// all batches before the next strip does.
pub struct FusedDense {
    forward: FusedForward,
    optimizer: Optimizer,
    half: bool, // whether feedback teaches in bfloat16
    gradient_norm: Option<Norm>,
}

impl FusedDense {
    /// An engine whose optimizer starts from zero. With `half` the layer multiplies bfloat16 where it
    /// learns from feedback, and adds in float32, in which weights and optimizer state stay; where
    /// the processor cannot, learning fails.
    ///
    /// # Errors
    /// If the block or the optimizer cannot be fused, with the reason.
    pub fn new(block: &dyn Block, optimizer: &OptimizerSettings, half: bool) -> Result<FusedDense> {
        let forward = FusedForward::new(block)?;
        optimizer.can_be_fused()?;
        let optimizer = optimizer.build(&parameters(block))?;
        Ok(FusedDense { forward, optimizer, half, gradient_norm: None })
    }

    /// Runs a kernel that takes the optimizer's next `steps` steps.
    fn run<T>(
        &mut self,
        steps: i64,
        step: &Step,
        kernel: impl FnOnce(DenseLayer, &Steps, Option<&Tensor>) -> Result<T>,
    ) -> Result<T> {
        let layer = self.forward.layer()?;
        let steps = self.optimizer.take(steps as usize, step.learning_rate);
        // Each neuron's squared norm.
        let squares =
            step.watch.then(|| Tensor::zeros([layer.weight.size()[0]], (Kind::Float, Device::Cpu)));
        let result = kernel(layer, &steps, squares.as_ref())?;
        if let Some(squares) = squares {
            self.gradient_norm = Some(Norm::of(squares.sum(Kind::Float).sqrt()));
        }
        Ok(result)
    }
}

impl Forward for FusedDense {
    fn block(&self) -> &dyn Block {
        self.forward.block()
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.forward.forward(input)
    }
}

impl Engine for FusedDense {
    fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    fn record(&self, input: &Tensor) -> Result<Tape> {
        let output = self.forward(input)?;
        Ok(Tape { input: input.shallow_clone(), output, kept: None })
    }

    /// All rows at once: a row's outputs do not depend on the other rows.
    fn pass(&self, input: &Tensor, _batch_size: i64) -> Result<Tensor> {
        self.forward(input)
    }

    fn learn(&mut self, input: &Tensor, signal: Signal, step: &Step) -> Result<Tensor> {
        let (b, half) = (step.batch_size, self.half);
        let steps = (input.size()[0] + b - 1) / b;
        match signal {
            Signal::Feedback { error, matrix } => self.run(steps, step, |layer, steps, squares| {
                let layer = DenseLayer { half, ..layer };
                dense::learn(layer, input, b, error, matrix, steps, squares)
            }),
            Signal::Targets { targets, loss } => match kernel_loss(loss) {
                Some(loss) => self.run(steps, step, |layer, steps, squares| {
                    dense::fit(layer, input, b, targets, loss, steps, squares)
                }),
                None => batch_by_batch(self, input, signal, step),
            },
            Signal::Gradient(_) => batch_by_batch(self, input, signal, step),
        }
    }

    fn step(
        &mut self,
        tape: &Tape,
        signal: Signal,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Tensor>> {
        let Tape { input: x, output: h, .. } = tape;
        if let Signal::Feedback { error, matrix } = signal
            && !input_too
        {
            return self.run(1, step, |layer, steps, squares| {
                dense::teach(layer, x, h, error, matrix, steps, squares).map(|()| None)
            });
        }
        let block = &self.forward.0;
        let delta = block.preactivation_gradient(&signal.output_gradient(h), h);
        let input_gradient = match input_too {
            true => Some(dense::backward(block.backward_weight(), &delta)?),
            false => None,
        };
        let rows = x.size()[0];
        self.run(1, step, |layer, steps, squares| {
            dense::step(layer, x, rows, &delta, steps, squares)
        })?;
        Ok(input_gradient)
    }

    fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()> {
        let watched = step_along(&mut self.optimizer, &self.forward.0, gradients, step)?;
        self.gradient_norm = watched.or(self.gradient_norm.take());
        Ok(())
    }

    fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(Norm::value)
    }
}

/// A loss as the kernels take it, if they have it.
fn kernel_loss(loss: Loss) -> Option<DenseLoss> {
    match loss {
        Loss::BinaryCrossEntropy => Some(DenseLoss::BinaryCrossEntropy),
        Loss::MeanSquaredError => Some(DenseLoss::MeanSquaredError),
        Loss::CrossEntropy => None,
    }
}
