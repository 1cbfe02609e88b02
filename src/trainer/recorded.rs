//! A step that is recorded once and replayed: on a GPU, small steps cost their launches, not their
//! arithmetic.

use anyhow::Result;
use tch::{Device, Tensor};

use super::{Epoch, Trainer};
use crate::data::{Batch, Split};
use crate::engine::Step;
use crate::error_store::ErrorStore;
use crate::generator::Generator;
use crate::layers::Layers;
use crate::native::cuda_graph::{CudaGraph, SideStream};

/// Trains as another trainer does; on CUDA a batch's step, with the gathering of the batch, is one
/// recorded graph (`at::cuda::CUDAGraph`). The host gives the device positions `[b]` and the word to
/// go.
///
/// The trainer must do the same operations on the same memory for every batch of a size, and none of
/// them on the host: not PEPITA, which draws its masks there.
pub struct RecordedTrainer {
    inner: Box<dyn Trainer>,
    recording: Option<Recording>,
}

/// Batches at the start of an epoch that are trained step by step: libtorch makes handles and
/// workspaces when they are first needed, which cannot be recorded.
const UNRECORDED: i64 = 3;

struct Recording {
    positions: Tensor, // int64 [b], on the device; what the graph reads
    graph: CudaGraph,
    _data: Split, // what the graph reads, too
}

impl RecordedTrainer {
    /// As this trainer does. On the CPU nothing is recorded.
    pub fn new(inner: Box<dyn Trainer>) -> Result<RecordedTrainer> {
        if inner.layers().devices().last().is_some_and(|device| device.is_cuda()) {
            CudaGraph::is_there()?;
        }
        Ok(RecordedTrainer { inner, recording: None })
    }

    fn step(&mut self, data: &Split, positions: &Tensor, step: &Step) -> Result<()> {
        if !positions.device().is_cuda() {
            return self.inner.train_batch(&data.gather(positions), step);
        }
        let recording = match self.recording.take() {
            Some(recording) => recording,
            None => {
                let place = positions.copy();
                let inner = &mut self.inner;
                let graph = CudaGraph::record(|| inner.train_batch(&data.gather(&place), step))?;
                Recording { positions: place, graph, _data: data.shallow_clone() }
            }
        };
        let recording = self.recording.insert(recording);
        recording.positions.copy_(positions);
        recording.graph.replay()
    }
}

impl Trainer for RecordedTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        self.inner.train_batch(batch, step)
    }

    fn layers(&self) -> &Layers {
        self.inner.layers()
    }

    fn error_store_mut(&mut self) -> Option<&mut ErrorStore> {
        self.inner.error_store_mut()
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.inner.state()
    }

    fn generators_mut(&mut self) -> Vec<(&'static str, &mut Generator)> {
        self.inner.generators_mut()
    }

    fn teaching_error(&self, batch: &Batch) -> Result<Option<Tensor>> {
        self.inner.teaching_error(batch)
    }

    /// A recording holds the epoch's learning rate, so each epoch makes its own.
    fn train_epoch(&mut self, epoch: &Epoch, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let Epoch { data, order, batch_size, .. } = *epoch;
        self.recording = None;
        let _stream = match order.device() {
            Device::Cuda(index) => Some(SideStream::enter(index)?),
            _ => None,
        };
        // The last batch may be smaller, and its gradients are watched.
        let count = epoch.len();
        let whole = (count - 1) / batch_size;
        for index in 0..whole {
            let (start, end) = (index * batch_size, (index + 1) * batch_size);
            let positions = order.narrow(0, start, batch_size);
            match index < UNRECORDED {
                true => self.inner.train_batch(&data.gather(&positions), &epoch.step(end))?,
                false => self.step(data, &positions, &epoch.step(end))?,
            }
            on_samples(end);
        }
        let done = whole * batch_size;
        let last = data.gather(&order.narrow(0, done, count - done));
        self.inner.train_batch(&last, &epoch.step(count))?;
        on_samples(count);
        Ok(())
    }
}
