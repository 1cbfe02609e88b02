//! Transformer blocks by kernels in which forward pass and gradients are one pass.
//!
//! Legend: b batch, r rows, m inputs, n = t·w outputs: t tokens of width w.

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use super::fusible::fusible;
use super::signal::output_gradient;
use super::{
    Engine, Norm, Signal, Step, Teaching, batch_by_batch, each_batch, norm, parameters, step_along,
};
use crate::activation::Activation;
use crate::native::dense::{self, DenseLayer, Lesson};
use crate::native::transformer::{self, Teacher, TransformerLayer};
use crate::network::{Block, Tape, TransformerBlock};
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::process::use_threads;

/// The outputs `[r, n]` of a block for inputs `[r, m]`.
pub(super) fn forward(block: &TransformerBlock, input: &Tensor) -> Result<Tensor> {
    let (_, tokens) = tokens(block, input)?;
    transformer::forward(&layer(block), &tokens)
}

/// The tokens `[r, n]` of inputs `[r, m]`, and the patches that they are made of, if the block begins
/// with that.
fn tokens(block: &TransformerBlock, input: &Tensor) -> Result<(Option<Tensor>, Tensor)> {
    let Some(embedding) = embedding(block) else {
        return Ok((None, input.shallow_clone()));
    };
    let patches = patches(block, input);
    let tokens = dense::forward(embedding, &patches)?;
    Ok((Some(patches), tokens))
}

fn patches(block: &TransformerBlock, input: &Tensor) -> Tensor {
    // libtorch's OpenMP threads would go on spinning where the kernels' own threads compute next.
    let _threads = use_threads(Some(1));
    block.patches(input)
}

/// The block from its tokens on, as the kernels take it.
fn layer(block: &TransformerBlock) -> TransformerLayer<'_> {
    let (all, shape) = (parameters(block), block.shape());
    let own = all.last_chunk().expect("what follows the embedding");
    TransformerLayer {
        tokens: block.tokens(),
        width: shape.token_width,
        heads: shape.heads,
        head_size: shape.head_size,
        hidden: shape.mlp_width,
        activation: shape.activation,
        parameters: *own,
    }
}

fn embedding(block: &TransformerBlock) -> Option<DenseLayer<'_>> {
    let (weight, bias) = block.embedding()?;
    Some(DenseLayer { weight, bias: Some(bias), activation: Activation::Identity })
}

/// A transformer block whose samples go through the whole of it, forwards and backwards, a few at a
/// time, in the core's cache.
pub struct FusedTransformer {
    block: TransformerBlock,
    optimizer: Optimizer,
    gradient_norm: Option<Norm>,
}

impl FusedTransformer {
    /// An engine that shares the block's parameters, and whose optimizer starts from zero.
    ///
    /// # Errors
    /// If the block cannot be fused, with the reason.
    pub fn new(block: &dyn Block, optimizer: &OptimizerSettings) -> Result<FusedTransformer> {
        let block = block.as_transformer().context("the block is not one of a transformer")?;
        fusible(block)?;
        let block = block.shallow_clone();
        let optimizer = optimizer.build(&parameters(&block))?;
        Ok(FusedTransformer { block, optimizer, gradient_norm: None })
    }

    /// One step on a batch of tokens `[b, n]`, made of patches if there are any; gives h `[b, n]` and,
    /// if `input_too`, δx `[b, m]`.
    fn learn_batch(
        &mut self,
        patches: Option<&Tensor>,
        tokens: &Tensor,
        signal: &Tensor,
        teacher: Teacher,
        step: &Step,
        input_too: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let FusedTransformer { block, optimizer, gradient_norm } = self;
        let layer = layer(block);
        let tokens_too = input_too || patches.is_some();
        let mut learned = transformer::learn(&layer, tokens, signal, teacher, tokens_too)?;
        let (h, of_tokens) = (learned.h.shallow_clone(), learned.input_gradient.take());
        let input_gradient = match (&of_tokens, block.embedding()) {
            (Some(delta), Some((weight, _))) if input_too => {
                let of_patches = dense::backward(weight, delta)?;
                Some(block.pixels(&of_patches))
            }
            (Some(delta), None) => Some(delta.shallow_clone()),
            _ => None,
        };
        let steps = optimizer.take(1, step.learning_rate);
        let squares = match (embedding(block), patches, &of_tokens) {
            (Some(embedding), Some(patches), Some(delta)) => {
                let squares = step
                    .watch
                    .then(|| Tensor::zeros([tokens.size()[1]], (Kind::Float, Device::Cpu)));
                let lesson = Lesson {
                    x: patches,
                    h: Some(tokens),
                    signal: delta,
                    teacher: dense::Teacher::Gradient,
                    batch: tokens.size()[0],
                    squares: squares.as_ref(),
                };
                let _ = dense::learn(embedding, lesson, &steps)?; // the tokens that are there
                squares.map(|squares| squares.sum(Kind::Double).double_value(&[]))
            }
            _ => None,
        };
        let first = if patches.is_some() { 2 } else { 0 };
        let gradients = learned.step(&layer, &steps, first, step.watch)?;
        if step.watch {
            let own = norm(&gradients).double_value(&[]);
            *gradient_norm = Some(Norm::Known((own * own + squares.unwrap_or(0.0)).sqrt()));
        }
        Ok((h, input_gradient))
    }
}

impl Engine for FusedTransformer {
    fn block(&self) -> &dyn Block {
        &self.block
    }

    fn is_fused(&self) -> bool {
        true
    }

    fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        forward(&self.block, input)
    }

    fn record(&self, input: &Tensor) -> Result<Tape> {
        let (_, tokens) = tokens(&self.block, input)?;
        let output = transformer::forward(&layer(&self.block), &tokens)?;
        Ok(Tape { input: input.shallow_clone(), output, kept: Some(tokens) })
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
        let Signal::Feedback(matrix) = signal else {
            return batch_by_batch(self, input, rows, signal, step);
        };
        each_batch(input, rows, step, |input, rows, step| {
            let (patches, tokens) = tokens(&self.block, input)?;
            let teacher = Teacher::Feedback(matrix);
            Ok(self.learn_batch(patches.as_ref(), &tokens, rows, teacher, step, false)?.0)
        })
    }

    fn step(
        &mut self,
        tape: &Tape,
        rows: &Tensor,
        signal: Signal,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Teaching>> {
        let tokens = tape.kept.as_ref().context("recorded by this engine")?;
        let patches = self.block.embedding().map(|_| patches(&self.block, &tape.input));
        let (signal, teacher) = match signal {
            Signal::Feedback(matrix) => (rows.shallow_clone(), Teacher::Feedback(matrix)),
            signal => (output_gradient(signal, rows, &tape.output), Teacher::Gradient),
        };
        self.learn_batch(patches.as_ref(), tokens, &signal, teacher, step, input_too)
            .map(|(_, input_gradient)| input_gradient.map(Teaching::gradient))
    }

    fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()> {
        let FusedTransformer { block, optimizer, gradient_norm } = self;
        step_along(gradients, block, optimizer, step, gradient_norm)
    }

    fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(Norm::value)
    }
}
