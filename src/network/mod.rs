//! Feed-forward networks as a row of locally trained layers.

mod activation;
mod block;
mod convolution;
mod dense;
mod initialise;
mod layer;
mod shapes;
mod transformer;

pub use activation::Activation;
pub use block::{Block, Gradients, Tape, trainable};
pub use convolution::{ConvolutionBlock, Stage, Topology};
pub use dense::Dense;
pub use initialise::WeightInit;
pub use layer::Layer;
pub(crate) use layer::{in_batches, joined};
pub use shapes::{Cnn, Mlp};
pub use transformer::{TransformerBlock, Vit};

use anyhow::Result;
use tch::{Device, Tensor};

use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::offload::Offload;
use crate::optimizer::OptimizerSettings;

/// Layers in forward order; the last one is the output layer.
pub struct Network {
    layers: Vec<Layer>,
}

impl Network {
    /// A network of these blocks, the output block last: the outputs of each are the inputs of the
    /// next. Where `feedback` is given, a matrix B_i `[C, n_i]` is drawn for each hidden block in
    /// forward order, and taken to the device of the block.
    pub fn new(
        blocks: Vec<Box<dyn Block>>,
        feedback: Option<&FeedbackInit>,
        optimizer: &OptimizerSettings,
        generator: &mut Generator,
    ) -> Result<Network> {
        Network::offloaded(blocks, feedback, optimizer, generator, None)
    }

    /// As [`Network::new`]; with `offload`, the blocks' parameters live in files already, and each
    /// layer's optimizer state is moved there before the next layer's is made.
    pub fn offloaded(
        mut blocks: Vec<Box<dyn Block>>,
        feedback: Option<&FeedbackInit>,
        optimizer: &OptimizerSettings,
        generator: &mut Generator,
        offload: Option<&Offload>,
    ) -> Result<Network> {
        let layer = |block, feedback| {
            let mut layer = Layer::new(block, feedback, optimizer)?;
            offload.map_or(Ok(()), |offload| layer.offload(offload))?;
            Ok::<_, anyhow::Error>(layer)
        };
        let output = blocks.pop().expect("a network has an output block");
        let outputs = output.outputs();
        let mut layers = Vec::new();
        for block in blocks {
            let device = block.parameters().first().map(|(_, parameter)| parameter.device());
            let matrix = feedback
                .map(|init| init.build(outputs, block.outputs(), generator))
                .transpose()?
                .map(|matrix| device.map_or(matrix.shallow_clone(), |it| matrix.to_device(it)));
            layers.push(layer(block, matrix)?);
        }
        layers.push(layer(output, None)?);
        Ok(Network { layers })
    }

    /// All layers, the output layer last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// The hidden layers, and the output layer.
    pub(crate) fn split_output(&mut self) -> (&mut [Layer], &mut Layer) {
        let (output, hidden) = self.layers.split_last_mut().expect("has an output layer");
        (hidden, output)
    }

    /// Whether its parameters live in files.
    pub(crate) fn is_offloaded(&self) -> bool {
        self.layers.iter().any(Layer::is_offloaded)
    }

    /// The outputs `[b, C]` for inputs `[b, n_0]`, on the device of the inputs.
    pub fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        let mut h = inputs.shallow_clone();
        for layer in &self.layers {
            h = layer.forward(&layer.bring(&h))?;
        }
        Ok(h.to_device(inputs.device()))
    }

    /// A forward pass in which every layer keeps what it needs for its gradients, on its own device.
    pub fn record(&self, inputs: &Tensor) -> Result<Vec<Tape>> {
        let mut tapes: Vec<Tape> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let input = tapes.last().map_or(inputs, |tape| &tape.output);
            let tape = layer.record(&layer.bring(input))?;
            tapes.push(tape);
        }
        Ok(tapes)
    }

    /// Makes the layers use kernels that fuse the forward pass, the gradient and the step, if all of
    /// them can: fully connected ones on the CPU, but for the activation `gelu` and SGD with classical
    /// momentum. Tells whether they do.
    pub fn fuse(&mut self) -> bool {
        let all = self.layers.iter_mut().all(Layer::can_fuse);
        self.layers.iter_mut().for_each(|layer| layer.set_fused(all));
        all
    }

    /// Makes layers that use the fused kernels multiply bfloat16 where they learn from feedback, and
    /// add in float32, in which weights and optimizer states stay. Where the processor cannot, they
    /// fail when they learn.
    pub fn learn_in_bfloat16(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.set_half(true));
    }

    /// Takes layers to other devices: the first `counts[0]` of them to `devices[0]`, and so on.
    pub fn place(&mut self, counts: &[usize], devices: &[Device]) -> Result<()> {
        let places =
            counts.iter().zip(devices).flat_map(|(&count, &it)| std::iter::repeat_n(it, count));
        self.layers.iter_mut().zip(places).try_for_each(|(layer, device)| layer.move_to(device))
    }

    /// How many numbers the optimizer trains.
    pub fn parameter_count(&self) -> i64 {
        let parameters = self.layers.iter().flat_map(|layer| layer.block().parameters());
        parameters.map(|(_, parameter)| parameter.numel() as i64).sum()
    }

    /// The step size of all layers' optimizers from now on.
    pub fn set_learning_rate(&mut self, rate: f64) {
        for layer in &mut self.layers {
            layer.set_learning_rate(rate);
        }
    }

    /// Makes the layers keep, or not, the norm of the gradients of their coming steps.
    pub(crate) fn watch_gradients(&mut self, watch: bool) {
        for layer in &mut self.layers {
            layer.watch_gradients(watch);
        }
    }

    /// Everything that is saved of a network: the blocks' parameters and buffers, and the feedback
    /// matrices. For fully connected networks the names are those of the `state_dict` of the
    /// paper's program: every block and every feedback matrix is a module of its own, and the first
    /// one also flattens its input (`layers.0.0`), which makes it `layers.0.1`.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        let mut module = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            let place = if index == 0 { 1 } else { 0 };
            let block = layer.block();
            for (name, tensor) in block.parameters().into_iter().chain(block.buffers()) {
                tensors.push((format!("layers.{module}.{place}.{name}"), tensor.detach()));
            }
            module += 1;
            if let Some(feedback) = layer.feedback() {
                tensors
                    .push((format!("layers.{module}.feedback_weight"), feedback.shallow_clone()));
                module += 1;
            }
        }
        tensors
    }

    /// The tensors of [`Network::named_tensors`] and, as `optimizer.0.exp_avg.0` and so on, the state
    /// of each layer's optimizer.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.named_tensors();
        for (index, layer) in self.layers.iter().enumerate() {
            let own = layer.optimizer().state().into_iter();
            state.extend(own.map(|(name, tensor)| {
                (format!("optimizer.{index}.{name}"), tensor.shallow_clone())
            }));
        }
        state
    }
}
