//! Learning rules: what one pass over the training set does to a network.

mod backprop;
mod feedback;
mod feedback_rules;
mod pepita;
mod recorded;
mod rule;

pub use backprop::{BackpropTrainer, Bp, Fa};
pub use feedback::FeedbackTrainer;
pub use feedback_rules::{Dfa, Drtp, F3, Llo};
pub use pepita::{Pepita, PepitaTrainer};
pub use recorded::RecordedTrainer;
pub use rule::{Algorithm, Beside, Parts, Rule};

use anyhow::{Result, bail};
use tch::Tensor;

use crate::data::{Batch, Split};
use crate::engine::Step;
use crate::error_store::ErrorStore;
use crate::generator::Generator;
use crate::layers::Layers;
use crate::schedule::Schedule;

/// Trains the layers that it owns, batch by batch. [`Rule`] makes one from a configuration.
///
/// A trainer that only teaches hidden layers what the targets are, by feedback matrices (`examples/own_rule.rs`
/// has one with gradients of its own):
///
/// ```no_run
/// use f3_tch::data::Batch;
/// use f3_tch::engine::Step;
/// use f3_tch::layers::Layers;
/// use f3_tch::tch;
/// use f3_tch::trainer::Trainer;
///
/// struct Hidden {
///     layers: Layers,
/// }
///
/// impl Trainer for Hidden {
///     fn train_batch(&mut self, batch: &Batch, step: &Step) -> anyhow::Result<()> {
///         let _no_grad = tch::no_grad_guard();
///         let tapes = self.layers.record(&batch.inputs)?; // the input and output of each layer
///         let hidden = self.layers.as_mut_slice().len() - 1;
///         for (layer, tape) in self.layers.as_mut_slice()[..hidden].iter_mut().zip(&tapes) {
///             layer.teach(tape, &batch.targets, step)?; // δh_i = y* · B_i
///         }
///         Ok(())
///     }
///
///     fn layers(&self) -> &Layers {
///         &self.layers
///     }
/// }
/// ```
pub trait Trainer: Send {
    /// Takes one step on a batch.
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()>;

    /// Whether an epoch is its batches one after the other, by [`Trainer::train_batch`], and nothing more.
    fn is_batch_by_batch(&self) -> bool {
        true
    }

    /// The layers as trained so far.
    fn layers(&self) -> &Layers;

    /// The per-sample errors, if this rule keeps them.
    fn error_store_mut(&mut self) -> Option<&mut ErrorStore> {
        None
    }

    /// Sets the order in which layers and batches take their turns, from the next epoch on. The
    /// numbers stay the same, to the bit.
    ///
    /// # Errors
    /// Where layers cannot learn before the output is known, there is only one order.
    fn set_schedule(&mut self, _schedule: Box<dyn Schedule>) -> Result<()> {
        bail!("layers that do not learn on the way forward cannot learn in another order")
    }

    /// Every tensor that the next step depends on, by names of their own; to write to one is to set it.
    fn state(&self) -> Vec<(String, Tensor)> {
        self.layers().state()
    }

    /// Random numbers of the rule's own, by name.
    fn generators_mut(&mut self) -> Vec<(&'static str, &mut Generator)> {
        Vec::new()
    }

    /// The error information `[b, C]` with which each hidden layer, in forward order, would be taught on
    /// this batch now, if this rule teaches them with feedback.
    fn teaching_errors(&self, _batch: &Batch) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// Takes every sample of the training set once, and tells after each batch how many samples are
    /// done. The gradients of the last batch are watched (see [`Step::watch`]).
    fn train_epoch(&mut self, epoch: &Epoch, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        batch_by_batch(self, epoch, on_samples)
    }
}

/// One pass over a training set.
pub struct Epoch<'a> {
    /// The training set.
    pub data: &'a Split,
    /// The samples' positions in the order in which they are taken: int64 `[N]`, on the device of the
    /// data.
    pub order: &'a Tensor,
    /// Samples per training step; the last step may have fewer.
    pub batch_size: i64,
    /// η of every step.
    pub learning_rate: f64,
    /// Whether [diagnostics](crate::diagnostics) follow the epoch: what only they want is measured then.
    pub diagnosed: bool,
}

impl Epoch<'_> {
    /// N.
    #[allow(clippy::len_without_is_empty)] // no data set is empty
    pub fn len(&self) -> i64 {
        self.order.size()[0]
    }

    /// The steps on the samples up to `end`, counted in the epoch's order.
    pub fn step(&self, end: i64) -> Step {
        let Epoch { learning_rate, batch_size, .. } = *self;
        Step { learning_rate, batch_size, watch: end == self.len() }
    }
}

fn batch_by_batch(
    trainer: &mut (impl Trainer + ?Sized),
    epoch: &Epoch,
    on_samples: &mut dyn FnMut(i64),
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (gather, mut done) = (trainer.layers().gatherer(), 0);
    while done < epoch.len() {
        let count = epoch.batch_size.min(epoch.len() - done);
        let batch = gather(epoch.data, &epoch.order.narrow(0, done, count));
        done += batch.len();
        trainer.train_batch(&batch, &epoch.step(done))?;
        on_samples(done);
    }
    Ok(())
}
