//! Loops by libtorch's own OpenMP threads, for what stands between operations of libtorch: those threads
//! still spin there, and a [`super::team`] would have to share the cores with them.

use std::ffi::{c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// What GCC compiles `#pragma omp parallel` to: calls a function with some data on so many threads, and
/// ends when all calls have.
type Parallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

/// Calls a function once on each of the calling thread's OpenMP threads, itself among them.
pub(super) fn on_each_thread(call: extern "C" fn(*mut c_void)) {
    let threads = tch::get_num_threads().max(1) as c_uint;
    match parallel().filter(|_| threads > 1) {
        // SAFETY: the function makes nothing of its argument.
        Some(parallel) => unsafe { parallel(call, std::ptr::null_mut(), threads, 0) },
        None => call(std::ptr::null_mut()),
    }
}

struct Loop<'a> {
    next: AtomicUsize,
    tasks: usize,
    work: &'a (dyn Fn(usize) + Sync),
    failed: AtomicBool,
}

/// Calls `work` with 0, 1, … `tasks - 1`, each once, on as many threads as the calling thread's
/// operations have; ends when all calls have.
pub(super) fn for_each(tasks: usize, work: &(dyn Fn(usize) + Sync)) {
    let threads = tch::get_num_threads().max(1) as usize;
    let Some(parallel) = parallel().filter(|_| threads > 1 && tasks > 1) else {
        return (0..tasks).for_each(work);
    };
    let it = Loop { next: AtomicUsize::new(0), tasks, work, failed: AtomicBool::new(false) };
    // SAFETY: `take` gets a pointer to a loop that is shared, and that lives until the call ends.
    unsafe { parallel(take, (&raw const it).cast_mut().cast(), threads as c_uint, 0) };
    assert!(!it.failed.into_inner(), "a task panicked");
}

/// One thread's share of a loop.
extern "C" fn take(data: *mut c_void) {
    // SAFETY: see `for_each`.
    let it = unsafe { &*data.cast::<Loop>() };
    let tasks = || {
        std::iter::repeat_with(|| it.next.fetch_add(1, Relaxed)).take_while(|task| *task < it.tasks)
    };
    if catch_unwind(AssertUnwindSafe(|| tasks().for_each(it.work))).is_err() {
        it.failed.store(true, Relaxed);
    }
}

/// That of the OpenMP library which libtorch brings along, if it is GCC's.
fn parallel() -> Option<Parallel> {
    static FOUND: OnceLock<Option<Parallel>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        #[cfg(unix)]
        {
            // SAFETY: looks a symbol up.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
            // SAFETY: a function of this name has this type in every version of libgomp since GCC 4.9.
            (!found.is_null())
                .then(|| unsafe { std::mem::transmute::<*mut c_void, Parallel>(found) })
        }
        #[cfg(not(unix))]
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_and_a_panic_reaches_the_caller() {
        let before = tch::get_num_threads();
        tch::set_num_threads(2);
        let counts: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
        for_each(counts.len(), &|task| {
            counts[task].fetch_add(1, Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Relaxed) == 1));
        assert!(catch_unwind(|| for_each(8, &|task| assert!(task != 5, "task 5"))).is_err());
        tch::set_num_threads(before);
    }
}
