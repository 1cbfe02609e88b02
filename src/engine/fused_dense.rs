//! Fully connected layers by kernels in which forward pass, gradient and step are one pass.
//!
//! Legend: r rows, b batch, m inputs, n outputs of the layer, C outputs of the network.

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor};

use super::fusible::fusible;
use super::signal::output_gradient;
use super::{Engine, Norm, Signal, Step, Teaching, batch_by_batch, parameters, step_along};
use crate::native::beside_libtorch;
use crate::native::dense::{self, DenseLayer, Lesson, Teacher, loss_number};
use crate::network::{Block, Dense, Tape};
use crate::optimizer::{Optimizer, OptimizerSettings};

/// With so many outputs, δ W is a small part of a step of the layer before.
const FEW_OUTPUTS: i64 = 16;

/// The layer as the kernels take it.
pub(super) fn layer(dense: &Dense) -> DenseLayer<'_> {
    let (weight, bias, activation) = (dense.weight(), dense.bias(), dense.activation());
    DenseLayer { weight, bias, activation }
}

/// A fully connected layer that learns in one pass over its inputs: a strip of neurons goes through
/// all batches before the next strip does.
pub struct FusedDense {
    block: Dense,
    optimizer: Optimizer,
    half: bool,            // whether feedback teaches in bfloat16
    beside_libtorch: bool, // whose threads compute it, then
    gradient_norm: Option<Norm>,
}

impl FusedDense {
    /// An engine that shares the block's parameters, and whose optimizer starts from zero. With `half`
    /// the layer multiplies bfloat16 where it learns from feedback, and adds in float32, in which
    /// weights and optimizer state stay; where the processor cannot, learning fails.
    ///
    /// # Errors
    /// If the block cannot be fused, with the reason.
    pub fn new(block: &dyn Block, optimizer: &OptimizerSettings, half: bool) -> Result<FusedDense> {
        let block = block.as_dense().context("the block is not fully connected")?;
        fusible(block)?;
        let block = block.shallow_clone();
        let optimizer = optimizer.build(&parameters(&block))?;
        Ok(FusedDense { block, optimizer, half, beside_libtorch: false, gradient_norm: None })
    }

    /// Lets the kernel take a lesson's steps; gives h `[r, n]`.
    fn run(
        &mut self,
        x: &Tensor,
        h: Option<&Tensor>,
        signal: &Tensor,
        teacher: Teacher,
        step: &Step,
    ) -> Result<Tensor> {
        let _shared = beside_libtorch(self.beside_libtorch);
        ensure!(step.batch_size > 0, "a batch has {} samples", step.batch_size);
        let batch = step.batch_size.min(x.size()[0].max(1));
        let count = (x.size()[0] + batch - 1) / batch;
        let steps = self.optimizer.take(count as usize, step.learning_rate);
        let squares =
            step.watch.then(|| Tensor::zeros([self.block.outputs()], (Kind::Float, Device::Cpu)));
        let lesson = Lesson { x, h, signal, teacher, batch, squares: squares.as_ref() };
        let h = dense::learn(layer(&self.block), lesson, &steps)?;
        if let Some(squares) = squares {
            self.gradient_norm = Some(Norm::of(squares.sum(Kind::Float).sqrt()));
        }
        Ok(h)
    }
}

impl Engine for FusedDense {
    fn block(&self) -> &dyn Block {
        &self.block
    }

    fn is_fused(&self) -> bool {
        !self.beside_libtorch
    }

    fn go_beside_libtorch(&mut self) {
        self.beside_libtorch = true;
    }

    fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let _shared = beside_libtorch(self.beside_libtorch);
        dense::forward(layer(&self.block), input)
    }

    fn record(&self, input: &Tensor) -> Result<Tape> {
        let output = self.forward(input)?;
        Ok(Tape { input: input.shallow_clone(), output, kept: None })
    }

    /// All rows at once: a row's outputs do not depend on the other rows.
    fn pass(&self, input: &Tensor, _batch_size: i64) -> Result<Tensor> {
        self.forward(input)
    }

    fn learn(
        &mut self,
        input: &Tensor,
        rows: &Tensor,
        signal: Signal,
        step: &Step,
    ) -> Result<Tensor> {
        let teacher = match signal {
            Signal::Feedback(matrix) => Teacher::Feedback { matrix, half: self.half },
            Signal::Loss(loss) if loss_number(loss).is_some() => Teacher::Loss(loss),
            Signal::Loss(_) | Signal::Gradient => {
                return batch_by_batch(self, input, rows, signal, step);
            }
        };
        self.run(input, None, rows, teacher, step)
    }

    fn step(
        &mut self,
        tape: &Tape,
        rows: &Tensor,
        signal: Signal,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Teaching>> {
        let _shared = beside_libtorch(self.beside_libtorch);
        let Tape { input: x, output: h, .. } = tape;
        let step = step.for_batch(x);
        if let Signal::Feedback(matrix) = signal
            && !input_too
        {
            let teacher = Teacher::Feedback { matrix, half: false };
            return self.run(x, Some(h), rows, teacher, &step).map(|_| None);
        }
        let gradient = match self.beside_libtorch {
            true => signal.output_gradient(rows, h),
            false => output_gradient(signal, rows, h),
        };
        let delta = dense::delta(self.block.activation(), &gradient, h)?;
        let weight = self.block.backward_weight();
        let before = match input_too {
            // The layer before multiplies these itself, in the same pass in which it steps.
            true if self.block.outputs() <= FEW_OUTPUTS => {
                Some(Teaching { rows: delta.shallow_clone(), matrix: Some(weight.copy()) })
            }
            true => Some(Teaching::gradient(dense::backward(weight, &delta)?)),
            false => None,
        };
        self.run(x, Some(h), &delta, Teacher::Gradient, &step).map(|_| before)
    }

    fn descend(&mut self, input: &Tensor, delta: &Tensor, step: &Step) -> Result<()> {
        // The kernel does not read h where the gradient is known.
        let step = step.for_batch(input);
        self.run(input, Some(delta), delta, Teacher::Gradient, &step).map(|_| ())
    }

    fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()> {
        let FusedDense { block, optimizer, gradient_norm, .. } = self;
        step_along(gradients, block, optimizer, step, gradient_norm)
    }

    fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(Norm::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Generator;
    use crate::network::Activation;
    use crate::optimizer::AdamSettings;

    /// The weights after a lesson of 5 samples in batches of this size.
    fn learned(batch_size: i64) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let mut generator = Generator::new(1)?;
        let block = Dense::new(6, 20, Activation::Tanh, &mut generator, Device::Cpu)?;
        let mut draw = |shape: [i64; 2]| generator.uniform(&shape, -1.0, 1.0);
        let (x, error, matrix) = (draw([5, 6])?, draw([5, 3])?, draw([3, 20])?);
        let adam = OptimizerSettings::Adam(AdamSettings::default());
        let mut engine = FusedDense::new(&block, &adam, false)?;
        let step = Step { learning_rate: 1e-2, batch_size, watch: false };
        let _outputs = engine.learn(&x, &error, Signal::Feedback(&matrix), &step)?;
        Ok(block.parameters()[0].1.detach().copy())
    }

    #[test]
    fn a_batch_may_be_larger_than_what_there_is_but_not_empty() {
        let all = learned(5).unwrap();
        assert_ne!(learned(2).unwrap(), all);
        for larger in [6, 1 << 40, i64::MAX] {
            assert_eq!(learned(larger).unwrap(), all);
        }
        for none in [0, -1, i64::MIN] {
            let error = learned(none).unwrap_err().to_string();
            assert_eq!(error, format!("a batch has {none} samples"));
        }
    }
}
