//! `f3-tch train`: a run, from the configuration to the closing table.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use f3_tch::assemble::assemble;
use f3_tch::config::{Algorithm, Config};
use f3_tch::data::DataDirectory;
use f3_tch::device::ChosenDevice;
use f3_tch::messages::say;
use f3_tch::run::{Experiment, run};
use f3_tch::sinks::{
    CsvSink, EpochRow, ModelSink, PlainProgress, ProgressBarSink, Sink, TensorBoardSink,
};

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

/// What is about to happen.
fn announcement(
    config: &Config,
    experiment: &Experiment,
    device: &ChosenDevice,
    folder: &Path,
) -> String {
    let data = &experiment.data;
    let mut widths = vec![data.train.input_count()];
    widths.extend(config.model.hidden_widths());
    widths.push(data.train.output_count());
    let algorithm = match &config.algorithm {
        Algorithm::F3 { error_info, .. } => format!("f3 ({})", show(error_info)),
        other => other.name().to_string(),
    };
    let feedback = config.algorithm.feedback_init().map_or(String::new(), |init| {
        let init = serde_yaml::to_value(init).unwrap_or_default();
        format!(", feedback {}", init["name"].as_str().unwrap_or_default())
    });
    format!(
        "f3-tch {} with libtorch {} on {} ({} threads), seed {}\n\
         data       {}: {} training samples, {} test samples\n\
         network    {}, {} parameters\n\
         algorithm  {algorithm}{feedback}; {} at {}, batches of {}, {} epochs\n\
         run        {}\n",
        f3_tch::VERSION,
        f3_tch::libtorch_version(),
        device.name,
        tch::get_num_threads(),
        config.seed,
        data.name,
        thousands(data.train.len()),
        thousands(data.test.len()),
        shorten(&widths),
        thousands(experiment.trainer.network().parameter_count()),
        serde_yaml::to_value(config.optimizer).unwrap_or_default()["name"]
            .as_str()
            .unwrap_or_default(),
        config.optimizer.learning_rate(),
        config.data.batch_size,
        config.epochs,
        folder.display(),
    )
}

/// The results of a run, for the end.
fn closing_table(rows: &[EpochRow], seconds: f64, folder: &Path) -> String {
    let last = rows.last().expect("there is a row for epoch 0");
    let mut text = format!("\n{:14}  {:>10}  {:>10}  {:>10}\n", "", "best", "at epoch", "final");
    let mut line = |name: &str, unit: &str, value: &dyn Fn(&EpochRow) -> f64, sign: f64| {
        let best = rows
            .iter()
            .max_by(|a, b| (sign * value(a)).total_cmp(&(sign * value(b))))
            .unwrap_or(last);
        text += &format!(
            "{name:14}  {:>10}  {:>10}  {:>10}\n",
            format!("{:.4}{unit}", value(best)),
            best.epoch,
            format!("{:.4}{unit}", value(last))
        );
    };
    line("test loss", "", &|row| row.test.loss, -1.0);
    if last.test.metric("accuracy").is_some() {
        let accuracy = |row: &EpochRow| row.test.metric("accuracy").unwrap_or(f64::NAN);
        line("test accuracy", " %", &accuracy, 1.0);
    }
    let training: f64 = rows.iter().map(|row| row.train_seconds).sum();
    text += &format!(
        "\ntime   {} in all, {} of it training\nfiles  {}\n",
        duration(seconds),
        duration(training),
        folder.display()
    );
    text
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Widths joined by dashes, runs of equal ones as a product: 784-10x500-10.
fn shorten(widths: &[i64]) -> String {
    let parts: Vec<String> = widths
        .chunk_by(|a, b| a == b)
        .map(|run| match run.len() {
            1 => run[0].to_string(),
            times => format!("{times}x{}", run[0]),
        })
        .collect();
    parts.join("-")
}

fn show(setting: &impl serde::Serialize) -> String {
    serde_yaml::to_string(setting).unwrap_or_default().trim().to_string()
}

/// A number with commas between groups of three digits.
fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
