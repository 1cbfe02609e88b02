//! For chunk of batches, for layer, for batch in chunk.

use anyhow::Result;

use super::{Epoch, Learn, Schedule, Stage};

/// Each layer takes all batches of a chunk before the next layer does, so that its weights and its
/// optimizer's state stay in the caches. With chunks of one batch this is the usual order, for batch,
/// for layer.
pub struct LayerMajor {
    chunk: usize,
}

impl LayerMajor {
    /// With so many batches in a chunk, at least one.
    pub fn new(chunk: usize) -> LayerMajor {
        LayerMajor { chunk: chunk.max(1) }
    }

    /// For batch, for layer.
    pub fn sequential() -> LayerMajor {
        LayerMajor::new(1)
    }
}

impl Schedule for LayerMajor {
    fn chunk(&self) -> usize {
        self.chunk
    }

    fn run(&self, mut network: Stage, learn: Learn, mut epoch: Epoch) -> Result<()> {
        network.run(learn, &mut epoch)
    }
}
