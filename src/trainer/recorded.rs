//! A step that is recorded once and replayed: on a GPU, small steps cost their launches, not their
//! arithmetic.

use anyhow::{Result, bail};
use tch::{Device, Tensor};

use super::{Epoch, Trainer};
use crate::data::Batch;
use crate::engine::Step;
use crate::error_store::ErrorStore;
use crate::generator::Generator;
use crate::layers::Layers;
use crate::native::cuda_graph::{CudaGraph, SideStream};
use crate::process::use_threads;

/// Trains as another trainer does; on CUDA a batch's step, with the gathering of the batch, is one
/// recorded graph (`at::cuda::CUDAGraph`). The host gives the device positions `[b]` and the word to
/// go.
///
/// The trainer must do the same operations on the same memory for every batch of a size, and none of
/// them on the host: not PEPITA, which draws its masks there.
pub struct RecordedTrainer {
    inner: Box<dyn Trainer>,
}

/// Batches at the start of an epoch that are trained step by step: libtorch makes handles and
/// workspaces when they are first needed, which cannot be recorded.
const UNRECORDED: i64 = 3;

impl RecordedTrainer {
    /// As this trainer does. On the CPU nothing is recorded.
    ///
    /// # Errors
    /// If the trainer's batches belong together in blocks, or libtorch has no CUDA graphs.
    pub fn new(inner: Box<dyn Trainer>) -> Result<RecordedTrainer> {
        if !inner.is_batch_by_batch() {
            bail!("a trainer whose batches belong together cannot be recorded batch by batch");
        }
        if inner.layers().devices().last().is_some_and(|device| device.is_cuda()) {
            CudaGraph::is_there()?;
        }
        Ok(RecordedTrainer { inner })
    }
}

impl Trainer for RecordedTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        self.inner.train_batch(batch, step)
    }

    fn is_batch_by_batch(&self) -> bool {
        self.inner.is_batch_by_batch()
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

    fn teaching_errors(&self, batch: &Batch) -> Result<Option<Vec<Tensor>>> {
        self.inner.teaching_errors(batch)
    }

    /// A recording holds the epoch's learning rate, so each epoch makes its own.
    fn train_epoch(&mut self, epoch: &Epoch, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        let (_no_grad, _threads) = (tch::no_grad_guard(), use_threads(None));
        let Epoch { data, order, batch_size, .. } = *epoch;
        // Beside a graph the positions that it reads, int64 [b]. Dropped when its stream has been left.
        let mut recording: Option<(Tensor, CudaGraph)> = None;
        let _stream = match order.device() {
            Device::Cuda(index) => Some(SideStream::enter(index)?),
            _ => None,
        };
        let count = epoch.len();
        let last = (count - 1) / batch_size; // may be smaller, and its gradients are watched
        for index in 0..=last {
            let start = index * batch_size;
            let end = count.min(start + batch_size);
            let (positions, step) = (order.narrow(0, start, end - start), epoch.step(end));
            if index < UNRECORDED || index == last || !order.device().is_cuda() {
                self.inner.train_batch(&data.gather(&positions), &step)?;
            } else {
                let recorded = match recording.take() {
                    Some(recorded) => recorded,
                    None => {
                        let place = positions.copy();
                        let work = || self.inner.train_batch(&data.gather(&place), &step);
                        let graph = CudaGraph::record(work)?;
                        (place, graph)
                    }
                };
                let (place, graph) = recording.insert(recorded);
                place.copy_(&positions);
                graph.replay()?;
            }
            on_samples(end);
        }
        Ok(())
    }
}
