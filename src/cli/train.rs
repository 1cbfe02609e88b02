//! `f3-tch train`: a run, from the configuration to the closing table.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use f3_tch::assemble::assemble;
use f3_tch::config::Config;
use f3_tch::data::DataDirectory;
use f3_tch::device::ChosenDevice;
use f3_tch::messages::say;
use f3_tch::run::run;
use f3_tch::sinks::{
    CsvSink, DiagnosticsSink, ModelSink, PlainProgress, ProgressBarSink, Sink, TensorBoardSink,
};

use super::report::{announcement, closing_table};
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
    pub fn run(self) -> Result<()> {
        let (config, source) = self.config.read()?;
        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        let (mut experiment, device) = assemble(&config, &source, &directory)?;
        if let Some(remark) = &device.remark {
            say(format_args!("note: {remark}"));
        }

        let folder = match self.run_dir {
            Some(folder) => claim(folder)?,
            None => numbered(&Path::new("runs").join(&config.name))?,
        };
        write_config(&folder.join("config.yaml"), &config, &device)?;
        let mut sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(CsvSink::create(&folder.join("metrics.csv"), experiment.data.task)?),
            Box::new(TensorBoardSink::create(&folder)?),
            Box::new(ModelSink::new(&folder.join("model.safetensors"))),
        ];
        if experiment.diagnostics.is_some() {
            sinks.push(Box::new(DiagnosticsSink::create(&folder.join("diagnostics.csv"))?));
        }
        if !self.quiet {
            say(announcement(&config, &experiment, &device, &folder).trim_end());
            sinks.push(if stderr().is_terminal() {
                let samples = experiment.data.train.len() as u64;
                Box::new(ProgressBarSink::new(config.epochs, samples))
            } else {
                Box::new(PlainProgress::new(config.epochs))
            });
        }

        let start = Instant::now();
        let rows = run(&mut experiment, &mut sinks)?;
        print(&closing_table(&rows, start.elapsed().as_secs_f64(), &folder))
    }
}

/// Makes a folder for a run, or takes one that is empty.
fn claim(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder)
        .with_context(|| format!("{}: cannot be created", folder.display()))?;
    let mut entries =
        fs::read_dir(&folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    if entries.next().is_some() {
        bail!(
            "{}: is not empty; name a new folder with --run-dir, or leave it out",
            folder.display()
        );
    }
    Ok(folder)
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

fn write_config(path: &Path, config: &Config, device: &ChosenDevice) -> Result<()> {
    let text = format!(
        "# f3-tch {}, libtorch {}, on {} with {} threads\n{}",
        f3_tch::VERSION,
        f3_tch::libtorch_version(),
        device.name,
        tch::get_num_threads(),
        config.to_yaml()
    );
    fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}
