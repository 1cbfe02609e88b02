//! Rows of tensors, batch by batch.
//!
//! Legend: r rows, b batch.

use tch::Tensor;

/// The rows of a tensor `[r, …]`, batch by batch; the last batch may have fewer than `batch_size`.
pub(crate) fn in_batches(rows: &Tensor, batch_size: i64) -> impl Iterator<Item = Tensor> + '_ {
    let count = rows.size()[0];
    (0..count).step_by(batch_size as usize).map(move |start| {
        let batch = rows.narrow(0, start, batch_size.min(count - start));
        // In memory of their own: what MKL computes depends, in the last bit, on how its operands are
        // aligned.
        if start == 0 { batch } else { batch.copy() }
    })
}

/// The rows of all batches, one batch after the other.
pub(crate) fn joined(mut batches: Vec<Tensor>) -> Tensor {
    if batches.len() == 1 { batches.remove(0) } else { Tensor::cat(&batches, 0) }
}
