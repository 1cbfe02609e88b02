//! Ctrl-C and SIGTERM: they end the program at once, except that the first one lets an epoch finish.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use f3_tch::files;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{iterator, low_level};

use super::say;

static EPOCHS_MAY_FINISH: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicI32 = AtomicI32::new(0); // the one that has come
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static MESSAGE: Mutex<Option<JoinHandle<()>>> = Mutex::new(None); // who says that a signal has come

/// Watches from now on, on a thread of its own.
pub fn watch() -> Result<()> {
    let failed = "signals cannot be watched";
    let mut signals = iterator::Signals::new([SIGINT, SIGTERM]).context(failed)?;
    // A file that grows beyond the shell's limit (`ulimit -f`) is an error of whoever writes to it, and not
    // the end of the program without a word.
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).context(failed)?;
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(move || signals.forever().for_each(take)).context(failed)?;
    Ok(())
}

fn take(signal: i32) {
    if !EPOCHS_MAY_FINISH.load(Ordering::Acquire) || STOP.load(Ordering::Relaxed) {
        files::remove_temporary_files();
        low_level::exit(128 + signal);
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    // On a thread of its own: a terminal that takes nothing, as a paused pager, holds up whoever writes,
    // and the next signal must end the program all the same.
    let message = || say("\nfinishing this epoch; a second Ctrl-C stops at once");
    *MESSAGE.lock().unwrap() = thread::Builder::new().spawn(message).ok();
    STOP.store(true, Ordering::Release);
}

/// From now on the program ends when an epoch does: with the first signal this becomes true.
pub fn let_epochs_finish() -> Arc<AtomicBool> {
    EPOCHS_MAY_FINISH.store(true, Ordering::Release);
    STOP.clone()
}

/// Whether a signal has come that ends the program with the epochs under way.
pub fn has_come() -> bool {
    STOP.load(Ordering::Acquire)
}

/// 128 and the signal's number, as a shell has it; given when the message about the signal is out, which
/// the end of the program would cut off.
pub fn exit_code() -> i32 {
    if let Some(message) = MESSAGE.lock().unwrap().take() {
        let _ = message.join();
    }
    128 + SIGNAL.load(Ordering::Acquire)
}
