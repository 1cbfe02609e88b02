//! Orders in which layers and batches may take their turns.
//!
//! Where hidden layers are taught by what is known before the forward pass (F³, DRTP, LLO), layer i
//! learns from a batch as soon as it has its input, and no later layer has a say in it. So "for
//! batch, for layer" may be re-ordered as long as
//!
//! - each layer sees the batches in the epoch's order, and
//! - an epoch's errors are complete before the next epoch reads them.
//!
//! Every schedule computes the same numbers, to the bit: the same operations on the same operands,
//! at other times and in other places. A schedule runs stages over links: it says which layers are one
//! [`Stage`] and how [`Chunk`]s travel between stages, and nothing about what a stage does with them
//! ([`Learn`]).
//!
//! Legend: r rows (samples of a chunk), b batch, n_i width of layer i, C outputs.

mod balance;
mod layer_major;
mod pipelined;

pub use balance::{best_stages, chunk_for, chunk_that_fills, stages};
pub use layer_major::LayerMajor;
pub use pipelined::Pipelined;

use anyhow::Result;
use tch::Tensor;

use crate::engine::Step;
use crate::error_info::ErrorInfo;
use crate::layers::Layer;
use crate::loss::Loss;
use crate::prediction::{Announced, Announcer, Rows};

/// Takes the chunks of one epoch through a network.
///
/// ```
/// use f3_tch::schedule::{LayerMajor, Pipelined, Schedule};
///
/// // Each layer takes 16 batches before the next one does; or two stages of layers, each with a thread, that
/// // give chunks of four batches on to each other. A trainer takes one by `set_schedule`.
/// let schedules: [Box<dyn Schedule>; 2] = [Box::new(LayerMajor::new(16)), Box::new(Pipelined::new(2, 4, 1))];
/// assert_eq!(schedules.map(|it| (it.chunk(), it.stages())), [(16, 1), (4, 2)]);
/// ```
pub trait Schedule: Send {
    /// How many batches a chunk has.
    fn chunk(&self) -> usize;

    /// How many stages compute at once, each a chunk of its own.
    fn stages(&self) -> usize {
        1
    }

    /// Lets `learn` take every chunk of the epoch through all layers of `network`. Where layers predict
    /// errors, a stage may be made to wait until an earlier chunk has been behind the output layer: there
    /// either one stage has all layers, or each stage has a thread of its own.
    ///
    /// # Errors
    /// The first failure of a layer; chunks may be missing in [`Epoch::done`] then.
    fn run(&self, network: Stage, learn: Learn, epoch: Epoch) -> Result<()>;
}

/// What a stage does with a chunk: lets its layers learn from it, and gives it on with their outputs.
pub type Learn = fn(&mut Stage, Chunk) -> Result<Chunk>;

/// Consecutive layers that are one unit of a schedule.
pub struct Stage<'a> {
    /// Hidden layers.
    pub layers: &'a mut [Layer],
    /// Where the errors of this epoch are announced, if layers want to know them.
    pub announced: Option<&'a Announced>,
    /// The end of the network, if the stage has it.
    pub head: Option<Head<'a>>,
}

/// The end of a network: the output layer, which learns from the loss.
pub struct Head<'a> {
    /// The output layer.
    pub output: &'a mut Layer,
    /// What it minimises.
    pub loss: Loss,
    /// The error information that the next epoch will be taught with; none if that is known anyway.
    pub observed: Option<ErrorInfo>,
    /// Who announces it to the hidden layers, if they want to know.
    pub announcer: Option<Announcer<'a>>,
}

/// Some consecutive batches of an epoch on their way through the network: what travels between stages,
/// four tensors and four numbers.
pub struct Chunk {
    /// Outputs of the layer that was passed last, at first the inputs: `[r, n_i]`.
    pub h: Tensor,
    /// The error information that teaches the hidden layers; behind the output layer that of its
    /// outputs: `[r, C]`.
    pub error: Tensor,
    /// y* `[r, C]`.
    pub targets: Tensor,
    /// The samples' places in the training set, int64 `[r]`.
    pub positions: Tensor,
    /// How the rows become training steps; the epoch's last one is watched.
    pub step: Step,
    /// How many rows of the epoch come before.
    pub first: i64,
}

impl Chunk {
    /// r.
    #[allow(clippy::len_without_is_empty)] // no chunk is empty
    pub fn len(&self) -> i64 {
        self.h.size()[0]
    }

    /// In parts of so many rows, one after the other.
    pub(crate) fn cut(self, rows: i64) -> impl Iterator<Item = Chunk> {
        let count = self.len();
        (0..count).step_by(rows as usize).map(move |start| {
            let (rows, is_last) = (rows.min(count - start), start + rows >= count);
            let Chunk { h, error, targets, positions, step, first } = &self;
            let [h, error, targets, positions] =
                [h, error, targets, positions].map(|it| it.narrow(0, start, rows));
            let step = Step { watch: step.watch && is_last, ..*step };
            Chunk { h, error, targets, positions, step, first: first + start }
        })
    }

    /// The rows as a hidden layer learns from them.
    pub(crate) fn rows(&self) -> Rows {
        let Chunk { h, error, targets, positions, first, .. } = self;
        let [input, stored, targets, positions] =
            [h, error, targets, positions].map(Tensor::shallow_clone);
        Rows { input, stored, targets, positions, first: *first }
    }

    /// Takes the tensors to a layer's device.
    pub(crate) fn bring_to(&mut self, layer: &Layer) {
        let Chunk { h, error, targets, positions, .. } = self;
        [*h, *error, *targets, *positions] = layer.bring_all([h, error, targets, positions]);
    }
}

/// The two ends of a stage: where its chunks come from, and where they go. A link between threads, or
/// between processes, is a file of its own.
pub trait Link {
    /// The next chunk; none at the end of the epoch.
    fn receive(&mut self) -> Result<Option<Chunk>>;

    /// Hands a chunk on.
    fn send(&mut self, chunk: Chunk) -> Result<()>;
}

/// The two ends of an epoch: the chunks to be learned from, and who takes them when they have been.
/// As a [`Link`] it is that of a stage which has all layers.
pub struct Epoch<'a> {
    /// In the epoch's order.
    pub chunks: Box<dyn Iterator<Item = Chunk> + Send + 'a>,
    /// Gets every chunk behind the output layer, in the epoch's order.
    pub done: &'a mut dyn FnMut(Chunk),
}

impl Link for Epoch<'_> {
    fn receive(&mut self) -> Result<Option<Chunk>> {
        Ok(self.chunks.next())
    }

    fn send(&mut self, chunk: Chunk) -> Result<()> {
        (self.done)(chunk);
        Ok(())
    }
}

impl Stage<'_> {
    /// Takes every chunk that the link gives through this stage, and hands it on.
    pub fn run(&mut self, learn: Learn, link: &mut dyn Link) -> Result<()> {
        while let Some(chunk) = link.receive()? {
            link.send(learn(self, chunk)?)?;
        }
        Ok(())
    }
}
