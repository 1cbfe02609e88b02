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
//! at other times and in other places.
//!
//! Legend: r rows (samples of a chunk), b batch, n_i width of layer i, C outputs.

mod layer_major;
mod pipelined;

pub use layer_major::LayerMajor;
pub use pipelined::{Pipelined, best_stages, chunk_that_fills, stages};

use anyhow::Result;
use tch::Tensor;

use crate::device::last_level_cache;
use crate::error_info::ErrorInfo;
use crate::loss::Loss;
use crate::network::{Layer, Network};

/// Takes the chunks of one epoch through a network.
///
/// A schedule of your own (over ranks of MPI, say) calls [`Chunk::pass`] for every chunk and hidden
/// layer and then [`Head::learn`], in any order that keeps the two rules above, and hands over the
/// errors of all chunks in their order. [`Chunk`] is what would travel: three tensors and two
/// numbers. [`LayerMajor`] is the shortest example.
pub trait Schedule: Send {
    /// How many batches a chunk has.
    fn chunk(&self) -> usize;

    /// Trains on all chunks; `on_samples` is told how many samples each of them had when it is done.
    /// Gives what was observed of each chunk (see [`Head::learn`]).
    ///
    /// # Errors
    /// The first failure of a layer; nothing of the epoch has been written to the error store then.
    fn run(
        &self,
        hidden: &mut [Layer],
        head: Head,
        chunks: Box<dyn Iterator<Item = Result<Chunk>> + Send>,
        on_samples: &mut dyn FnMut(i64),
    ) -> Result<Vec<Tensor>>;
}

/// Some consecutive batches of an epoch on their way through the network.
pub struct Chunk {
    /// Outputs of the layer that was passed last, at first the inputs: `[r, n_i]`.
    pub h: Tensor,
    /// The error information that teaches the hidden layers: `[r, C]`.
    pub error: Tensor,
    /// y* `[r, C]`.
    pub targets: Tensor,
    /// b; the epoch's last batch may have fewer samples.
    pub batch_size: i64,
    /// Whether this is the last one of its epoch.
    pub last: bool,
}

impl Chunk {
    /// r.
    #[allow(clippy::len_without_is_empty)] // no chunk is empty
    pub fn len(&self) -> i64 {
        self.h.size()[0]
    }

    /// Lets a hidden layer learn from the batches, one after the other, and goes on as its output, on
    /// the layer's device.
    pub fn pass(&mut self, layer: &mut Layer) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for tensor in [&mut self.h, &mut self.error, &mut self.targets] {
            *tensor = layer.bring(tensor);
        }
        layer.watch_gradients(self.last);
        self.h = layer.learn(&self.h, &self.error, self.batch_size)?;
        layer.watch_gradients(false);
        Ok(())
    }
}

/// The end of the network: the output layer, which learns from the loss.
pub struct Head<'a> {
    /// The output layer.
    pub output: &'a mut Layer,
    /// What it minimises.
    pub loss: Loss,
    /// The error information that the next epoch will be taught with; none if that is known anyway.
    pub observed: Option<ErrorInfo>,
}

impl Head<'_> {
    /// Lets the output layer learn from the batches of a chunk that has passed all hidden layers.
    /// Gives the error information `[r, C]` of its outputs, each that from before learning from it.
    pub fn learn(&mut self, chunk: &Chunk) -> Result<Option<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        let (h, targets) = (self.output.bring(&chunk.h), self.output.bring(&chunk.targets));
        self.output.watch_gradients(chunk.last);
        let y = self.output.fit(&h, &targets, chunk.batch_size, self.loss)?;
        self.output.watch_gradients(false);
        let observe =
            |info: ErrorInfo| info.observe_batches(&y, &targets, self.loss, chunk.batch_size);
        Ok(self.observed.map(observe))
    }
}

/// A chunk of so many batches that the inputs and outputs of the widest layer fit into a part of the
/// last-level cache. Only fully connected layers gain from that: others keep more than their inputs
/// and outputs.
pub fn chunk_for(network: &Network, inputs: i64, batch_size: i64) -> usize {
    let dense = |layer: &Layer| layer.block().as_dense().is_some();
    if !network.layers().iter().all(dense) {
        return 1;
    }
    let mut widest = 0;
    let mut before = inputs;
    for layer in network.layers() {
        widest = widest.max(before + layer.block().outputs());
        before = layer.block().outputs();
    }
    let bytes = 4 * widest * batch_size;
    (last_level_cache() / 4 / bytes.max(1)).clamp(1, 64) as usize
}
