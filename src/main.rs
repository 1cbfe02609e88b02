//! The program `f3-tch`: parses, runs, and reports an error in a few lines.
//!
//! Exit codes: 0 success, 130 or 143 ended by Ctrl-C or SIGTERM, 2 a command line or configuration that cannot be used, 1 anything else.

mod cli;

use std::io;
use std::panic;

use f3_tch::config::ConfigError;
use f3_tch::messages::{libtorch_error, text_of};
use f3_tch::{keep_freed_memory, libtorch_panics_as_errors};

fn main() {
    let cli = cli::Cli::of_arguments();
    hide_libtorch_panics();
    keep_freed_memory(32, 256);
    let code = libtorch_panics_as_errors(|| cli.run()).unwrap_or_else(|error| report(&error));
    cli::leave(code)
}

/// Says what went wrong, and gives the exit code for it.
fn report(error: &anyhow::Error) -> i32 {
    if is_closed_pipe(error) {
        return cli::SUCCESS; // whoever read the output has seen enough
    }
    cli::say(format_args!("error: {}", text_of(error)));
    match error.downcast_ref::<ConfigError>() {
        Some(_) => cli::USAGE,
        None => cli::FAILURE,
    }
}

/// Keeps off the screen what the library makes an error of: the panic in which `tch` reports an error of
/// libtorch. Any other panic is a bug of ours and is shown as one.
fn hide_libtorch_panics() {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if libtorch_error(info.payload()).is_none() {
            show(info);
        }
    }));
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
