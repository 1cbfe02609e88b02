//! The memory of F³: every sample's error information from the epoch before.
//!
//! Legend: N samples in the training set, b batch, C outputs.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Error information per training sample, a tensor `[N, C]` on the training device.
///
/// Rows are found by the sample's position in the data set, so shuffling never parts a sample from
/// its error. The store starts as the targets y*, which makes the first epoch of F³ one of DRTP.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::error_store::ErrorStore;
/// use f3_tch::tch::Tensor;
///
/// let targets = Tensor::from_slice2(&[[1f32, 0.0], [0.0, 1.0], [1.0, 0.0]]); // y* [N, C]
/// let mut store = ErrorStore::new(&targets)?;
/// let positions = Tensor::from_slice(&[2i64, 0]); // a batch of two samples
/// assert_eq!(store.read(&positions), Tensor::from_slice2(&[[1f32, 0.0], [1.0, 0.0]]));
/// store.write(&positions, &Tensor::from_slice2(&[[0.2f32, -0.1], [0.4, 0.3]]));
/// assert_eq!(store.errors().double_value(&[2, 1]) as f32, -0.1);
/// assert!(store.end_epoch().cosine_with_previous < 1.0);
/// # Ok(())
/// # }
/// ```
pub struct ErrorStore {
    errors: Tensor,
    previous: Tensor,
}

/// How large the stored errors are, and how much they changed over the last epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorStatistics {
    /// Mean of |e| over all N·C elements.
    pub mean_absolute: f64,
    /// Cosine of the angle between this epoch's errors and the previous one's, each taken as one
    /// long vector: 1 means that the feedback is not stale at all.
    pub cosine_with_previous: f64,
    /// Share of the N·C elements that have changed their sign since the previous epoch.
    pub sign_flips: f64,
}

impl ErrorStore {
    /// A store that holds the targets `[N, C]`, on their device.
    pub fn new(targets: &Tensor) -> Result<ErrorStore> {
        let shape = targets.size();
        let copy = || {
            let mut copy = targets.f_empty_like()?;
            copy.f_copy_(targets)?;
            Ok::<_, tch::TchError>(copy)
        };
        let no_memory = || format!("no memory for the errors of {} x {}", shape[0], shape[1]);
        Ok(ErrorStore {
            errors: copy().with_context(no_memory)?,
            previous: copy().with_context(no_memory)?,
        })
    }

    /// The stored rows `[b, C]` of the samples at these dataset positions `[b]`.
    pub fn read(&self, positions: &Tensor) -> Tensor {
        self.errors.index_select(0, positions)
    }

    /// Overwrites the rows at these dataset positions `[b]` with new information `[b, C]`.
    pub fn write(&mut self, positions: &Tensor, errors: &Tensor) {
        let _ = self.errors.index_copy_(0, positions, errors);
    }

    /// All stored rows `[N, C]`.
    pub fn errors(&self) -> &Tensor {
        &self.errors
    }

    /// What the store depends on between epochs, by name; to write to the tensor and then call
    /// [`ErrorStore::end_epoch`] is to set it.
    pub(crate) fn state(&self) -> Vec<(String, Tensor)> {
        vec![("errors".to_string(), self.errors.shallow_clone())]
    }

    /// Compares the errors with those at the last call (or at the start), and remembers them.
    ///
    /// Called once an epoch; it waits for the device.
    pub fn end_epoch(&mut self) -> ErrorStatistics {
        let dot = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
        let norms = (dot(&self.errors, &self.errors) * dot(&self.previous, &self.previous)).sqrt();
        let flipped = (self.errors.sign() * self.previous.sign()).lt(0.0);
        let statistics = ErrorStatistics {
            mean_absolute: self.errors.abs().mean(Kind::Double).double_value(&[]),
            cosine_with_previous: dot(&self.errors, &self.previous) / norms,
            sign_flips: flipped.mean(Kind::Double).double_value(&[]),
        };
        self.previous.copy_(&self.errors);
        statistics
    }
}
