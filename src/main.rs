//! The program `f3-tch`: parses, runs, and reports an error in a few lines.
//!
//! Exit codes: 0 success, 2 a command line or configuration that cannot be used, 1 anything else.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use f3_tch::config::ConfigError;

fn main() -> ExitCode {
    let Err(error) = cli::Cli::parse().run() else {
        return ExitCode::SUCCESS;
    };
    if is_closed_pipe(&error) {
        return ExitCode::SUCCESS; // whoever read the output has seen enough
    }
    let _ = writeln!(io::stderr(), "error: {}", without_cpp_stack(&format!("{error:#}")));
    match error.downcast_ref::<ConfigError>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Drops the C++ stack that libtorch adds to its messages.
fn without_cpp_stack(text: &str) -> String {
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("frame #") && !line.starts_with("Exception raised from"));
    kept.collect::<Vec<_>>().join("\n").trim_end().to_string()
}
