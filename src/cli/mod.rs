//! The command line: one file per command.

mod announce;
mod completions;
mod config;
mod data;
mod evaluate;
mod export;
mod new_table;
mod predict;
mod progress;
mod report;
mod reproduce;
mod resume;
mod runs;
mod saved;
mod signals;
mod slurm;
mod sweep;
mod sweep_progress;
mod train;

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use f3_tch::config::{Config, ConfigError, Source};
use f3_tch::settings::parse_yaml;
use serde_yaml::Value;

/// Exit code: all is well.
pub const SUCCESS: i32 = 0;
/// Exit code: anything that is not [`USAGE`].
pub const FAILURE: i32 = 1;
/// Exit code: a command line or configuration that cannot be used.
pub const USAGE: i32 = 2;

/// Trains neural networks with F³, an algorithm without backpropagation, and with its rivals.
#[derive(Parser)]
#[command(name = "f3-tch", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network as a configuration says
    Train(train::TrainArgs),
    /// Continue a run that was cut off, or train it for longer
    Resume(resume::ResumeArgs),
    /// Train many runs: resumable, several at a time
    #[command(subcommand)]
    Sweep(sweep::SweepCommand),
    /// List the runs that are there, with their states and results
    Runs(runs::RunsArgs),
    /// Say how good a saved network is
    Evaluate(evaluate::EvaluateArgs),
    /// Say what a saved network makes of other samples
    Predict(predict::PredictArgs),
    /// Write a saved network as ONNX, as a module of plain PyTorch, or as a program of torch.export
    Export(export::ExportArgs),
    /// Compare runs: a page, tables and figures
    Report(report::ReportArgs),
    /// Make the paper's figures: train what is missing, and write the page
    Reproduce(reproduce::ReproduceArgs),
    /// Get data sets, or list them
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Look at configurations
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a script that completes commands, options and keys in a shell
    Completions(completions::CompletionsArgs),
    /// Print a page of the manual: `f3-tch man train | man -l -`
    Man(completions::ManArgs),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<i32> {
        signals::watch()?;
        check_instruction_set()?;
        match self.command {
            Command::Train(args) => return args.run(),
            Command::Resume(args) => return args.run(),
            Command::Sweep(command) => return command.run(),
            Command::Runs(args) => args.run()?,
            Command::Evaluate(args) => args.run()?,
            Command::Predict(args) => args.run()?,
            Command::Export(args) => args.run()?,
            Command::Report(args) => args.run()?,
            Command::Reproduce(args) => return args.run(),
            Command::Data(command) => command.run()?,
            Command::Config(command) => command.run()?,
            Command::Completions(args) => args.run()?,
            Command::Man(args) => args.run()?,
        }
        Ok(SUCCESS)
    }

    /// The arguments of the command line; prints help or what is wrong with them, and ends the program, where
    /// they are no command.
    pub fn of_arguments() -> Cli {
        let command = Cli::command().bin_name(called());
        let parsed = command.try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
        let error = match parsed {
            Ok(cli) => return cli,
            Err(error) => error,
        };
        let in_colour = match error.use_stderr() {
            true => stderr().is_terminal(),
            false => stdout().is_terminal(),
        };
        // What was typed can have anything in it.
        let typed = std::env::args().any(|it| it.contains(char::is_control));
        let text = match in_colour && !typed {
            true => error.render().ansi().to_string(),
            false => harmless(&error.render().to_string()).into_owned(),
        };
        let text = as_called(&text);
        let _ = match error.use_stderr() {
            true => stderr().write_all(text.as_bytes()),
            false => stdout().write_all(text.as_bytes()),
        };
        leave(error.exit_code())
    }
}

/// Ends the program, without libtorch taking its tables of operators apart first, which is a third of the time
/// of a short command.
pub fn leave(code: i32) -> ! {
    let _ = stdout().flush();
    signal_hook::low_level::exit(code)
}

/// Refuses an `F3_INSTRUCTION_SET` that the processor does not have.
fn check_instruction_set() -> Result<()> {
    let known = f3_tch::instruction_sets();
    match std::env::var_os("F3_INSTRUCTION_SET") {
        Some(wanted) if !known.iter().any(|it| wanted == **it) => bail!(
            "F3_INSTRUCTION_SET is `{}`; expected one of {}, which this processor has",
            wanted.display(),
            known.join(", ")
        ),
        _ => Ok(()),
    }
}

/// A configuration and what is set on top of it.
#[derive(Args)]
struct ConfigArgs {
    /// A file, the name of a configuration that the program carries (mnist, digits, …), or - for
    /// standard input
    config: String,
    /// Set a value over the file's, such as optimizer.learning_rate=1e-3; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    short: ShortWays,
}

/// Options for keys that are set often.
#[derive(Args)]
struct ShortWays {
    /// Set the seed
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<String>,
    /// Set the number of epochs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<String>,
    /// Set the samples of a batch: data.batch_size
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch_size: Option<String>,
    /// Set the learning rate: optimizer.learning_rate
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<String>,
    /// Set the threads that share an operation
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<String>,
    /// Set the device: auto, cpu, cuda, cuda:N
    #[arg(long, value_name = "D")]
    device: Option<String>,
}

impl ShortWays {
    /// The options that are given, with their keys and values.
    fn given(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        let all = [
            ("--seed", "seed", &self.seed),
            ("--epochs", "epochs", &self.epochs),
            ("--batch-size", "data.batch_size", &self.batch_size),
            ("--lr", "optimizer.learning_rate", &self.lr),
            ("--threads", "threads", &self.threads),
            ("--device", "device", &self.device),
        ];
        all.into_iter().filter_map(|(option, key, value)| Some((option, key, value.as_deref()?)))
    }
}

impl ConfigArgs {
    /// Reads and checks the configuration; remarks go to standard error.
    fn read(&self) -> Result<(Config, Source), ConfigError> {
        let mut source = Source::open(&self.config)?;
        for assignment in &self.set {
            source.set(assignment)?;
        }
        for (option, key, text) in self.short.given() {
            let value = match text {
                "" => Value::from(""),
                _ => parse_yaml(text).unwrap_or_else(|_| Value::from(text)),
            };
            source.set_option(key, value, &format!("{option} {text}"))?;
        }
        let (config, remarks) = Config::read(&source)?;
        for remark in remarks {
            say(format_args!("note: {remark}"));
        }
        Ok((config, source))
    }
}

/// Where data sets are.
#[derive(Args)]
struct DataDirArgs {
    /// Folder of the data sets [default: $F3_DATA_DIR, or data/ in the checkout, or the user's
    /// cache folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Says a line on standard error. Unlike `eprintln!` it goes on when nobody reads it any more: a run does
/// not end because the terminal, or the program that its messages are piped to, has gone.
pub fn say(line: impl Display) {
    let _ = writeln!(stderr(), "{}", harmless(&as_called(&line.to_string())));
}

/// A text with the program's name as it was called, where it says what to type.
fn as_called(text: &str) -> String {
    match called() {
        "f3-tch" => text.to_string(),
        name => text.replace("`f3-tch ", &format!("`{name} ")),
    }
}

/// What was typed to start the program: a path, a script that starts it, or its name.
fn called() -> &'static str {
    static CALLED: LazyLock<String> = LazyLock::new(|| {
        let by_script = std::env::var("F3_TCH_CALLED").ok();
        let by_name = || std::env::args_os().next()?.into_string().ok().filter(|it| !it.is_empty());
        let called = by_script.or_else(by_name).unwrap_or_else(|| "f3-tch".to_string());
        let plain = |c: char| c.is_alphanumeric() || "/._-+~".contains(c);
        match called.chars().all(plain) {
            true => called,
            false => format!("'{}'", called.replace('\'', "'\\''")),
        }
    });
    &CALLED
}

/// A text without what a terminal would obey: names and cells of others' files may have anything in them.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_command = |it: char| it.is_control() && !"\n\t".contains(it);
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    let shown = |it: char| match is_command(it) {
        true => it.escape_default().to_string(),
        false => it.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Writes results to standard output.
fn print(text: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    let text = as_called(text);
    let text = if stdout.is_terminal() { harmless(&text) } else { Cow::Borrowed(&*text) };
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// What came of writing to standard output. A reader that has seen enough, such as `head`, is no error.
fn written(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}
