//! A tensor that several threads read.

use std::ops::Deref;

use tch::Tensor;

/// A tensor that is only read, and that threads can therefore share.
#[derive(Debug)]
pub struct SharedTensor(Tensor);

// SAFETY: libtorch's tensors may be read by several threads at a time: reference counts are atomic,
// and operations do not change their inputs. The tensor has been detached, so no operation adds to
// a graph of it either. In-place operations need `&mut Tensor`, which is not given out; writing
// through a `shallow_clone` is excluded by this type's contract, as `tch` leaves it to its callers
// for every tensor that is sent to another thread.
unsafe impl Sync for SharedTensor {}

impl From<Tensor> for SharedTensor {
    fn from(tensor: Tensor) -> SharedTensor {
        SharedTensor(tensor.detach())
    }
}

impl Deref for SharedTensor {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}
