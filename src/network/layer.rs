//! A locally trained layer: what it computes, what teaches it, what steps it.
//!
//! Legend: b batch, m inputs, n outputs of the layer, C outputs of the network.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::Dense;
use super::block::{Block, Gradients, Tape, norm};
use crate::loss::Loss;
use crate::native::dense::{self, DenseLayer, DenseLoss};
use crate::native::drop_pages;
use crate::offload::Offload;
use crate::optimizer::{Optimizer, OptimizerSettings};

/// Read from the device only when somebody asks. On the CPU it is a number at once: a tensor that stays
/// would lie between the large ones that come and go, and keep their memory from being used again.
enum Norm {
    Known(f64),
    OnDevice(Tensor),
}

impl Norm {
    fn of(norm: Tensor) -> Norm {
        match norm.device() {
            Device::Cpu => Norm::Known(norm.double_value(&[])),
            _ => Norm::OnDevice(norm),
        }
    }
}

/// A layer that learns from its own input and a teaching signal, and from nothing else: no weights
/// of other layers, no order among the layers beyond "input before output".
pub struct Layer {
    block: Box<dyn Block>,
    feedback: Option<Tensor>, // B [C, n]; none: feedback does not teach this layer
    optimizer: Box<dyn Optimizer>,
    fused: bool,
    half: bool,
    offloaded: bool,
    watched: bool,
    gradient_norm: Option<Norm>,
}

impl Layer {
    /// A layer whose optimizer starts from zero.
    pub fn new(
        block: Box<dyn Block>,
        feedback: Option<Tensor>,
        optimizer: &OptimizerSettings,
    ) -> Result<Layer> {
        let optimizer = optimizer.build(&tensors(block.as_ref()))?;
        Ok(Layer {
            block,
            feedback,
            optimizer,
            fused: false,
            half: false,
            offloaded: false,
            watched: false,
            gradient_norm: None,
        })
    }

    /// Moves the optimizer's state into files, where the parameters are already.
    pub(crate) fn offload(&mut self, offload: &Offload) -> Result<()> {
        let state = self.optimizer.state();
        let mut state = state.into_iter().filter(|(_, tensor)| is_large(tensor));
        state.try_for_each(|(_, tensor)| offload.take(tensor))?;
        self.offloaded = true;
        Ok(())
    }

    /// Whether its parameters live in files.
    pub(crate) fn is_offloaded(&self) -> bool {
        self.offloaded
    }

    /// Lets the system take back the memory of what lives in files, for it is another layer's turn.
    fn rest(&self) -> Result<()> {
        match self.offloaded {
            true => self.large_tensors().into_iter().try_for_each(drop_pages),
            false => Ok(()),
        }
    }

    fn large_tensors(&self) -> Vec<&Tensor> {
        let state = self.optimizer.state().into_iter().map(|(_, tensor)| tensor);
        tensors(self.block.as_ref()).into_iter().chain(state.filter(|it| is_large(it))).collect()
    }

    /// Where the parameters are; a block without any computes where its input is.
    pub fn device(&self) -> Option<Device> {
        self.block.parameters().first().map(|(_, tensor)| tensor.device())
    }

    /// A tensor on the layer's device.
    pub(crate) fn bring(&self, tensor: &Tensor) -> Tensor {
        self.device().map_or_else(|| tensor.shallow_clone(), |device| tensor.to_device(device))
    }

    /// Takes the layer to a device, with its feedback and its optimizer's state.
    pub(crate) fn move_to(&mut self, device: Device) -> Result<()> {
        let state = self.optimizer.state().into_iter().map(|(_, tensor)| tensor);
        let buffers = self.block.buffers().into_iter().map(|(_, tensor)| tensor);
        for tensor in tensors(self.block.as_ref()).into_iter().chain(buffers).chain(state) {
            let moved = tensor.detach().f_to_device(device)?;
            tensor.shallow_clone().f_set_data(&moved)?;
        }
        if let Some(feedback) = &mut self.feedback {
            *feedback = feedback.f_to_device(device)?;
        }
        Ok(())
    }

    /// What the layer computes.
    pub fn block(&self) -> &dyn Block {
        self.block.as_ref()
    }

    /// B `[C, n]`, if feedback teaches this layer.
    pub fn feedback(&self) -> Option<&Tensor> {
        self.feedback.as_ref()
    }

    /// The optimizer and its state.
    pub fn optimizer(&self) -> &dyn Optimizer {
        self.optimizer.as_ref()
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        self.optimizer.set_learning_rate(rate);
    }

    /// Whether the kernels that fuse a layer's forward pass, gradient and step can be used: for fully
    /// connected blocks on the CPU, but for the activation `gelu` and SGD with classical momentum.
    pub fn can_fuse(&mut self) -> bool {
        let on_cpu = tensors(self.block.as_ref()).iter().all(|it| it.device() == Device::Cpu);
        let dense = self.block.as_dense().and_then(Dense::fusable).is_some();
        on_cpu && dense && self.optimizer.hand_over(0).is_some()
    }

    /// Whether to use them from now on; only after [`Layer::can_fuse`].
    pub fn set_fused(&mut self, fused: bool) {
        self.fused = fused;
    }

    /// Whether [`Layer::learn`] multiplies bfloat16, if the fused kernels are in use.
    pub(crate) fn set_half(&mut self, half: bool) {
        self.half = half;
    }

    /// h `[b, n]` from x `[b, m]`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let h = match fused(self.fused, self.block.as_ref()) {
            Some((_, layer)) => dense::forward(layer, input)?,
            None => self.block.forward(input),
        };
        self.rest()?;
        Ok(h)
    }

    /// As [`Layer::forward`], keeping what a later [`Layer::teach`] or [`Layer::update`] needs.
    pub fn record(&self, input: &Tensor) -> Result<Tape> {
        match fused(self.fused, self.block.as_ref()) {
            Some((_, layer)) => Ok(Tape {
                input: input.shallow_clone(),
                output: dense::forward(layer, input)?,
                kept: None,
            }),
            None => Ok(self.block.record(input)),
        }
    }

    /// Local training: takes the inputs x `[r, m]` and the error information e `[r, C]` of some
    /// batches, `batch_size` rows each but for the last one, learns from one after the other, and
    /// hands on the outputs h `[r, n]`, each that from before learning from it.
    ///
    /// A layer without feedback hands on its outputs and stays as it is.
    pub fn learn(&mut self, inputs: &Tensor, errors: &Tensor, batch_size: i64) -> Result<Tensor> {
        let rows = inputs.size()[0];
        if let Some((_, layer)) = fused(self.fused, self.block.as_ref()) {
            let Some(feedback) = &self.feedback else {
                return self.forward(inputs);
            };
            let layer = DenseLayer { half: self.half, ..layer };
            let steps = (rows + batch_size - 1) / batch_size;
            let steps = self.optimizer.hand_over(steps as usize).expect("can be fused");
            let squares = self.watched.then(|| layer.place_for_squares());
            let h = dense::learn(
                layer,
                inputs,
                batch_size,
                errors,
                feedback,
                &steps,
                squares.as_ref(),
            )?;
            self.keep_norm(squares);
            self.rest()?;
            return Ok(h);
        }
        let batches = in_batches(inputs, errors, batch_size);
        let outputs = batches.map(|(input, error)| self.learn_batch(&input, &error));
        let outputs = outputs.collect::<Result<Vec<Tensor>>>()?;
        self.rest()?;
        Ok(joined(outputs))
    }

    fn learn_batch(&mut self, input: &Tensor, error: &Tensor) -> Result<Tensor> {
        if self.feedback.is_none() {
            return Ok(self.block.forward(input));
        }
        let tape = self.record(input)?;
        self.teach(&tape, error)?;
        Ok(tape.output)
    }

    /// As [`Layer::learn`], for the output layer: each batch's step is along the gradient of the mean
    /// loss between its outputs and the targets y* `[r, n]`.
    pub fn fit(
        &mut self,
        inputs: &Tensor,
        targets: &Tensor,
        batch_size: i64,
        loss: Loss,
    ) -> Result<Tensor> {
        let rows = inputs.size()[0];
        if let (Some((_, layer)), Some(loss)) =
            (fused(self.fused, self.block.as_ref()), fusable(loss))
        {
            let steps = (rows + batch_size - 1) / batch_size;
            let steps = self.optimizer.hand_over(steps as usize).expect("can be fused");
            let squares = self.watched.then(|| layer.place_for_squares());
            let (x, squared) = (inputs, squares.as_ref());
            let y = dense::fit(layer, x, batch_size, targets, loss, &steps, squared)?;
            self.keep_norm(squares);
            self.rest()?;
            return Ok(y);
        }
        let batches = in_batches(inputs, targets, batch_size);
        let outputs = batches.map(|(input, targets)| {
            let tape = self.record(&input)?;
            self.update(&tape, &loss.gradient(&tape.output, &targets))?;
            Ok(tape.output)
        });
        let outputs = outputs.collect::<Result<Vec<Tensor>>>()?;
        self.rest()?;
        Ok(joined(outputs))
    }

    /// The second half of [`Layer::learn`]: steps along δh = e · B (eq. 1 of the paper).
    pub fn teach(&mut self, tape: &Tape, error: &Tensor) -> Result<()> {
        let Some(feedback) = &self.feedback else {
            return Ok(());
        };
        if let Some((_, layer)) = fused(self.fused, self.block.as_ref()) {
            let steps = self.optimizer.hand_over(1).expect("can be fused");
            let squares = self.watched.then(|| layer.place_for_squares());
            let Tape { input, output, .. } = tape;
            dense::teach(layer, input, output, error, feedback, &steps, squares.as_ref())?;
            self.keep_norm(squares);
            return Ok(());
        }
        let output_gradient = error.mm(feedback);
        self.update(tape, &output_gradient)
    }

    /// Steps along the gradient δh `[b, n]` of the recorded output.
    pub fn update(&mut self, tape: &Tape, output_gradient: &Tensor) -> Result<()> {
        self.update_and_maybe_backpropagate(tape, output_gradient, false).map(|_| ())
    }

    /// As [`Layer::update`]; also gives δx `[b, m]` of the weights before the step.
    pub fn update_and_backpropagate(
        &mut self,
        tape: &Tape,
        output_gradient: &Tensor,
    ) -> Result<Tensor> {
        let gradient = self.update_and_maybe_backpropagate(tape, output_gradient, true)?;
        Ok(gradient.expect("the input's gradient was asked for"))
    }

    fn update_and_maybe_backpropagate(
        &mut self,
        tape: &Tape,
        output_gradient: &Tensor,
        input_too: bool,
    ) -> Result<Option<Tensor>> {
        let Some((block, layer)) = fused(self.fused, self.block.as_ref()) else {
            let Gradients { parameters, input } =
                self.block.gradients(tape, output_gradient, input_too);
            self.step(&parameters)?;
            return Ok(input);
        };
        let delta = block.preactivation_gradient(output_gradient, &tape.output);
        let input = match input_too {
            true => Some(dense::backward(block.backward_weight(), &delta)?),
            false => None,
        };
        let steps = self.optimizer.hand_over(1).expect("can be fused");
        let squares = self.watched.then(|| layer.place_for_squares());
        let rows = tape.input.size()[0];
        dense::step(layer, &tape.input, rows, &delta, &steps, squares.as_ref())?;
        self.keep_norm(squares);
        Ok(input)
    }

    /// From each neuron's squared gradient norm `[n]`, if these were kept.
    fn keep_norm(&mut self, squares: Option<Tensor>) {
        if let Some(squares) = squares {
            self.gradient_norm = Some(Norm::of(squares.sum(Kind::Float).sqrt()));
        }
    }

    /// Steps along gradients of the parameters, in their order, wherever these come from.
    pub fn step(&mut self, gradients: &[Tensor]) -> Result<()> {
        if self.watched {
            self.gradient_norm = Some(Norm::of(norm(gradients.iter())));
        }
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        self.optimizer.step(&tensors(self.block.as_ref()), &gradients)
    }

    /// Makes coming steps keep the norm of their gradient; what was kept is dropped.
    pub(crate) fn watch_gradients(&mut self, watch: bool) {
        self.watched = watch;
        if watch {
            self.gradient_norm = None;
        }
    }

    /// The L2 norm of all parameters together.
    pub fn weight_norm(&self) -> f64 {
        tch::no_grad(|| norm(tensors(self.block.as_ref()).into_iter())).double_value(&[])
    }

    /// The L2 norm of all parameters' gradients together in the last watched step, if there was
    /// one.
    pub fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm.as_ref().map(|norm| match norm {
            Norm::Known(norm) => *norm,
            Norm::OnDevice(norm) => norm.double_value(&[]),
        })
    }
}

/// A block as the fused kernels take it, if they are in use.
fn fused(fused: bool, block: &dyn Block) -> Option<(&Dense, DenseLayer<'_>)> {
    let dense = block.as_dense().filter(|_| fused)?;
    Some((dense, dense.fusable()?))
}

/// A loss as the fused kernels take it.
fn fusable(loss: Loss) -> Option<DenseLoss> {
    match loss {
        Loss::BinaryCrossEntropy => Some(DenseLoss::BinaryCrossEntropy),
        Loss::MeanSquaredError => Some(DenseLoss::MeanSquaredError),
        Loss::CrossEntropy => None,
    }
}

/// Whether a tensor of an optimizer's state is as large as a parameter; Adam's counter is not.
fn is_large(tensor: &Tensor) -> bool {
    tensor.dim() > 0
}

/// Two tensors' rows, batch by batch; the last batch may have fewer than `batch_size`.
pub(crate) fn in_batches<'t>(
    first: &'t Tensor,
    second: &'t Tensor,
    batch_size: i64,
) -> impl Iterator<Item = (Tensor, Tensor)> + 't {
    let rows = first.size()[0];
    (0..rows).step_by(batch_size as usize).map(move |start| {
        let count = batch_size.min(rows - start);
        (aligned(first, start, count), aligned(second, start, count))
    })
}

/// All rows of one batch after the other.
pub(crate) fn joined(mut batches: Vec<Tensor>) -> Tensor {
    if batches.len() == 1 { batches.remove(0) } else { Tensor::cat(&batches, 0) }
}

/// Some rows in memory of their own: what MKL computes depends, in the last bit, on how its operands
/// are aligned.
fn aligned(tensor: &Tensor, start: i64, count: i64) -> Tensor {
    let rows = tensor.narrow(0, start, count);
    if start == 0 { rows } else { rows.copy() }
}

fn tensors(block: &dyn Block) -> Vec<&Tensor> {
    block.parameters().into_iter().map(|(_, tensor)| tensor).collect()
}
