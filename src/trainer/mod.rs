//! Learning rules: what one pass over the training set does to a network.

mod backprop;
mod feedback;
mod pepita;
mod recorded;

pub use backprop::BackpropTrainer;
pub use feedback::FeedbackTrainer;
pub use pepita::PepitaTrainer;
pub use recorded::RecordedTrainer;

use anyhow::Result;
use tch::Tensor;

use crate::data::{Batch, Split};
use crate::error_store::ErrorStore;
use crate::generator::Generator;
use crate::network::Network;

/// Trains a network that it owns, batch by batch.
///
/// A new learning rule that can be told apart from [`FeedbackTrainer`] by more than its error
/// information is a new file beside this one, with one arm in `assemble.rs`.
pub trait Trainer: Send {
    /// Takes one step on a batch.
    fn train_batch(&mut self, batch: &Batch) -> Result<()>;

    /// The network as trained so far.
    fn network(&self) -> &Network;

    /// The network, to be changed.
    fn network_mut(&mut self) -> &mut Network;

    /// The per-sample errors, if this rule keeps them.
    fn error_store_mut(&mut self) -> Option<&mut ErrorStore> {
        None
    }

    /// Every tensor that the next step depends on, by names of their own; to write to one is to set it.
    fn state(&self) -> Vec<(String, Tensor)> {
        self.network().state()
    }

    /// Random numbers of the rule's own, by name.
    fn generators_mut(&mut self) -> Vec<(&'static str, &mut Generator)> {
        Vec::new()
    }

    /// The error information `[b, C]` with which the hidden layers would be taught on this batch
    /// now, if this rule teaches them with feedback.
    fn teaching_error(&self, _batch: &Batch) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Takes every sample of the training set once, in this order (int64 `[N]`, on the device of
    /// the data), and tells how many samples are done after each batch.
    ///
    /// The gradients of the last batch are watched, see
    /// [`Layer::gradient_norm`](crate::network::Layer::gradient_norm).
    fn train_epoch(
        &mut self,
        data: &Split,
        order: &Tensor,
        batch_size: i64,
        on_batch: &mut dyn FnMut(i64),
    ) -> Result<()> {
        batch_by_batch(self, data, order, batch_size, on_batch)
    }
}

fn batch_by_batch(
    trainer: &mut (impl Trainer + ?Sized),
    data: &Split,
    order: &Tensor,
    batch_size: i64,
    on_batch: &mut dyn FnMut(i64),
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (mut done, count) = (0, order.size()[0]);
    for batch in data.batches(order, batch_size) {
        if done + batch.len() == count {
            trainer.network_mut().watch_gradients(true);
        }
        trainer.train_batch(&batch)?;
        done += batch.len();
        on_batch(done);
    }
    trainer.network_mut().watch_gradients(false);
    Ok(())
}
