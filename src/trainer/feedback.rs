//! Training with feedback matrices in place of backpropagation: F³, DFA, DRTP, and training the
//! last layer only.
//!
//! Legend: b batch, C outputs, h_i `[b, n_i]` output of layer i, e `[b, C]` error information,
//! y `[b, C]` the network's output, y* `[b, C]` the targets.

use anyhow::{Result, bail};
use tch::Tensor;

use super::{Trainer, batch_by_batch};
use crate::data::{Batch, Split};
use crate::error_info::{ErrorInfo, Timing};
use crate::error_store::ErrorStore;
use crate::loss::Loss;
use crate::network::Network;
use crate::schedule::{Chunk, Head, LayerMajor, Schedule};

/// Algorithm 1 of the F³ paper: one forward pass in which every hidden layer steps along
/// `e · B_i` before the next layer is reached.
///
/// [`ErrorInfo`] chooses e, and with it the algorithm: with information from the previous epoch
/// this is F³, with the targets DRTP, with the current error DFA. A network whose hidden layers
/// have no feedback matrix trains its output layer only (LLO).
pub struct FeedbackTrainer {
    network: Network,
    error_info: ErrorInfo,
    loss: Loss,
    store: Option<ErrorStore>, // kept by the delayed kinds alone
    schedule: Box<dyn Schedule>,
}

impl FeedbackTrainer {
    /// A trainer for this network on this training set, whose samples it knows by position.
    pub fn new(
        network: Network,
        error_info: ErrorInfo,
        loss: Loss,
        training_set: &Split,
    ) -> Result<FeedbackTrainer> {
        let store = match error_info.timing() {
            Timing::Delayed => Some(ErrorStore::new(&training_set.targets)?),
            Timing::Known | Timing::Current => None,
        };
        let schedule = Box::new(LayerMajor::sequential());
        Ok(FeedbackTrainer { network, error_info, loss, store, schedule })
    }

    /// Sets the order in which layers and batches take their turns, from the next epoch on. The
    /// numbers stay the same, to the bit.
    ///
    /// # Errors
    /// Where the error information is of the current batch, layers cannot learn before the output is
    /// known: there is only one order then.
    pub fn set_schedule(&mut self, schedule: Box<dyn Schedule>) -> Result<()> {
        if self.error_info.timing() == Timing::Current {
            bail!("layers that are taught by the current error cannot learn in another order");
        }
        self.schedule = schedule;
        Ok(())
    }

    /// Algorithm 1: the hidden layers learn on the way forward, from information that is there
    /// beforehand, the output layer from the loss.
    fn learn_forward(&mut self, batch: &Batch) -> Result<()> {
        let stored = self.store.as_ref().map(|store| store.read(&batch.positions));
        let error = self.error_info.signal(stored.as_ref(), &batch.targets);

        let (hidden, output) = self.network.split_output();
        let mut h = batch.inputs.shallow_clone();
        for layer in hidden {
            h = layer.learn(&layer.bring(&h), &layer.bring(&error), batch.len())?;
        }
        let targets = output.bring(&batch.targets);
        let y = output.fit(&output.bring(&h), &targets, batch.len(), self.loss)?;

        if let Some(store) = &mut self.store {
            let observed = self.error_info.observe(&y, &targets, self.loss);
            store.write(&batch.positions, &observed.to_device(batch.targets.device()));
        }
        Ok(())
    }

    /// Algorithm 1 on a whole epoch, in the order of the schedule. Errors are read as they were
    /// before the epoch, and written when it is over.
    fn learn_epoch(
        &mut self,
        data: &Split,
        order: &Tensor,
        batch_size: i64,
        on_samples: &mut dyn FnMut(i64),
    ) -> Result<()> {
        let info = self.error_info;
        let stored = self.store.as_ref().map(|store| store.errors().shallow_clone());
        let data = data.shallow_clone();
        let rows = batch_size * self.schedule.chunk() as i64;
        let count = order.size()[0];
        let positions = order.shallow_clone();
        let chunks = (0..count).step_by(rows as usize).map(move |start| {
            let batch = data.gather(&positions.narrow(0, start, rows.min(count - start)));
            let stored = stored.as_ref().map(|stored| stored.index_select(0, &batch.positions));
            Ok(Chunk {
                error: info.signal(stored.as_ref(), &batch.targets),
                last: start + rows >= count,
                h: batch.inputs,
                targets: batch.targets,
                batch_size,
            })
        });

        let (hidden, output) = self.network.split_output();
        let observed = self.store.is_some().then_some(info);
        let head = Head { output, loss: self.loss, observed };
        let errors = self.schedule.run(hidden, head, Box::new(chunks), on_samples)?;
        if let Some(store) = &mut self.store {
            store.write(order, &Tensor::cat(&errors, 0).to_device(order.device()));
        }
        Ok(())
    }

    /// DFA: the error is known only at the end, so the activations wait for it. The updates are
    /// those of a second forward pass, without making one.
    fn learn_afterwards(&mut self, batch: &Batch) -> Result<()> {
        let tapes = self.network.record(&batch.inputs)?;
        let (last, others) = tapes.split_last().expect("has an output layer");
        let error = self.error_info.observe(&last.output, &batch.targets, self.loss);

        let (hidden, output) = self.network.split_output();
        for (layer, tape) in hidden.iter_mut().zip(others) {
            layer.teach(tape, &error)?;
        }
        output.update(last, &self.loss.gradient(&last.output, &batch.targets))
    }
}

impl Trainer for FeedbackTrainer {
    fn train_batch(&mut self, batch: &Batch) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        match self.error_info.timing() {
            Timing::Known | Timing::Delayed => self.learn_forward(batch),
            Timing::Current => self.learn_afterwards(batch),
        }
    }

    fn train_epoch(
        &mut self,
        data: &Split,
        order: &Tensor,
        batch_size: i64,
        on_batch: &mut dyn FnMut(i64),
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        if self.error_info.timing() == Timing::Current {
            return batch_by_batch(self, data, order, batch_size, on_batch);
        }
        let mut done = 0;
        self.learn_epoch(data, order, batch_size, &mut |samples| {
            done += samples;
            on_batch(done);
        })
    }

    fn network(&self) -> &Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn error_store_mut(&mut self) -> Option<&mut ErrorStore> {
        self.store.as_mut()
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.network.state();
        state.extend(self.store.iter().flat_map(ErrorStore::state));
        state
    }

    fn teaching_error(&self, batch: &Batch) -> Result<Option<Tensor>> {
        let stored = self.store.as_ref().map(|store| store.read(&batch.positions));
        Ok(Some(match self.error_info.timing() {
            Timing::Known | Timing::Delayed => {
                self.error_info.signal(stored.as_ref(), &batch.targets)
            }
            Timing::Current => {
                let y = self.network.forward(&batch.inputs)?;
                self.error_info.observe(&y, &batch.targets, self.loss)
            }
        }))
    }
}
