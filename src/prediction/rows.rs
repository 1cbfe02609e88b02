//! What a layer that predicts errors is given.

use std::ops::Range;

use tch::Tensor;

/// Some rows of an epoch as a layer is to learn from them.
pub struct Rows {
    /// x `[r, m]`.
    pub input: Tensor,
    /// e^{t-1} `[r, C]`.
    pub stored: Tensor,
    /// y* `[r, C]`.
    pub targets: Tensor,
    /// The samples' places in the training set, int64 `[r]`.
    pub positions: Tensor,
    /// How many rows of the epoch come before.
    pub first: i64,
}

impl Rows {
    /// r.
    pub(crate) fn len(&self) -> i64 {
        self.input.size()[0]
    }

    /// Some of them.
    fn part(&self, rows: Range<i64>, own_memory: bool) -> Rows {
        let all = rows == (0..self.len());
        let part = |of: &Tensor| match all {
            true => of.shallow_clone(),
            false => of.narrow(0, rows.start, rows.end - rows.start),
        };
        let input = part(&self.input);
        Rows {
            input: if own_memory && rows.start > 0 { input.copy() } else { input },
            stored: part(&self.stored),
            targets: part(&self.targets),
            positions: part(&self.positions),
            first: self.first + rows.start,
        }
    }

    /// In parts that end where the epoch's rows divide by `size`. Inputs have memory of their own where
    /// libtorch multiplies, see `in_batches`.
    pub(crate) fn cut(&self, size: i64, own_memory: bool) -> impl Iterator<Item = Rows> + '_ {
        let mut start = 0;
        std::iter::from_fn(move || {
            let end = (start + size - (self.first + start) % size).min(self.len());
            let part = (start < end).then(|| self.part(start..end, own_memory));
            start = end;
            part
        })
    }
}
