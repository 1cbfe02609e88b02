//! What is inside a locally trained layer.
//!
//! Legend: b batch, m inputs, n outputs of the block.

use anyhow::Result;
use tch::{Device, Tensor};

use super::{Dense, TransformerBlock};

/// What one feedback matrix teaches: anything with parameters that turns inputs `[b, m]` into
/// outputs `[b, n]`.
///
/// A block of your own says what its outputs and parameters are and how it computes; its gradients
/// then come from libtorch's autograd, inside the block alone: no graph reaches from one block into
/// the next. `examples/own_block.rs` is such a block. [`Dense`] and
/// [`ConvolutionBlock`](super::ConvolutionBlock) have their gradients in closed form
/// instead.
///
/// Parameters and buffers are float32, contiguous, and on the device of the data. Where autograd is
/// used, parameters are leaves that require gradients (see [`trainable`]).
///
/// ```
/// use f3_tch::network::{Block, trainable};
/// use f3_tch::tch::{Device, Kind, Tensor};
///
/// /// h = s ⊙ x, with one factor for each input.
/// struct Scale(Tensor);
///
/// impl Block for Scale {
///     fn outputs(&self) -> i64 {
///         self.0.size()[0]
///     }
///     fn parameters(&self) -> Vec<(&str, &Tensor)> {
///         vec![("factor", &self.0)]
///     }
///     fn forward(&self, input: &Tensor) -> Tensor {
///         input * &self.0
///     }
/// }
///
/// let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
/// let block = Scale(trainable(ones(&[4])));
/// let tape = block.record(&ones(&[2, 4])); // two samples
/// let gradients = block.gradients(&tape, &ones(&[2, 4]), false);
/// assert_eq!(gradients.parameters[0], ones(&[4]) * 2.0);
/// ```
pub trait Block: Send {
    /// n.
    fn outputs(&self) -> i64;

    /// What is trained, with its name in saved models.
    fn parameters(&self) -> Vec<(&str, &Tensor)>;

    /// What is saved, but not trained.
    fn buffers(&self) -> Vec<(&str, &Tensor)> {
        Vec::new()
    }

    /// The outputs `[b, n]` for inputs `[b, m]`.
    fn forward(&self, input: &Tensor) -> Tensor;

    /// As [`Block::forward`], keeping what [`Block::gradients`] needs.
    fn record(&self, input: &Tensor) -> Tape {
        let input = input.detach().set_requires_grad(true);
        let output = tch::with_grad(|| self.forward(&input));
        Tape { input, output: output.detach(), kept: Some(output) }
    }

    /// What a gradient δh `[b, n]` of the recorded output means for the parameters and, where it is
    /// wanted, for the input.
    fn gradients(&self, tape: &Tape, output_gradient: &Tensor, input_too: bool) -> Gradients {
        let output = tape.kept.as_ref().expect("recorded by this block");
        let objective = tch::with_grad(|| (output * output_gradient).sum(output.kind()));
        let mut leaves: Vec<&Tensor> = self.parameters().into_iter().map(|(_, p)| p).collect();
        if input_too {
            leaves.push(&tape.input);
        }
        let mut found = Tensor::run_backward(&[objective], &leaves, false, false);
        let input = if input_too { found.pop() } else { None };
        let parameters = found.iter().zip(self.parameters()).map(|(gradient, (_, parameter))| {
            // A parameter that the outputs do not depend on has no gradient.
            if gradient.defined() { gradient.contiguous() } else { parameter.zeros_like() }
        });
        Gradients { parameters: parameters.collect(), input }
    }

    /// Multiplications of a forward pass per sample, about; stages of a pipeline are balanced by it.
    fn operations(&self) -> i64 {
        self.parameters().iter().map(|(_, parameter)| parameter.numel() as i64).sum()
    }

    /// The block itself, if it is fully connected: only there are some things defined, such as the
    /// product of forward matrices.
    fn as_dense(&self) -> Option<&Dense> {
        None
    }

    /// The block itself, if it is one of a transformer: engines may compute it in another way.
    fn as_transformer(&self) -> Option<&TransformerBlock> {
        None
    }
}

/// What a block keeps of one forward pass.
pub struct Tape {
    /// x `[b, m]`.
    pub input: Tensor,
    /// h `[b, n]`, without a graph.
    pub output: Tensor,
    /// What else the block needs for its gradients: the output with its graph, unless the block
    /// overrides [`Block::record`].
    pub kept: Option<Tensor>,
}

/// What one batch says about a block.
pub struct Gradients {
    /// In the order of [`Block::parameters`].
    pub parameters: Vec<Tensor>,
    /// δx `[b, m]`, if it was wanted.
    pub input: Option<Tensor>,
}

/// A parameter for autograd: a contiguous leaf that requires gradients.
pub fn trainable(values: Tensor) -> Tensor {
    values.detach().contiguous().set_requires_grad(true)
}

/// Takes a block's parameters and buffers to a device.
pub(crate) fn move_to(block: &dyn Block, device: Device) -> Result<()> {
    for (_, tensor) in block.parameters().into_iter().chain(block.buffers()) {
        let moved = tensor.detach().f_to_device(device)?;
        tensor.shallow_clone().f_set_data(&moved)?;
    }
    Ok(())
}

/// A network's tensors with their names in saved models: each block's parameters and buffers, and the
/// feedback matrix behind it, if there is one.
///
/// For fully connected networks the names are those of the `state_dict` of the paper's program: every
/// block and every feedback matrix is a module of its own, and the first one also flattens its input
/// (`layers.0.0`), which makes it `layers.0.1`.
pub fn tensor_names<'a>(
    blocks: impl IntoIterator<Item = (&'a dyn Block, Option<&'a Tensor>)>,
) -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    let mut module = 0;
    for (index, (block, feedback)) in blocks.into_iter().enumerate() {
        let place = if index == 0 { 1 } else { 0 };
        for (name, tensor) in block.parameters().into_iter().chain(block.buffers()) {
            tensors.push((format!("layers.{module}.{place}.{name}"), tensor.detach()));
        }
        module += 1;
        if let Some(feedback) = feedback {
            tensors.push((format!("layers.{module}.feedback_weight"), feedback.shallow_clone()));
            module += 1;
        }
    }
    tensors
}
