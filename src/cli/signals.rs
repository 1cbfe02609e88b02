//! Ctrl-C and SIGTERM: the first one lets the epoch finish, the second one ends the program at once.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result};
use f3_tch::messages::say;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

/// What signals have said so far.
pub struct Signals {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicI32>,
}

impl Signals {
    /// Watches from now on, on a thread of its own.
    pub fn watch() -> Result<Signals> {
        let stop = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicI32::new(0));
        let watched = Signals { stop: stop.clone(), signal: signal.clone() };
        let failed = "signals cannot be watched";
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context(failed)?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for received in signals.forever() {
                    if stop.load(Ordering::Relaxed) {
                        low_level::exit(128 + received);
                    }
                    signal.store(received, Ordering::Relaxed);
                    stop.store(true, Ordering::Release);
                    say("\nfinishing this epoch, to save it; a second Ctrl-C stops at once");
                }
            })
            .context(failed)?;
        Ok(watched)
    }

    /// Becomes true with the first signal.
    pub fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// 128 and the signal's number, as a shell has it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from((128 + self.signal.load(Ordering::Acquire)) as u8)
    }
}
