//! The program `f3-tch`: parses, runs, and reports an error in a few lines.
//!
//! Exit codes: 0 success, 130 or 143 ended by Ctrl-C or SIGTERM, 2 a command line or configuration that cannot be used, 1 anything else.

mod cli;

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use f3_tch::config::ConfigError;
use f3_tch::messages::{libtorch_error, say, text_of};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let error = match libtorch_panics_as_errors(|| cli.run()) {
        Ok(code) => return code,
        Err(error) => error,
    };
    if is_closed_pipe(&error) {
        return ExitCode::SUCCESS; // whoever read the output has seen enough
    }
    say(format_args!("error: {}", text_of(&error)));
    match error.downcast_ref::<ConfigError>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

/// Runs, and turns a panic in which `tch` reports an error of libtorch into an error.
///
/// Any other panic is a bug of ours and is shown as one.
fn libtorch_panics_as_errors(run: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if libtorch_error(info.payload()).is_none() {
            show(info);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => match libtorch_error(payload.as_ref()) {
            Some(message) => Err(anyhow!(message)),
            None => panic::resume_unwind(payload),
        },
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
