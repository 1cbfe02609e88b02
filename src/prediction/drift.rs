//! How well stored and predicted errors stand for the present ones.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How far errors have drifted since the epoch before: root mean squares over an epoch's samples (those that
/// the maps learn from) and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Of e^t - e^{t-1}: how well the stored errors stand for the present ones.
    pub stored: f64,
    /// Of e^t - ê: how well the predicted ones do.
    pub left: f64,
}

/// Sums of squares, on the layer's device, and the number of errors.
#[derive(Default)]
pub(super) struct Sums {
    stored: Vec<Tensor>,
    left: Vec<Tensor>,
    count: f64,
}

impl Sums {
    pub fn add(&mut self, stored: &Tensor, left: &Tensor) {
        self.stored.push(stored.square().sum(Kind::Double));
        self.left.push(left.square().sum(Kind::Double));
        self.count += left.numel() as f64;
    }

    pub fn drift(&self) -> Option<Drift> {
        let mean = |sums: &[Tensor]| Tensor::stack(sums, 0).sum(Kind::Double).double_value(&[]);
        let root = |sums| (mean(sums) / self.count).sqrt();
        (self.count > 0.0).then(|| Drift { stored: root(&self.stored), left: root(&self.left) })
    }
}
