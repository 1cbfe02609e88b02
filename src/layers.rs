//! The layers of a network in training: what each computes, what teaches it, what steps it.
//!
//! Legend: r rows, b batch, m inputs, n outputs of the layer, C outputs of the network.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::batches::joined;
use crate::data::{Batch, Split};
use crate::engine::{
    Engine, EngineSettings, Signal, Step, Teaching, large_state, norm, parameters,
};
use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::loss::Loss;
use crate::native::drop_pages;
use crate::network::{Block, Tape, tensor_names};
use crate::optimizer::Optimizer;
use crate::prediction::{Announced, Local, Prediction, Predictor, Rows};
use crate::process::use_threads;

/// A layer that learns from its own input and a teaching signal, and from nothing else: no weights
/// of other layers, no order among the layers beyond "input before output".
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::Generator;
/// use f3_tch::engine::{EngineSettings, Step};
/// use f3_tch::feedback::FeedbackInit;
/// use f3_tch::layers::Layer;
/// use f3_tch::network::{Activation, Dense};
/// use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
/// use f3_tch::tch::Device;
///
/// let mut generator = Generator::new(1)?;
/// let block = Box::new(Dense::new(8, 20, Activation::Tanh, &mut generator, Device::Cpu)?);
/// let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
/// let kernels = adam.choose([block.as_ref() as _])?;
/// let matrix = FeedbackInit::KaimingUniform.build(3, 20, &mut generator)?; // B [C, n]
/// let mut layer = Layer::new(adam.build(block, kernels)?, Some(matrix));
///
/// let input = generator.uniform(&[30, 8], 0.0, 1.0)?; // x: three batches of ten
/// let error = generator.uniform(&[30, 3], -1.0, 1.0)?; // e of the same samples
/// let step = Step { learning_rate: 1e-3, batch_size: 10, watch: false };
/// let h = layer.learn(&input, &error, &step)?; // three steps along e · B
/// assert_eq!(h.size(), [30, 20]);
/// # Ok(())
/// # }
/// ```
pub struct Layer {
    engine: Box<dyn Engine>,
    feedback: Option<Tensor>, // B [C, n]; none: feedback does not teach this layer
    predictor: Option<Predictor>, // of the error that teaches it; none: it is taught with what is stored
    offloaded: bool,              // whether parameters and optimizer state live in files
}

impl Layer {
    /// A layer of an engine and, if feedback teaches it, its matrix B `[C, n]`.
    pub fn new(engine: Box<dyn Engine>, feedback: Option<Tensor>) -> Layer {
        Layer { engine, feedback, predictor: None, offloaded: false }
    }

    /// What the layer computes.
    pub fn block(&self) -> &dyn Block {
        self.engine.block()
    }

    /// B `[C, n]`, if feedback teaches this layer.
    pub fn feedback(&self) -> Option<&Tensor> {
        self.feedback.as_ref()
    }

    /// The optimizer and its state.
    pub fn optimizer(&self) -> &Optimizer {
        self.engine.optimizer()
    }

    fn device(&self) -> Option<Device> {
        self.block().parameters().first().map(|(_, parameter)| parameter.device())
    }

    /// Whether kernels compute the layer that have threads of their own, beside libtorch's.
    pub fn has_threads_of_its_own(&self) -> bool {
        self.engine.is_fused()
    }

    /// Small operations of libtorch beside those of the layer. Beside fused kernels they take one thread:
    /// libtorch's OpenMP threads would go on spinning where the kernels' own threads compute next.
    pub(crate) fn beside<T>(&self, operations: impl FnOnce() -> T) -> T {
        let _threads = use_threads(self.engine.is_fused().then_some(1));
        operations()
    }

    /// A tensor on the layer's device. A block without parameters computes where its input is.
    pub(crate) fn bring(&self, tensor: &Tensor) -> Tensor {
        let [brought] = self.bring_all([tensor]);
        brought
    }

    /// As [`Layer::bring`], for some tensors.
    pub(crate) fn bring_all<const N: usize>(&self, tensors: [&Tensor; N]) -> [Tensor; N] {
        let device = self.device();
        tensors.map(|tensor| match device {
            Some(device) if device != tensor.device() => tensor.to_device(device),
            _ => tensor.shallow_clone(),
        })
    }

    /// What a turn of the layer has given; now the system may take back the memory of what lives in
    /// files.
    fn rested<T>(&self, outcome: T) -> Result<T> {
        if self.offloaded {
            let state = large_state(self.engine.as_ref());
            parameters(self.block()).into_iter().chain(state).try_for_each(drop_pages)?;
        }
        Ok(outcome)
    }

    /// h `[r, n]` from x `[r, m]`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.rested(self.engine.forward(input)?)
    }

    /// As [`Layer::forward`], for each of some batches.
    fn forward_all(&self, batches: &[Tensor]) -> Result<Vec<Tensor>> {
        let outputs = batches.iter().map(|input| self.engine.forward(&self.bring(input)));
        self.rested(outputs.collect::<Result<Vec<_>>>()?)
    }

    /// As [`Layer::forward`] for one batch, keeping what a later [`Layer::teach`] or
    /// [`Layer::update`] needs.
    pub fn record(&self, input: &Tensor) -> Result<Tape> {
        self.engine.record(input)
    }

    /// Local training of a hidden layer: takes the inputs x `[r, m]` and the error information e
    /// `[r, C]` of some batches, steps along e · B (eq. 1 of the paper) for one after the other, and
    /// gives the outputs h `[r, n]`, each of the weights before its batch's step.
    ///
    /// A layer without feedback only passes its inputs on.
    pub fn learn(&mut self, input: &Tensor, error: &Tensor, step: &Step) -> Result<Tensor> {
        let h = match &self.feedback {
            Some(matrix) => self.engine.learn(input, error, Signal::Feedback(matrix), step)?,
            None => self.engine.pass(input, step.batch_size)?,
        };
        self.rested(h)
    }

    /// As [`Layer::learn`], with errors that the layer itself predicts, if it does: from the stored ones,
    /// and from those that the output layer has announced of earlier batches, or will announce if others
    /// compute it.
    pub fn learn_predicting(
        &mut self,
        rows: &Rows,
        announced: &Announced,
        by_others: bool,
        step: &Step,
    ) -> Result<Tensor> {
        let Layer { engine, feedback: Some(matrix), predictor: Some(predictor), .. } = self else {
            return self.learn(&rows.input, &rows.stored, step);
        };
        let (signal, batch, fused) = (Signal::Feedback(matrix), step.batch_size, engine.is_fused());
        let single = || use_threads(fused.then_some(1)); // see `Layer::beside`
        let blocks = rows.cut(predictor.block_rows(batch), !fused);
        if !predictor.sees_outputs() {
            // What the maps must know for all blocks of the chunk has been announced before it.
            let blocks: Vec<Rows> = blocks.collect();
            let mut errors = Vec::new();
            for rows in &blocks {
                predictor.prepare_for(rows, batch, announced, by_others)?;
                let guess = predictor.guess(&rows.input)?;
                let error = predictor.teach(rows, guess.as_ref())?;
                predictor.keep(rows, &rows.input, &error);
                errors.push(error);
            }
            let h = engine.learn(&rows.input, &joined(errors), signal, step)?;
            return self.rested(h);
        }
        let (mut outputs, mut left) = (Vec::new(), rows.len());
        for rows in blocks {
            predictor.prepare_for(&rows, batch, announced, by_others)?;
            let (mut of_batches, mut errors) = (Vec::new(), Vec::new());
            for rows in rows.cut(batch, !fused) {
                left -= rows.len();
                let tape = engine.record(&rows.input)?;
                let guess = predictor.guess(&tape.output)?;
                let error = predictor.teach(&rows, guess.as_ref())?;
                let step = Step { watch: step.watch && left == 0, ..*step };
                engine.step(&tape, &error, signal, &step, false)?;
                of_batches.push(tape.output);
                errors.push(error);
            }
            let _single = single();
            let h = joined(of_batches);
            predictor.keep(&rows, &h, &joined(errors));
            outputs.push(h);
        }
        let _single = single();
        self.rested(joined(outputs))
    }

    /// Lets the layer predict errors from now on; the network has this loss, the training set so many
    /// samples, and the layer so many inputs.
    pub(crate) fn predict_with(
        &mut self,
        settings: Prediction,
        loss: Loss,
        samples: i64,
        inputs: i64,
    ) -> Result<()> {
        let Some(matrix) = &self.feedback else { return Ok(()) };
        let seen = if settings.local == Local::Output { self.block().outputs() } else { inputs };
        let place = (matrix.device(), self.engine.is_fused());
        let sizes = [samples, matrix.size()[0], seen];
        self.predictor = Some(Predictor::new(settings, loss, sizes, place)?);
        Ok(())
    }

    /// What predicts the error that teaches the layer, if something does.
    pub fn predictor(&self) -> Option<&Predictor> {
        self.predictor.as_ref()
    }

    /// What the layer would be taught with on rows for which it has these outputs `[r, n]`: what is stored,
    /// or what it predicts.
    pub(crate) fn teaching_error(&self, rows: &Rows, output: &Tensor) -> Result<Tensor> {
        let Some(predictor) = &self.predictor else { return Ok(rows.stored.shallow_clone()) };
        let seen = if predictor.sees_outputs() { output } else { &rows.input };
        Ok(predictor.predict(rows, predictor.guess(seen)?.as_ref()))
    }

    /// Lets the predictor forget what an epoch that failed has left, and measure the drift or not.
    pub(crate) fn begin_epoch(&mut self, diagnosed: bool) {
        self.predictor.iter_mut().for_each(|predictor| predictor.begin_epoch(diagnosed));
    }

    /// Lets the predictor learn from all that has been announced in an epoch.
    pub(crate) fn end_epoch(&mut self, announced: &Announced) -> Result<()> {
        self.predictor.as_mut().map_or(Ok(()), |predictor| predictor.end_epoch(announced))
    }

    /// As [`Layer::learn`], for the output layer: each batch's step is along the gradient of the mean
    /// loss between its outputs and the targets y* `[r, n]`.
    pub fn fit(
        &mut self,
        input: &Tensor,
        targets: &Tensor,
        loss: Loss,
        step: &Step,
    ) -> Result<Tensor> {
        let h = self.engine.learn(input, targets, Signal::Loss(loss), step)?;
        self.rested(h)
    }

    /// One step along e · B on a recorded batch; nothing without feedback.
    pub fn teach(&mut self, tape: &Tape, error: &Tensor, step: &Step) -> Result<()> {
        if let Some(matrix) = &self.feedback {
            self.engine.step(tape, error, Signal::Feedback(matrix), step, false)?;
        }
        self.rested(())
    }

    /// One step on a recorded batch as these rows teach it; if `input_too`, gives what teaches the layer
    /// before in backpropagation, of the weights before the step.
    pub fn update(
        &mut self,
        tape: &Tape,
        teaching: &Teaching,
        step: &Step,
        input_too: bool,
    ) -> Result<Option<Teaching>> {
        let Teaching { rows, .. } = teaching;
        let outcome = self.engine.step(tape, rows, teaching.signal(), step, input_too)?;
        self.rested(outcome)
    }

    /// One step of a fully connected layer without bias along δᵀ x, with a δ `[b, n]` of its
    /// preactivations, wherever that comes from, and x `[b, m]`.
    pub fn descend(&mut self, input: &Tensor, delta: &Tensor, step: &Step) -> Result<()> {
        self.engine.descend(input, delta, step)?;
        self.rested(())
    }

    /// One step along gradients of the parameters, in their order, wherever these come from.
    pub fn apply(&mut self, gradients: &[Tensor], step: &Step) -> Result<()> {
        self.engine.apply(gradients, step)?;
        self.rested(())
    }

    /// The L2 norm of all parameters together.
    pub fn weight_norm(&self) -> f64 {
        tch::no_grad(|| norm(parameters(self.block()))).double_value(&[])
    }

    /// The L2 norm of all parameters' gradients together in the last watched step (see
    /// [`Step::watch`]), if there was one.
    pub fn gradient_norm(&self) -> Option<f64> {
        self.engine.gradient_norm()
    }
}

/// L2 norms over all parameters of a layer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LayerNorms {
    /// Of the parameters.
    pub weight: f64,
    /// Of their gradient on the epoch's last batch; none for a layer that is not trained.
    pub gradient: Option<f64>,
}

/// The layers that this process trains, in forward order, the output layer last.
///
/// Whoever asks about a network in training (evaluation, checkpoints, norms, diagnostics) asks here,
/// and not layer by layer: where a network is divided among processes, each has its own layers.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::Generator;
/// use f3_tch::engine::EngineSettings;
/// use f3_tch::feedback::FeedbackInit;
/// use f3_tch::layers::Layers;
/// use f3_tch::network::{Activation, Block, Dense};
/// use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
/// use f3_tch::tch::{Device, Tensor};
///
/// let mut generator = Generator::new(1)?;
/// let blocks: Vec<Box<dyn Block>> = vec![
///     Box::new(Dense::new(8, 20, Activation::Tanh, &mut generator, Device::Cpu)?),
///     Box::new(Dense::new(20, 3, Activation::Sigmoid, &mut generator, Device::Cpu)?),
/// ];
/// let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
/// let layers = Layers::new(blocks, Some(&FeedbackInit::KaimingUniform), &adam, &mut generator)?;
///
/// assert_eq!(layers.parameter_count(), 8 * 20 + 20 + 20 * 3 + 3);
/// assert_eq!(layers.as_slice()[0].feedback().map(Tensor::size), Some(vec![3, 20]));
/// let outputs = layers.forward(&generator.uniform(&[5, 8], 0.0, 1.0)?)?;
/// assert_eq!(outputs.size(), [5, 3]);
/// # Ok(())
/// # }
/// ```
pub struct Layers(Vec<Layer>);

/// Equal parts of so many rows, such that a layer's outputs (2 MiB) stay in the cores' own caches until the
/// next one reads them.
fn rows_in_cache(layers: &[Layer], rows: i64) -> i64 {
    let widest = layers.iter().map(|layer| layer.block().outputs()).max();
    let most = ((2 << 20) / (4 * widest.unwrap_or(1))).max(1);
    let parts = (rows + most - 1) / most;
    (rows + parts - 1) / parts.max(1)
}

impl Layers {
    /// Layers of these blocks, the output block last: the outputs of each are the inputs of the next.
    /// Where `feedback` is given, a matrix B_i `[C, n_i]` is drawn for each hidden block in forward
    /// order, and taken to the device of the block.
    ///
    /// # Errors
    /// If the settings ask for kernels that a block does not have, or memory runs out.
    pub fn new(
        mut blocks: Vec<Box<dyn Block>>,
        feedback: Option<&FeedbackInit>,
        settings: &EngineSettings,
        generator: &mut Generator,
    ) -> Result<Layers> {
        let kernels = settings.choose(blocks.iter().map(Box::as_ref))?;
        settings.check_precision(kernels, blocks.iter().map(Box::as_ref))?;
        let output = blocks.pop().context("a network has an output block")?;
        let outputs = output.outputs();
        let untaught = |block| -> Result<Layer> {
            let (engine, offloaded) = (settings.build(block, kernels)?, settings.offload.is_some());
            Ok(Layer { engine, feedback: None, predictor: None, offloaded })
        };
        let mut layers = Vec::new();
        for block in blocks {
            let matrix = feedback.map(|init| init.build(outputs, block.outputs(), generator));
            let matrix = matrix.transpose()?;
            let mut layer = untaught(block)?;
            layer.feedback = matrix.map(|matrix| layer.bring(&matrix));
            layers.push(layer);
        }
        layers.push(untaught(output)?);
        if layers.iter().any(|layer| !layer.engine.is_fused()) {
            layers.iter_mut().for_each(|layer| layer.engine.go_beside_libtorch());
        }
        Ok(Layers(layers))
    }

    /// The layers themselves.
    pub fn as_slice(&self) -> &[Layer] {
        &self.0
    }

    /// The layers themselves, to be taught.
    pub fn as_mut_slice(&mut self) -> &mut [Layer] {
        &mut self.0
    }

    /// The hidden layers, and the output layer.
    pub(crate) fn split_output(&mut self) -> (&mut [Layer], &mut Layer) {
        let (output, hidden) = self.0.split_last_mut().expect("made with an output layer");
        (hidden, output)
    }

    /// The outputs `[r, C]` for inputs `[r, n_0]`, on the device of the inputs.
    pub fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        let all = |inputs: &Tensor| {
            let mut layers = self.0.iter();
            layers.try_fold(inputs.shallow_clone(), |h, layer| layer.forward(&layer.bring(&h)))
        };
        // What the fused kernels give for a row does not depend on the other rows.
        let outputs = match self.are_fused() {
            true => {
                let parts = inputs.split(rows_in_cache(&self.0, inputs.size()[0]).max(1), 0);
                joined(parts.iter().map(all).collect::<Result<_>>()?)
            }
            false => all(inputs)?,
        };
        Ok(outputs.to_device(inputs.device()))
    }

    /// As [`Layers::forward`], for each of some batches. A network that lives in files is gone through
    /// once.
    pub fn forward_all(&self, batches: &[Tensor]) -> Result<Vec<Tensor>> {
        if !self.are_offloaded() {
            return batches.iter().map(|inputs| self.forward(inputs)).collect();
        }
        let (first, others) = self.0.split_first().expect("made with an output layer");
        let outputs = others
            .iter()
            .try_fold(first.forward_all(batches)?, |h, layer| layer.forward_all(&h))?;
        let device = |(h, inputs): (Tensor, &Tensor)| h.to_device(inputs.device());
        Ok(outputs.into_iter().zip(batches).map(device).collect())
    }

    /// A forward pass of one batch in which every layer keeps what it needs for its gradients, on its
    /// own device.
    pub fn record(&self, inputs: &Tensor) -> Result<Vec<Tape>> {
        let mut tapes: Vec<Tape> = Vec::with_capacity(self.0.len());
        for layer in &self.0 {
            let input = tapes.last().map_or(inputs, |tape| &tape.output);
            let tape = layer.record(&layer.bring(input))?;
            tapes.push(tape);
        }
        Ok(tapes)
    }

    /// Small operations of libtorch between those of the layers, see [`Layer::beside`].
    pub(crate) fn between<T>(&self, operations: impl FnOnce() -> T) -> T {
        match self.0.last() {
            Some(layer) => layer.beside(operations),
            None => operations(),
        }
    }

    /// Gives the samples at some positions (int64 `[r]`), for the first layer. Beside libtorch's kernels one
    /// thread gathers them: helpers of ours would go on spinning where OpenMP's threads compute next.
    pub(crate) fn gatherer(&self) -> impl Fn(&Split, &Tensor) -> Batch + use<> {
        let fused = self.are_fused();
        move |data, positions| {
            let _threads = use_threads((!fused).then_some(1));
            data.gather(positions)
        }
    }

    /// Whether kernels of our own compute all layers, with threads of their own.
    pub(crate) fn are_fused(&self) -> bool {
        self.0.iter().all(Layer::has_threads_of_its_own)
    }

    /// How many numbers the optimizers train.
    pub fn parameter_count(&self) -> i64 {
        let parameters = self.0.iter().flat_map(|layer| parameters(layer.block()));
        parameters.map(|parameter| parameter.numel() as i64).sum()
    }

    /// Whether parameters and optimizer states live in files.
    pub(crate) fn are_offloaded(&self) -> bool {
        self.0.iter().any(|layer| layer.offloaded)
    }

    /// The first layer, counted from 0, whose predictor has weights that are NaN or infinite.
    pub(crate) fn first_predictor_not_finite(&self) -> Option<usize> {
        self.0.iter().position(|layer| layer.predictor().is_some_and(|it| !it.is_finite()))
    }

    /// The devices of the layers that have parameters, in forward order.
    pub fn devices(&self) -> impl Iterator<Item = Device> {
        self.0.iter().filter_map(|layer| layer.device())
    }

    /// For each layer the norm of its weights and of its last watched gradient.
    pub fn norms(&self) -> Vec<LayerNorms> {
        let norms = |layer: &Layer| LayerNorms {
            weight: layer.weight_norm(),
            gradient: layer.gradient_norm(),
        };
        self.0.iter().map(norms).collect()
    }

    /// A forward pass that ends at the first layer, counted from 0, with a parameter or an output that
    /// is not finite; gives its place, or the outputs `[r, C]` if there is none.
    pub(crate) fn forward_while_finite(&self, inputs: &Tensor) -> Result<Result<Tensor, usize>> {
        let mut h = inputs.shallow_clone();
        for (index, layer) in self.0.iter().enumerate() {
            h = layer.forward(&layer.bring(&h))?;
            if !layer.weight_norm().is_finite() || h.isfinite().all().int64_value(&[]) == 0 {
                return Ok(Err(index));
            }
        }
        Ok(Ok(h))
    }

    /// What a layer, counted from 0, is called in messages.
    pub(crate) fn name_of(&self, index: usize) -> String {
        match index + 1 == self.0.len() {
            true => "the output layer".to_string(),
            false => format!("hidden layer {}", index + 1),
        }
    }

    /// Everything that is saved of a network: the blocks' parameters and buffers, and the feedback
    /// matrices, under the names of [`tensor_names`].
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let layers = self.0.iter().map(|layer| (layer.block(), layer.feedback()));
        tensor_names(layers)
    }

    /// The tensors of [`Layers::named_tensors`] and, as `optimizer.0.exp_avg.0` and so on, the state
    /// of each layer's optimizer, and that of its predictor as `prediction.0.guesses` and so on.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.named_tensors();
        for (index, layer) in self.0.iter().enumerate() {
            let own = layer.optimizer().state().into_iter();
            state.extend(own.map(|(name, tensor)| {
                (format!("optimizer.{index}.{name}"), tensor.shallow_clone())
            }));
            let predictor = layer.predictor.iter().flat_map(Predictor::state);
            let named = |(name, tensor)| (format!("prediction.{index}.{name}"), tensor);
            state.extend(predictor.map(named));
        }
        state
    }
}
