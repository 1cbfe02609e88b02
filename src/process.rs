//! What belongs to the process or to one of its threads, set for as long as a run needs it and set back
//! afterwards: how many threads share an operation, and how CUDA multiplies.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Result, anyhow};

use crate::messages::libtorch_error;
use crate::native;
use crate::native::denormals::{Flushed, flush_with_openmp};

/// The calling thread's number of threads for an operation; the one before comes back with the drop.
pub(crate) struct Threads {
    before: usize,
    _flushed: Flushed,
}

/// Lets operations of the calling thread be shared by so many threads; by none given, as many as before.
/// Who computes anything that has to come out with the same bits calls this first, even with none. While
/// it lasts, denormal numbers count as 0.
pub(crate) fn use_threads(threads: Option<usize>) -> Threads {
    native::settle_first_calls();
    let before = tch::get_num_threads().max(1) as usize;
    native::set_threads(threads.unwrap_or(before));
    Threads { before, _flushed: flush_with_openmp() }
}

impl Drop for Threads {
    fn drop(&mut self) {
        native::set_threads(self.before);
    }
}

/// Who multiplies on CUDA at the moment, exactly or in TF32: libtorch has one flag for the process.
struct Turn {
    tf32: bool,
    running: usize,
}

static TURN: Mutex<Turn> = Mutex::new(Turn { tf32: false, running: 0 });
static TURN_IS_OVER: Condvar = Condvar::new();

/// Held by the run that waits for its turn.
static NEXT: Mutex<()> = Mutex::new(());

/// While this lives, CUDA multiplies as its run wants it.
pub(crate) struct Multiplying(());

/// Waits until no run multiplies in another way on CUDA, and keeps it so. Those that come later wait
/// behind the one that waits, so that every run has its turn.
pub(crate) fn multiply(tf32: bool) -> Result<Multiplying> {
    enter(tf32, native::allow_tf32)
}

fn enter(tf32: bool, switch: impl FnOnce(bool) -> Result<()>) -> Result<Multiplying> {
    let _next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let other = |turn: &mut Turn| turn.running > 0 && turn.tf32 != tf32;
    let mut turn = TURN_IS_OVER.wait_while(turn, other).unwrap_or_else(PoisonError::into_inner);
    if turn.tf32 != tf32 {
        switch(tf32)?;
    }
    *turn = Turn { tf32, running: turn.running + 1 };
    Ok(Multiplying(()))
}

impl Drop for Multiplying {
    fn drop(&mut self) {
        let mut turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        turn.running -= 1;
        if turn.running == 0 && turn.tf32 {
            // What is computed outside of runs is computed exactly.
            turn.tf32 = native::allow_tf32(false).is_err();
        }
        TURN_IS_OVER.notify_one();
    }
}

/// Calls, and turns a panic in which `tch` reports an error of libtorch into an error. Any other panic is
/// a bug of ours and goes on.
///
/// # Errors
/// Those of `call`, and libtorch's, such as running out of memory.
pub fn libtorch_panics_as_errors<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    let as_error = |payload: Box<dyn Any + Send>| match libtorch_error(payload.as_ref()) {
        Some(message) => Err(anyhow!(message)),
        None => resume_unwind(payload),
    };
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(as_error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use super::*;

    #[test]
    fn runs_that_multiply_in_different_ways_take_turns() {
        let (exact, rounded) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for tf32 in [false, true, false, true] {
                let (own, other) = if tf32 { (&rounded, &exact) } else { (&exact, &rounded) };
                scope.spawn(move || {
                    for _ in 0..50 {
                        let turn = enter(tf32, |_| Ok(())).unwrap();
                        own.fetch_add(1, SeqCst);
                        assert_eq!(other.load(SeqCst), 0);
                        thread::yield_now();
                        own.fetch_sub(1, SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert!(enter(true, |_| Err(anyhow!("cannot be switched"))).is_err());
        drop(enter(false, |_| Ok(())).unwrap()); // the failure has left nothing behind
    }

    #[test]
    fn thread_count_comes_back() {
        let before = tch::get_num_threads();
        let inside = use_threads(Some(3));
        assert_eq!(tch::get_num_threads(), 3);
        drop(use_threads(None));
        drop(inside);
        assert_eq!(tch::get_num_threads(), before);
    }

    #[test]
    fn libtorchs_panic_is_an_error() {
        let broken = libtorch_panics_as_errors(|| {
            let _ = tch::Tensor::from_slice(&[1f32, 2.0]).reshape([3]);
            Ok(())
        });
        assert!(broken.unwrap_err().to_string().starts_with("libtorch: "));
    }
}
