//! Training with feedback matrices in place of backpropagation: F³, DFA, DRTP, and training the
//! last layer only.
//!
//! Legend: N samples in the training set, r rows (samples of one or more batches), b batch, C outputs,
//! h_i `[r, n_i]` output of layer i, e `[r, C]` error information, y `[r, C]` the network's output,
//! y* `[r, C]` the targets, t epoch.

use anyhow::{Result, bail};
use tch::Tensor;

use super::{Epoch, Trainer, batch_by_batch};
use crate::data::{Batch, Split};
use crate::engine::{Step, Teaching};
use crate::error_info::{ErrorInfo, Timing};
use crate::error_store::ErrorStore;
use crate::layers::Layers;
use crate::loss::Loss;
use crate::prediction::{Announced, Announcer, Prediction, Rows};
use crate::process::use_threads;
use crate::schedule::{self, Chunk, Head, LayerMajor, Schedule, Stage};

/// Algorithm 1 of the F³ paper: one forward pass in which every hidden layer steps along
/// `e · B_i` before the next layer is reached.
///
/// [`ErrorInfo`] chooses e, and with it the algorithm: with information from the previous epoch
/// this is F³, with the targets DRTP, with the current error DFA. A network whose hidden layers
/// have no feedback matrix trains its output layer only (LLO).
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::Generator;
/// use f3_tch::data::Split;
/// use f3_tch::engine::EngineSettings;
/// use f3_tch::error_info::ErrorInfo;
/// use f3_tch::feedback::FeedbackInit;
/// use f3_tch::layers::Layers;
/// use f3_tch::loss::Loss;
/// use f3_tch::network::{Activation, Block, Dense};
/// use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
/// use f3_tch::tch::{Device, Kind, Tensor};
/// use f3_tch::trainer::{Epoch, FeedbackTrainer, Trainer};
///
/// let mut generator = Generator::new(1)?;
/// let inputs = generator.uniform(&[60, 8], 0.0, 1.0)?;
/// let targets = generator.integers(&[60], 3)?.onehot(3).to_kind(Kind::Float);
/// let data = Split::new(inputs, targets);
///
/// let blocks: Vec<Box<dyn Block>> = vec![
///     Box::new(Dense::new(8, 20, Activation::Tanh, &mut generator, Device::Cpu)?),
///     Box::new(Dense::new(20, 3, Activation::Sigmoid, &mut generator, Device::Cpu)?),
/// ];
/// let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
/// let layers = Layers::new(blocks, Some(&FeedbackInit::KaimingUniform), &adam, &mut generator)?;
///
/// let loss = Loss::BinaryCrossEntropy;
/// let mut trainer = FeedbackTrainer::new(layers, ErrorInfo::DelayedError, loss, &data)?;
/// let order = Tensor::arange(60, (Kind::Int64, Device::Cpu));
/// let (batch_size, learning_rate, diagnosed) = (10, 1e-3, false);
/// let epoch = Epoch { data: &data, order: &order, batch_size, learning_rate, diagnosed };
/// trainer.train_epoch(&epoch, &mut |samples| println!("{samples} done"))?;
/// # Ok(())
/// # }
/// ```
pub struct FeedbackTrainer {
    layers: Layers,
    error_info: ErrorInfo,
    loss: Loss,
    store: Option<ErrorStore>,      // kept by the delayed kinds alone
    prediction: Option<Prediction>, // of what has become of the stored errors
    schedule: Box<dyn Schedule>,
}

/// Algorithm 1 on the layers of a stage, for some batches of epoch t: the hidden layers learn on the
/// way forward from e^{t-1}, which is known beforehand, the output layer from the loss. Gives the
/// stage's outputs and, where the network ends, e^t.
///
/// Every training step is one of this function, under every schedule. A batch learns from the outputs
/// of the layer before as they were before that layer's step on the batch.
fn learn_forward(stage: &mut Stage, mut chunk: Chunk) -> Result<Chunk> {
    let _no_grad = tch::no_grad_guard();
    let by_others = stage.head.is_none();
    for layer in stage.layers.iter_mut() {
        chunk.bring_to(layer);
        chunk.h = match stage.announced {
            None => layer.learn(&chunk.h, &chunk.error, &chunk.step)?, // δh_i = e^{t-1} · B_i
            Some(announced) => {
                layer.learn_predicting(&chunk.rows(), announced, by_others, &chunk.step)? // ê_i · B_i
            }
        };
    }
    if let Some(Head { output, loss, observed, announcer }) = &mut stage.head {
        chunk.bring_to(output);
        chunk.h = output.fit(&chunk.h, &chunk.targets, *loss, &chunk.step)?; // ∂L/∂y
        if let Some(info) = observed {
            let Chunk { h, targets, step, .. } = &chunk;
            chunk.error =
                output.beside(|| info.observe_batches(h, targets, *loss, step.batch_size)); // e^t
            announcer.iter().for_each(|announcer| announcer.announce(&chunk.error));
        }
    }
    Ok(chunk)
}

impl FeedbackTrainer {
    /// A trainer for these layers on this training set, whose samples it knows by position.
    pub fn new(
        layers: Layers,
        error_info: ErrorInfo,
        loss: Loss,
        training_set: &Split,
    ) -> Result<FeedbackTrainer> {
        let store = match error_info.timing() {
            Timing::Delayed => Some(ErrorStore::new(&training_set.targets)?),
            Timing::Known | Timing::Current => None,
        };
        let schedule = Box::new(LayerMajor::sequential());
        let mut trainer =
            FeedbackTrainer { layers, error_info, loss, store, prediction: None, schedule };
        if error_info == ErrorInfo::DelayedErrorPredicted {
            trainer.predict_with(Prediction::default(), training_set)?;
        }
        Ok(trainer)
    }

    /// A trainer by [`ErrorInfo::DelayedErrorPredicted`], whose hidden layers predict what has become of the
    /// stored errors since the previous epoch.
    pub fn predicting(
        layers: Layers,
        settings: Prediction,
        loss: Loss,
        training_set: &Split,
    ) -> Result<FeedbackTrainer> {
        let mut trainer =
            FeedbackTrainer::new(layers, ErrorInfo::DelayedError, loss, training_set)?;
        trainer.error_info = ErrorInfo::DelayedErrorPredicted;
        trainer.predict_with(settings, training_set)?;
        Ok(trainer)
    }

    fn predict_with(&mut self, settings: Prediction, training_set: &Split) -> Result<()> {
        let mut inputs = training_set.input_count();
        for layer in self.layers.split_output().0 {
            layer.predict_with(settings, self.loss, training_set.len(), inputs)?;
            inputs = layer.block().outputs();
        }
        self.prediction = Some(settings);
        Ok(())
    }

    /// One epoch of Algorithm 1 in the order of the schedule. Errors are read as they were before the
    /// epoch, and written when all of them are there.
    fn learn_epoch(&mut self, epoch: &Epoch, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        let info = self.error_info;
        let gathered = self.schedule.chunk();
        let stages = self.schedule.stages();
        let learned = self.prediction.map_or(gathered, |it| it.chunk(gathered, stages));
        // Parts of what is gathered have no memory of their own, which libtorch's products want.
        let whole_parts = (gathered / learned).max(1) * learned;
        let gathered = if self.layers.are_fused() { whole_parts } else { learned };
        let [gathered, learned] = [gathered, learned].map(|it| epoch.batch_size * it as i64);
        let announced = self.prediction.map(|_| Announced::default());
        let stored = self.store.as_ref().map(|store| store.errors().shallow_clone());
        let (data, order) = (epoch.data.shallow_clone(), epoch.order.shallow_clone());
        let (count, gather) = (epoch.len(), self.layers.gatherer());
        let [step, last_step] = [0, count].map(|end| epoch.step(end));
        let chunks = (0..count).step_by(gathered as usize).flat_map(move |start| {
            let batch = gather(&data, &order.narrow(0, start, gathered.min(count - start)));
            let step = if start + gathered < count { step } else { last_step };
            chunk(info, stored.as_ref(), batch, step, start).cut(learned)
        });

        let (mut errors, mut samples) = (Vec::new(), 0);
        let done = &mut |chunk: Chunk| {
            samples += chunk.len();
            on_samples(samples);
            errors.push(chunk.error);
        };
        let FeedbackTrainer { layers, loss, store, schedule, .. } = self;
        begin_epoch(layers, epoch.diagnosed);
        let network = whole(layers, *loss, store.as_ref().map(|_| info), announced.as_ref());
        schedule.run(network, learn_forward, schedule::Epoch { chunks: Box::new(chunks), done })?;
        end_epoch(layers, announced.as_ref())?;
        if let Some(store) = store {
            store.write(epoch.order, &Tensor::cat(&errors, 0).to_device(epoch.order.device()));
        }
        Ok(())
    }

    /// Algorithm 1 on one batch, as if it were a whole epoch to those who predict errors.
    fn learn_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let FeedbackTrainer { layers, error_info, loss, store, prediction, .. } = self;
        let stored = store.as_ref().map(ErrorStore::errors);
        let same = batch.shallow_clone();
        let chunk = chunk(*error_info, stored, same, step.for_batch(&batch.inputs), 0);
        let announced = prediction.map(|_| Announced::default());
        let observed = store.as_ref().map(|_| *error_info);
        begin_epoch(layers, false);
        let mut network = whole(layers, *loss, observed, announced.as_ref());
        let learned = learn_forward(&mut network, chunk)?;
        drop(network);
        end_epoch(layers, announced.as_ref())?;
        if let Some(store) = store {
            store.write(&batch.positions, &learned.error.to_device(batch.targets.device()));
        }
        Ok(())
    }

    /// DFA: the error is known only at the end, so the activations wait for it. The updates are
    /// those of a second forward pass, without making one.
    fn learn_afterwards(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let tapes = self.layers.record(&batch.inputs)?;
        let (last, others) = tapes.split_last().expect("made with an output layer");
        let FeedbackTrainer { layers, error_info, loss, .. } = self;
        let (y, targets) = (&last.output, &batch.targets);
        let (error, gradient) =
            layers.between(|| (error_info.observe(y, targets, *loss), loss.gradient(y, targets)));

        let (hidden, output) = layers.split_output();
        for (layer, tape) in hidden.iter_mut().zip(others) {
            layer.teach(tape, &error, step)?;
        }
        output.update(last, &Teaching::gradient(gradient), step, false).map(|_| ())
    }
}

/// Some samples at the start of their way, with the error information that was stored for them.
fn chunk(info: ErrorInfo, stored: Option<&Tensor>, batch: Batch, step: Step, first: i64) -> Chunk {
    let stored = stored.map(|stored| stored.index_select(0, &batch.positions));
    let error = info.signal(stored.as_ref(), &batch.targets);
    let Batch { inputs, targets, positions } = batch;
    Chunk { h: inputs, error, targets, positions, step, first }
}

/// All layers as one stage, before an epoch.
fn whole<'a>(
    layers: &'a mut Layers,
    loss: Loss,
    observed: Option<ErrorInfo>,
    announced: Option<&'a Announced>,
) -> Stage<'a> {
    let (layers, output) = layers.split_output();
    let announcer = announced.map(Announcer);
    Stage { layers, announced, head: Some(Head { output, loss, observed, announcer }) }
}

/// Lets the hidden layers forget what an epoch that failed has left, and measure what diagnostics want.
fn begin_epoch(layers: &mut Layers, diagnosed: bool) {
    layers.split_output().0.iter_mut().for_each(|layer| layer.begin_epoch(diagnosed));
}

/// Lets the hidden layers learn from the last errors of an epoch, if they want to know errors.
fn end_epoch(layers: &mut Layers, announced: Option<&Announced>) -> Result<()> {
    let Some(announced) = announced else { return Ok(()) };
    layers.split_output().0.iter_mut().try_for_each(|layer| layer.end_epoch(announced))
}

impl Trainer for FeedbackTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        match self.error_info.timing() {
            Timing::Known | Timing::Delayed => self.learn_batch(batch, step),
            Timing::Current => self.learn_afterwards(batch, step),
        }
    }

    fn train_epoch(&mut self, epoch: &Epoch, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        match self.error_info.timing() {
            Timing::Known | Timing::Delayed => self.learn_epoch(epoch, on_samples),
            Timing::Current => batch_by_batch(self, epoch, on_samples),
        }
    }

    /// Where errors are predicted, blocks of batches belong together.
    fn is_batch_by_batch(&self) -> bool {
        self.prediction.is_none()
    }

    fn layers(&self) -> &Layers {
        &self.layers
    }

    fn set_schedule(&mut self, schedule: Box<dyn Schedule>) -> Result<()> {
        if self.error_info.timing() == Timing::Current {
            bail!("layers that are taught by the current error cannot learn in another order");
        }
        self.schedule = schedule;
        Ok(())
    }

    fn error_store_mut(&mut self) -> Option<&mut ErrorStore> {
        self.store.as_mut()
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.layers.state();
        state.extend(self.store.iter().flat_map(ErrorStore::state));
        state
    }

    fn teaching_errors(&self, batch: &Batch) -> Result<Option<Vec<Tensor>>> {
        let stored = self.store.as_ref().map(|store| store.read(&batch.positions));
        let hidden = self.layers.as_slice().len() - 1;
        let is_current = self.error_info.timing() == Timing::Current;
        if self.prediction.is_none() && !is_current {
            let error = self.error_info.signal(stored.as_ref(), &batch.targets);
            return Ok(Some((0..hidden).map(|_| error.shallow_clone()).collect()));
        }
        let tapes = self.layers.record(&batch.inputs)?;
        let error = match is_current {
            true => self.error_info.observe(&tapes[hidden].output, &batch.targets, self.loss),
            false => self.error_info.signal(stored.as_ref(), &batch.targets),
        };
        let errors = self.layers.as_slice().iter().zip(&tapes[..hidden]).map(|(layer, tape)| {
            let [input, stored, targets, positions] =
                layer.bring_all([&tape.input, &error, &batch.targets, &batch.positions]);
            let rows = Rows { input, stored, targets, positions, first: 0 };
            layer.teaching_error(&rows, &tape.output)
        });
        errors.collect::<Result<_>>().map(Some)
    }
}
