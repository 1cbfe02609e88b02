//! `f3-tch resume`: a run that goes on where it was.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use f3_tch::assemble::assemble;
use f3_tch::checkpoint::{Checkpoint, Checkpoints};
use f3_tch::config::{Config, Source};
use f3_tch::data::DataDirectory;
use f3_tch::learning_rate::Decay;
use f3_tch::messages::say;
use f3_tch::run::Experiment;
use serde_yaml::Value;

use super::DataDirArgs;
use super::fetching::show_fetching;
use super::folder::RunFolder;
use super::report::announcement;
use super::signals::Signals;
use super::train::carry_out;

#[derive(Args)]
pub struct ResumeArgs {
    /// Folder of a run, such as runs/mnist/001
    run_dir: PathBuf,
    /// Train until so many epochs are done, in place of as many as the run was to have; all else stays as
    /// in its config.yaml
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Show no progress, only the closing table
    #[arg(long)]
    quiet: bool,
}

impl ResumeArgs {
    pub fn run(self, signals: &Signals) -> Result<ExitCode> {
        let shown = self.run_dir.display();
        let source = self.source()?;
        let (config, _) = Config::read(&source)?;
        remark_on_cosine(&config);
        let folder = RunFolder::lock(self.run_dir.clone())?;
        folder.tidy()?;
        let checkpoints = Checkpoints::new(&folder.checkpoints(), config.checkpoint.clone());
        let newest = checkpoints.newest()?;
        if newest.is_none() && config.checkpoint.every.is_none() {
            bail!("{shown}: has no checkpoints, as `checkpoint.every` is null in its config.yaml");
        }
        let checkpoint = newest.map(|path| Checkpoint::open(&path)).transpose()?;
        if checkpoint.is_none() && folder.has_results() {
            bail!(
                "{shown}: has results of some epochs, but no checkpoint to go on from; \
                 `f3-tch train {shown}/config.yaml` begins a new run"
            );
        }
        if let Some(checkpoint) = &checkpoint {
            check(&config, &source, checkpoint)?;
        }

        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        // What the run had started from is in the checkpoint.
        let init_from = config.init_from.clone().filter(|_| checkpoint.is_none());
        let assembled = Config { init_from, ..config.clone() };
        let (mut experiment, device) =
            assemble(&assembled, &source, &directory, &mut show_fetching())?;
        experiment.config = Some(config.to_yaml());
        let from = match checkpoint {
            Some(checkpoint) => restore(checkpoint, &checkpoints, &mut experiment)?,
            None => "from the beginning: the run had no checkpoint yet".to_string(),
        };
        folder.write_config(&config, &device)?;
        if !self.quiet {
            say(announcement(&config, &experiment, &device, folder.path()).trim_end());
            say(format_args!("resumed    {from}"));
            if experiment.rows.last().is_some_and(|row| row.epoch == config.epochs) {
                say("note: all epochs are done; `--epochs N` trains until there are N");
            }
        }
        carry_out(&config, &mut experiment, &folder, self.quiet, signals)
    }

    /// The run's config.yaml, with what the command line sets.
    fn source(&self) -> Result<Source> {
        let shown = self.run_dir.display();
        let place = self.run_dir.join("config.yaml");
        if !place.is_file() {
            bail!("{shown}: is no folder of a run, since it has no config.yaml");
        }
        let path = place.to_str().with_context(|| format!("{shown}: is not a name in UTF-8"))?;
        let mut source = Source::open(path)?;
        if let Some(epochs) = self.epochs {
            source.set_option("epochs", Value::from(epochs), &format!("--epochs {epochs}"))?;
        }
        Ok(source)
    }
}

fn remark_on_cosine(config: &Config) {
    let schedule = &config.optimizer.schedule;
    if let Decay::Cosine { t_max, .. } = schedule.decay
        && schedule.warmup_epochs + t_max < config.epochs
    {
        say(format_args!(
            "note: `optimizer.schedule.t_max` stays {t_max}, as config.yaml has it; the learning rate rises again \
             after that many epochs"
        ));
    }
}

/// Refuses a configuration that is not the run's any more, and remarks on what may change in a run.
fn check(config: &Config, source: &Source, checkpoint: &Checkpoint) -> Result<()> {
    let epoch = checkpoint.epoch();
    if config.epochs < epoch {
        let expected = format!("at least {epoch}, which is how many epochs are done");
        return Err(source.refuse("epochs", config.epochs, &expected).into());
    }
    let parse = |text: &str| serde_yaml::from_str::<Value>(text);
    let Some(Ok(then)) = checkpoint.config().map(parse) else {
        return Ok(());
    };
    let now = parse(&config.to_yaml())?;
    let shown = |value: &Value| serde_json::to_string(value).unwrap_or_default();
    for key in ["seed", "model", "loss", "algorithm", "precision"] {
        if now[key] != then[key] {
            let expected = format!("{}, with which the run began", shown(&then[key]));
            return Err(source.refuse(key, shown(&now[key]), &expected).into());
        }
    }
    for key in ["data", "optimizer", "schedule", "kernels", "threads", "device"] {
        if now[key] != then[key] {
            let (now, then) = (shown(&now[key]), shown(&then[key]));
            say(format_args!("note: `{key}` is {now} from now on; it was {then}"));
        }
    }
    Ok(())
}

/// Takes the experiment to where the run was; gives where that is.
fn restore(
    checkpoint: Checkpoint,
    checkpoints: &Checkpoints,
    experiment: &mut Experiment,
) -> Result<String> {
    let epoch = checkpoint.epoch();
    checkpoint.check_data(experiment)?;
    if let Some((then, now)) = checkpoint.other_machine(experiment) {
        say(format_args!(
            "note: up to epoch {epoch} the run was computed by {then}, from now on by {now}: results may \
             differ in their last digits from those of a run that was not cut off"
        ));
    }
    checkpoint.restore(experiment)?;
    checkpoints.forget_best_after(epoch)?;
    Ok(format!("after epoch {epoch}"))
}
