//! Training with feedback matrices in place of backpropagation: F³, DFA, DRTP, and training the
//! last layer only.
//!
//! Legend: b batch, C outputs, h_i `[b, n_i]` output of layer i, e `[b, C]` error information,
//! y `[b, C]` the network's output, y* `[b, C]` the targets.

use anyhow::Result;
use tch::Tensor;

use super::Trainer;
use crate::data::{Batch, Split};
use crate::error_info::{ErrorInfo, Timing};
use crate::error_store::ErrorStore;
use crate::loss::Loss;
use crate::network::Network;

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
        Ok(FeedbackTrainer { network, error_info, loss, store })
    }

    /// Algorithm 1: learns on the way forward, from information that is there beforehand.
    fn learn_forward(&mut self, batch: &Batch) -> Result<()> {
        let stored = self.store.as_ref().map(|store| store.read(&batch.positions));
        let error = self.error_info.signal(stored.as_ref(), &batch.targets);

        let (hidden, output) = self.network.split_output();
        let mut h = batch.inputs.shallow_clone();
        for layer in hidden {
            h = layer.learn(&h, &error)?;
        }
        let tape = output.record(&h);
        let y = &tape.output;
        output.update(&tape, &self.loss.gradient(y, &batch.targets))?;

        if let Some(store) = &mut self.store {
            let observed = self.error_info.observe(y, &batch.targets, self.loss);
            store.write(&batch.positions, &observed);
        }
        Ok(())
    }

    /// DFA: the error is known only at the end, so the activations wait for it. The updates are
    /// those of a second forward pass, without making one.
    fn learn_afterwards(&mut self, batch: &Batch) -> Result<()> {
        let tapes = self.network.record(&batch.inputs);
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

    fn network(&self) -> &Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn error_store_mut(&mut self) -> Option<&mut ErrorStore> {
        self.store.as_mut()
    }

    fn teaching_error(&self, batch: &Batch) -> Option<Tensor> {
        let stored = self.store.as_ref().map(|store| store.read(&batch.positions));
        Some(match self.error_info.timing() {
            Timing::Known | Timing::Delayed => {
                self.error_info.signal(stored.as_ref(), &batch.targets)
            }
            Timing::Current => {
                let y = self.network.forward(&batch.inputs);
                self.error_info.observe(&y, &batch.targets, self.loss)
            }
        })
    }
}
