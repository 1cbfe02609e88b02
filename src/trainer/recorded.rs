//! A step that is recorded once and replayed: on a GPU, small steps cost their launches, not their
//! arithmetic.

use anyhow::Result;
use tch::{Device, Tensor};

use super::Trainer;
use crate::data::{Batch, Split};
use crate::error_store::ErrorStore;
use crate::generator::Generator;
use crate::native::cuda_graph::{CudaGraph, SideStream};
use crate::network::Network;

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
        let output = inner.network().layers().last().expect("has an output layer");
        if output.device().is_some_and(|device| device.is_cuda()) {
            CudaGraph::is_there()?;
        }
        Ok(RecordedTrainer { inner, recording: None })
    }

    fn step(&mut self, data: &Split, positions: &Tensor) -> Result<()> {
        if !positions.device().is_cuda() {
            return self.inner.train_batch(&data.gather(positions));
        }
        if self.recording.is_none() {
            let place = positions.copy();
            let inner = &mut self.inner;
            let graph = CudaGraph::record(|| inner.train_batch(&data.gather(&place)))?;
            let _data = data.shallow_clone();
            self.recording = Some(Recording { positions: place, graph, _data });
        }
        let recording = self.recording.as_mut().expect("has just been made");
        recording.positions.copy_(positions);
        recording.graph.replay()
    }
}

impl Trainer for RecordedTrainer {
    fn train_batch(&mut self, batch: &Batch) -> Result<()> {
        self.inner.train_batch(batch)
    }

    fn network(&self) -> &Network {
        self.inner.network()
    }

    /// Whoever gets the network may change what has been recorded, such as the step size.
    fn network_mut(&mut self) -> &mut Network {
        self.recording = None;
        self.inner.network_mut()
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

    fn train_epoch(
        &mut self,
        data: &Split,
        order: &Tensor,
        batch_size: i64,
        on_batch: &mut dyn FnMut(i64),
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.recording = None;
        let _stream = match order.device() {
            Device::Cuda(index) => Some(SideStream::enter(index)?),
            _ => None,
        };
        // The last batch may be smaller, and its gradients are watched.
        let count = order.size()[0];
        let whole = (count - 1) / batch_size;
        for index in 0..whole {
            let positions = order.narrow(0, index * batch_size, batch_size);
            match index < UNRECORDED {
                true => self.inner.train_batch(&data.gather(&positions))?,
                false => self.step(data, &positions)?,
            }
            on_batch((index + 1) * batch_size);
        }
        let done = whole * batch_size;
        self.inner.network_mut().watch_gradients(true);
        self.inner.train_batch(&data.gather(&order.narrow(0, done, count - done)))?;
        self.inner.network_mut().watch_gradients(false);
        on_batch(count);
        Ok(())
    }
}
