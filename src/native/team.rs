//! A thread's helpers, for loops that last some ten microseconds and more.
//!
//! As with libtorch's own loops, how many threads share the work is a setting of the calling thread
//! ([`crate::process::use_threads`]), so threads that train side by side do not take each other's cores.
//! libtorch's OpenMP threads are not used: a helper here spins for a short while only, and the
//! calling thread never waits for one that has not woken up in time. Only where loops take turns with
//! operations of libtorch ([`beside_libtorch`]), those threads are there anyway, and spin.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{denormals, openmp};

/// Calls `work` with 0, 1, … `tasks - 1`, each once, on the calling thread and its helpers; ends when
/// all calls have.
pub(crate) fn for_each(tasks: usize, work: &(dyn Fn(usize) + Sync)) -> Result<()> {
    thread_local! {
        static TEAM: RefCell<Option<Team>> = const { RefCell::new(None) };
    }
    if BESIDE_LIBTORCH.get() {
        openmp::for_each(tasks, work);
        return Ok(());
    }
    let _flushed = denormals::flush(); // on this thread as on its helpers
    let threads = tch::get_num_threads().max(1) as usize;
    if threads == 1 || tasks <= 1 {
        (0..tasks).for_each(work);
        return Ok(());
    }
    TEAM.with_borrow_mut(|team| {
        if team.as_ref().is_none_or(|team| team.helpers.len() + 1 != threads) {
            *team = None; // ends the old helpers first
            *team = Some(Team::new(threads - 1)?);
        }
        team.as_ref().expect("has just been made").run(tasks, work);
        Ok(())
    })
}

thread_local! {
    static BESIDE_LIBTORCH: Cell<bool> = const { Cell::new(false) };
}

/// While this lives, loops of the calling thread are shared by other threads than before.
pub(crate) struct SharedBy {
    before: bool,
}

/// Lets loops of the calling thread be shared by libtorch's OpenMP threads, if it is so, or by helpers of our
/// own.
pub(crate) fn beside_libtorch(is_so: bool) -> SharedBy {
    SharedBy { before: BESIDE_LIBTORCH.replace(is_so) }
}

impl Drop for SharedBy {
    fn drop(&mut self) {
        BESIDE_LIBTORCH.set(self.before);
    }
}

/// How long a helper looks out for work before it goes to sleep: longer than the small operations between
/// the layers of a batch take.
const SPIN: Duration = Duration::from_micros(1000);

/// `state` holds the number of the job, whether it is closed, and how many helpers are inside.
const INSIDE: u64 = 0xffff;
const CLOSED: u64 = 0x1_0000;
const JOB: u64 = 0x2_0000;

struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: AtomicU64,
    job: UnsafeCell<Job>,
    next: AtomicUsize,
    failed: AtomicBool,
    ending: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    tasks: usize,
    work: *const (dyn Fn(usize) + Sync),
}

// SAFETY: `job` is written by the team's owner alone, while the job is closed and nobody inside; it
// is read by helpers alone that are inside. The work it points to is Sync, and outlives the time in
// which helpers are inside: see `Team::run`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Team {
    fn new(helpers: usize) -> Result<Team> {
        let nothing: &'static (dyn Fn(usize) + Sync) = &|_| {};
        let mut team = Team {
            shared: Arc::new(Shared {
                state: AtomicU64::new(CLOSED),
                job: UnsafeCell::new(Job { tasks: 0, work: nothing }),
                next: AtomicUsize::new(0),
                failed: AtomicBool::new(false),
                ending: AtomicBool::new(false),
            }),
            helpers: Vec::with_capacity(helpers),
        };
        for _ in 0..helpers {
            let shared = team.shared.clone();
            let helper = thread::Builder::new()
                .name("f3-helper".into())
                .spawn(move || shared.help())
                .context("a thread cannot be started; use a smaller number for `threads`")?;
            team.helpers.push(helper);
        }
        Ok(team)
    }

    fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: only makes the lifetime longer; `finish` below is run before `work` is gone, also
        // when a task panics, and lets no helper in or stay inside.
        let work: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        // SAFETY: the last job is closed and nobody is inside.
        unsafe { *shared.job.get() = Job { tasks, work } };
        shared.next.store(0, SeqCst);
        shared.failed.store(false, SeqCst);
        let number = (shared.state.load(SeqCst) / JOB + 1) * JOB;
        shared.state.store(number, SeqCst);
        self.wake();
        // SAFETY: `work` is alive.
        let outcome =
            catch_unwind(AssertUnwindSafe(|| shared.take_tasks(unsafe { &*work }, tasks)));
        shared.finish();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
        assert!(!shared.failed.load(SeqCst), "a task panicked in a helper thread");
    }

    fn wake(&self) {
        self.helpers.iter().for_each(|helper| helper.thread().unpark());
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ending.store(true, SeqCst);
        self.wake();
        for helper in self.helpers.drain(..) {
            let _ = helper.join(); // helpers catch what panics
        }
    }
}

impl Shared {
    fn take_tasks(&self, work: &(dyn Fn(usize) + Sync), tasks: usize) {
        loop {
            let task = self.next.fetch_add(1, SeqCst);
            if task >= tasks {
                return;
            }
            work(task);
        }
    }

    /// Lets no helper in any more, and waits for those that are inside.
    fn finish(&self) {
        let mut state = self.state.fetch_or(CLOSED, SeqCst);
        while state & INSIDE != 0 {
            std::hint::spin_loop();
            state = self.state.load(SeqCst);
        }
    }

    /// A helper's life.
    fn help(&self) {
        let _flushed = denormals::flush();
        let mut seen = 0;
        while !self.ending.load(SeqCst) {
            let state = self.state.load(SeqCst);
            if state / JOB == seen || state & CLOSED != 0 {
                self.wait_for_job_after(seen);
                continue;
            }
            if self.state.compare_exchange(state, state + 1, SeqCst, SeqCst).is_err() {
                continue;
            }
            seen = state / JOB;
            // SAFETY: this helper is inside, so the job stays as it is until it leaves.
            let (tasks, work) = unsafe { ((*self.job.get()).tasks, &*(*self.job.get()).work) };
            if catch_unwind(AssertUnwindSafe(|| self.take_tasks(work, tasks))).is_err() {
                self.failed.store(true, SeqCst);
            }
            self.state.fetch_sub(1, SeqCst);
        }
    }

    /// Returns when a job may be open that is not the one that was seen last; may return early.
    fn wait_for_job_after(&self, seen: u64) {
        let open = || {
            let state = self.state.load(SeqCst);
            self.ending.load(SeqCst) || (state & CLOSED == 0 && state / JOB != seen)
        };
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..32 {
                if open() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        // Who opens a job unparks the helpers afterwards: one that has just looked does not sleep.
        if !open() {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_whatever_the_number_of_threads() {
        let before = tch::get_num_threads();
        for threads in [1, 2, 3, 5] {
            tch::set_num_threads(threads);
            for round in 0..300 {
                let tasks = round % 7;
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                for_each(tasks, &|task| {
                    counts[task].fetch_add(1, SeqCst);
                })
                .unwrap();
                assert!(counts.iter().all(|count| count.load(SeqCst) == 1), "{threads} {tasks}");
                if round % 100 == 99 {
                    thread::sleep(SPIN * 3); // the helpers go to sleep, and must wake up
                }
            }
        }
        tch::set_num_threads(before);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_next_job_runs() {
        let before = tch::get_num_threads();
        tch::set_num_threads(2);
        let is_helper = || thread::current().name() == Some("f3-helper");
        for who in [false, true] {
            // Each of the two tasks waits until the other one is under way: each thread has one.
            let under_way = AtomicUsize::new(0);
            let broken = catch_unwind(AssertUnwindSafe(|| {
                for_each(2, &|_| {
                    under_way.fetch_add(1, SeqCst);
                    while under_way.load(SeqCst) < 2 {
                        thread::yield_now();
                    }
                    assert!(is_helper() != who, "panics here");
                })
            }));
            assert!(broken.is_err());
            let count = AtomicUsize::new(0);
            for_each(8, &|_| {
                count.fetch_add(1, SeqCst);
            })
            .unwrap();
            assert_eq!(count.load(SeqCst), 8);
        }
        tch::set_num_threads(before);
    }
}
