//! `f3-tch train`: a run, from the configuration to the closing table.

use std::ffi::OsStr;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use f3_tch::assemble::assemble;
use f3_tch::checkpoint::{Checkpoint, Checkpoints};
use f3_tch::config::Config;
use f3_tch::data::DataDirectory;
use f3_tch::messages::{say, text_of};
use f3_tch::model;
use f3_tch::run::{Ending, Experiment, run_with};
use f3_tch::sinks::{
    CsvSink, DiagnosticsSink, EpochRow, ModelSink, PlainProgress, ProgressBarSink, Sink,
    TensorBoardSink,
};

use super::fetching::show_fetching;
use super::folder::RunFolder;
use super::report::{announcement, closing_table};
use super::signals::Signals;
use super::{ConfigArgs, DataDirArgs, print};

#[derive(Args)]
pub struct TrainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Folder of the run's files, new or empty [default: runs/<name>/<number>]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Show no progress, only the closing table
    #[arg(long)]
    quiet: bool,
}

impl TrainArgs {
    pub fn run(self, signals: &Signals) -> Result<ExitCode> {
        let (config, source) = self.config.read()?;
        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        let (mut experiment, device) =
            assemble(&config, &source, &directory, &mut show_fetching())?;
        if let Some(remark) = &device.remark {
            say(format_args!("note: {remark}"));
        }
        let folder = match self.run_dir {
            Some(folder) => claim(folder)?,
            None => numbered(&Path::new("runs").join(&config.name))?,
        };
        let run = RunFolder::lock(folder)?;
        check_is_empty(run.path())?; // somebody may have been faster
        run.write_config(&config, &device)?;
        if !self.quiet {
            let text = announcement(&config, &experiment, &device, run.path());
            say(text.trim_end());
        }
        carry_out(&config, &mut experiment, &run, self.quiet, signals)
    }
}

/// Trains from where the experiment stands, into the run's folder; prints the closing table.
pub(super) fn carry_out(
    config: &Config,
    experiment: &mut Experiment,
    folder: &RunFolder,
    quiet: bool,
    signals: &Signals,
) -> Result<ExitCode> {
    let path = folder.path();
    let mut sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(folder.clone()),
        Box::new(CsvSink::create(&path.join("metrics.csv"), experiment.data.task)?),
        Box::new(TensorBoardSink::create(path)?),
        Box::new(ModelSink::new(&model::of(path), experiment.description.clone())),
    ];
    if experiment.diagnostics.is_some() {
        sinks.push(Box::new(DiagnosticsSink::create(&path.join("diagnostics.csv"))?));
    }
    if !quiet {
        sinks.push(if stderr().is_terminal() {
            let samples = experiment.data.train.len() as u64;
            Box::new(ProgressBarSink::new(config.epochs, samples))
        } else {
            Box::new(PlainProgress::new(config.epochs))
        });
    }
    let checkpoints = Checkpoints::new(&folder.checkpoints(), config.checkpoint.clone());
    let seconds = |row: &EpochRow| row.train_seconds + row.eval_seconds;
    let earlier: f64 = experiment.rows.iter().map(seconds).sum();
    let start = Instant::now();
    let ending = run_with(experiment, &mut sinks, Some(&checkpoints), signals.let_epochs_finish())
        .map_err(|error| anyhow!("{}{}", text_of(&error), what_is_saved(&checkpoints, path)))?;
    drop(sinks);
    let table = closing_table(&experiment.rows, earlier + start.elapsed().as_secs_f64(), path);
    let printed = print(&table);
    let done = experiment.rows.last().map_or(0, |row| row.epoch);
    let resume = format!("f3-tch resume {}", path.display());
    match ending {
        Ending::Complete => {}
        Ending::NoBetter(best) => print(&format!(
            "ended   after epoch {done}: epoch {best} was the best for {} epochs (`early_stop` in {})\n",
            done - best,
            path.join("config.yaml").display()
        ))?,
        Ending::OutOfTime => {
            print(&format!(
                "ended   after epoch {done}: `max_minutes` are over (in {})\n",
                path.join("config.yaml").display()
            ))?;
        }
        Ending::Interrupted => {
            let saved = match config.checkpoint.every {
                Some(_) => format!("saved; `{resume}` goes on"),
                None => "not saved, as `checkpoint.every` is null".to_string(),
            };
            // A signal may have taken away the reader of the output, too.
            say(format_args!("ended by a signal after epoch {done}, which is {saved}"));
            return Ok(signals.exit_code());
        }
    }
    printed.map(|()| ExitCode::SUCCESS)
}

/// The end of an error's message: where the run can be taken up again.
fn what_is_saved(checkpoints: &Checkpoints, run: &Path) -> String {
    let newest = checkpoints.newest().ok().flatten();
    match newest.and_then(|path| Checkpoint::open(&path).ok()) {
        Some(checkpoint) => format!(
            "; the run is saved up to epoch {} (`f3-tch resume {}` goes on)",
            checkpoint.epoch(),
            run.display()
        ),
        None => String::new(),
    }
}

/// Makes a folder for a run, or takes one that is empty but for what an attempt may have left.
fn claim(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder)
        .with_context(|| format!("{}: cannot be created", folder.display()))?;
    check_is_empty(&folder)?;
    Ok(folder)
}

fn check_is_empty(folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    let is_hidden = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with('.'));
    if !entries.flatten().all(|entry| is_hidden(&entry.file_name())) {
        bail!(
            "{0}: is not empty; name a new folder with --run-dir, or leave it out \
             (`f3-tch resume {0}` goes on with the run that is there)",
            folder.display()
        );
    }
    Ok(())
}

/// Makes the next numbered folder: 001, 002, …
fn numbered(parent: &Path) -> Result<PathBuf> {
    fs::create_dir_all(parent)
        .with_context(|| format!("{}: cannot be created", parent.display()))?;
    let entries =
        fs::read_dir(parent).with_context(|| format!("{}: cannot be read", parent.display()))?;
    let last =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).max();
    for number in last.unwrap_or(0) + 1.. {
        let folder = parent.join(format!("{number:03}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            // Another run has just taken this number.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}: cannot be created", folder.display()));
            }
        }
    }
    bail!("{}: holds too many runs", parent.display())
}
