//! How well stored and predicted errors stand for the present ones.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How far errors have drifted since the epoch before: root mean squares over an epoch's samples (those that
/// the map learns from) and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Of e^t - e^{t-1}: how well the stored errors stand for the present ones.
    pub stored: f64,
    /// Of e^t - ê: how well the predicted ones do.
    pub left: f64,
}

/// Sums of squares, of both in one tensor `[2]` on the layer's device, and the number of errors.
#[derive(Default)]
pub(super) struct Sums {
    squares: Option<Tensor>,
    count: f64,
}

impl Sums {
    pub fn add(&mut self, stored: &Tensor, left: &Tensor) {
        let squares = [stored, left].map(|it| it.square().sum(Kind::Double));
        let squares = Tensor::stack(&squares, 0);
        self.squares = Some(match self.squares.take() {
            Some(before) => before + squares,
            None => squares,
        });
        self.count += left.numel() as f64;
    }

    pub fn drift(&self) -> Option<Drift> {
        let squares = self.squares.as_ref()?;
        let root = |index| (squares.double_value(&[index]) / self.count).sqrt();
        Some(Drift { stored: root(0), left: root(1) })
    }
}
