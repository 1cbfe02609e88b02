//! Ctrl-C and SIGTERM: they end the program at once, except that the first one lets an epoch finish.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result};
use f3_tch::files;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

use super::say;

/// What signals have said so far.
#[derive(Clone, Default)]
pub struct Signals {
    epochs: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicI32>,
}

impl Signals {
    /// Watches from now on, on a thread of its own.
    pub fn watch() -> Result<Signals> {
        let failed = "signals cannot be watched";
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context(failed)?;
        let watched = Signals::default();
        let state = watched.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(|signal| state.take(signal)))
            .context(failed)?;
        Ok(watched)
    }

    fn take(&self, signal: i32) {
        if !self.epochs.load(Ordering::Acquire) || self.stop.load(Ordering::Relaxed) {
            files::remove_temporary_files();
            low_level::exit(128 + signal);
        }
        self.signal.store(signal, Ordering::Relaxed);
        self.stop.store(true, Ordering::Release);
        say("\nfinishing this epoch; a second Ctrl-C stops at once");
    }

    /// From now on the program ends when an epoch does: with the first signal this becomes true.
    pub fn let_epochs_finish(&self) -> Arc<AtomicBool> {
        self.epochs.store(true, Ordering::Release);
        self.stop.clone()
    }

    /// 128 and the signal's number, as a shell has it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from((128 + self.signal.load(Ordering::Acquire)) as u8)
    }
}
