//! For chunk of batches, for layer, for batch in chunk.

use anyhow::Result;
use tch::Tensor;

use super::{Chunk, Head, Schedule};
use crate::network::Layer;

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

    fn run(
        &self,
        hidden: &mut [Layer],
        mut head: Head,
        chunks: Box<dyn Iterator<Item = Result<Chunk>> + Send>,
        on_samples: &mut dyn FnMut(i64),
    ) -> Result<Vec<Tensor>> {
        let mut observed = Vec::new();
        for chunk in chunks {
            let mut chunk = chunk?;
            for layer in hidden.iter_mut() {
                chunk.pass(layer)?;
            }
            observed.extend(head.learn(&chunk)?);
            on_samples(chunk.len());
        }
        Ok(observed)
    }
}
