//! From the output layer to all others: the present errors, some batches late.

use std::ops::Range;
use std::sync::mpsc::SendError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use tch::Tensor;

use crate::batches::joined;

/// The present errors of an epoch, as the output layer announces them to all others.
#[derive(Default)]
pub struct Announced {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    errors: Vec<(i64, Tensor)>, // with how many rows come before
    rows: i64,
    is_over: bool,
}

impl Announced {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The errors e^t of these rows, counted from the epoch's first; waits for them if `by_others`, where
    /// another thread announces them.
    ///
    /// # Errors
    /// If they will not come any more, since the output layer has failed, or since the schedule asks too
    /// early.
    pub(super) fn get(&self, rows: Range<i64>, by_others: bool) -> Result<Tensor> {
        let state = self.state();
        let comes = |state: &mut State| by_others && state.rows < rows.end && !state.is_over;
        let state = self.changed.wait_while(state, comes);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if state.rows < rows.end {
            if state.is_over {
                return Err(SendError(()).into());
            }
            let Range { start, end } = rows;
            bail!("the errors of samples {start} to {end} are needed before they are known");
        }
        let after = state.errors.partition_point(|(start, _)| *start <= rows.start);
        let errors = state.errors[after - 1..].iter().take_while(|(start, _)| *start < rows.end);
        let pieces = errors.map(|(start, errors)| (*start, errors.shallow_clone()));
        let pieces: Vec<(i64, Tensor)> = pieces.collect();
        drop(state);
        let piece = |(start, errors): (i64, Tensor)| {
            let end = start + errors.size()[0];
            let (from, to) = (rows.start.max(start), rows.end.min(end));
            if (from, to) == (start, end) {
                errors
            } else {
                errors.narrow(0, from - start, to - from)
            }
        };
        Ok(joined(pieces.into_iter().map(piece).collect()))
    }
}

/// The output layer's end: who waits for more when it is dropped waits in vain.
pub struct Announcer<'a>(pub &'a Announced);

impl Announcer<'_> {
    /// Announces the errors `[r, C]` of the next rows.
    pub(crate) fn announce(&self, errors: &Tensor) {
        let mut state = self.0.state();
        let start = state.rows;
        state.errors.push((start, errors.shallow_clone()));
        state.rows += errors.size()[0];
        self.0.changed.notify_all();
    }
}

impl Drop for Announcer<'_> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_all();
    }
}
