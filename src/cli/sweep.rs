//! `f3-tch sweep`: many runs as one piece of work.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use f3_tch::config::ConfigError;
use f3_tch::data::DataDirectory;
use f3_tch::files::{self, At};
use f3_tch::settings::{key_and_value, parse_yaml};
use f3_tch::sweep::{
    Outcome, Plan, PlannedRun, Progress, RunState, Shard, SweepFile, Work, values_of,
};
use serde_yaml::{Mapping, Value};

use super::announce::duration;
use super::sweep_progress::SweepProgress;
use super::{DataDirArgs, FAILURE, SUCCESS, ShortWays, print, say, signals, slurm};

#[derive(Subcommand)]
pub enum SweepCommand {
    /// Train the runs that are missing, several at a time
    Run(RunArgs),
    /// Print a command for each run that is not complete, for engines that spread them over machines
    Plan(PlanArgs),
    /// Say how many runs are done, running, failed and missing, and what is left in time
    Status(StatusArgs),
}

/// A sweep, and what makes it another one.
#[derive(Args)]
pub struct SweepArgs {
    /// A sweep file, the folder of one, or the name of a sweep that the program carries; with --vary a
    /// configuration
    sweep: String,
    /// Vary a key without a sweep file, such as seed=1..10 or algorithm.name=bp,f3; may be repeated. The
    /// file that this would have needed is written to runs/<name>/sweep.yaml
    #[arg(long, value_name = "KEY=VALUES")]
    vary: Vec<String>,
    /// Name of a sweep without a file
    #[arg(long, requires = "vary")]
    name: Option<String>,
    /// Set a value in all runs; of a key that is varied, its value or values. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    short: ShortWays,
    /// Make the sweep smaller, as one of its scales says
    #[arg(long, value_name = "NAME")]
    scale: Option<String>,
    /// Folder of the runs' folders, which are in <DIR>/<name of the sweep>/ [default: runs, or where the
    /// sweep's own folder is]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Only a part of the runs, such as 2/5 for every fifth from the second one on
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

/// How runs are trained.
#[derive(Args)]
pub struct WorkArgs {
    /// How many runs are trained at a time [default: as many as there are cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    jobs: Option<u16>,
    /// Try again the runs that ended with an error
    #[arg(long)]
    retry_failed: bool,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    sweep: SweepArgs,
    #[command(flatten)]
    work: WorkArgs,
    /// Only the run whose folder has this name; may be repeated
    #[arg(long, value_name = "RUN", conflicts_with = "shard")]
    only: Vec<String>,
    /// Check the file and list the runs with their states; train nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    sweep: SweepArgs,
    /// Print a script for SLURM's sbatch in place of the commands: an array job whose tasks go on where
    /// they were when their time is over
    #[arg(long)]
    slurm: bool,
    /// Time limit of a SLURM task, after which it is put back into the queue
    #[arg(long, default_value = "24:00:00", value_name = "H:MM:SS", requires = "slurm", value_parser = slurm::time)]
    time: String,
    /// Also the runs that ended with an error
    #[arg(long)]
    retry_failed: bool,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    sweep: SweepArgs,
}

impl SweepCommand {
    pub fn run(self) -> Result<i32> {
        match self {
            SweepCommand::Run(args) => args.run(),
            SweepCommand::Plan(args) => args.run().map(|()| SUCCESS),
            SweepCommand::Status(args) => args.run().map(|()| SUCCESS),
        }
    }
}

impl RunArgs {
    fn run(self) -> Result<i32> {
        let plan = self.sweep.plan()?;
        let find = |name: &String| {
            plan.run(name).ok_or_else(|| {
                let remedy = "the sweep has no such run; `f3-tch sweep plan` lists them";
                ConfigError(format!("--only {name}: {remedy}"))
            })
        };
        let only = self.only.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if self.dry_run {
            let of = |run: &PlannedRun| format!("{:9}  {}\n", described(run), run.folder.display());
            let runs = plan.each_once(self.sweep.shard);
            print(&runs.into_iter().map(of).collect::<String>())?;
            return Ok(SUCCESS);
        }
        if let Some(written) = self.sweep.write_file()? {
            say(format_args!("note: {} is the sweep file of this command", written.display()));
        }
        for remark in &plan.remarks {
            say(format_args!("note: {remark}"));
        }
        let code = self.work.train(&plan, self.sweep.shard, only)?;
        if self.only.is_empty() {
            let sweep = slurm::quoted(self.sweep.arguments());
            say(format_args!("`f3-tch report {sweep}` compares the runs"));
        }
        Ok(code)
    }
}

impl WorkArgs {
    /// Trains what is missing, and says what has become of it.
    pub fn train(&self, plan: &Plan, shard: Option<Shard>, only: Vec<&PlannedRun>) -> Result<i32> {
        fs::create_dir_all(&plan.folder).at(&plan.folder, "cannot be created")?;
        let cores = available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from);
        let progress = SweepProgress::new(&plan.name, jobs);
        let work = Work {
            jobs,
            shard,
            only,
            retry_failed: self.retry_failed,
            directory: &DataDirectory::locate(self.data_dir.data_dir.as_deref()),
            stop: signals::let_epochs_finish(),
        };
        let outcomes = plan.train(&work, &|event| progress.notice(event));
        drop(progress);
        let mut runs = plan.each_once(shard);
        runs.retain(|run| work.is_wanted(run));
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, it)| is(it)).count();
        let elsewhere = count(|it| matches!(it, Outcome::Elsewhere));
        let mut now = Progress::of(plan, &runs);
        let mut unrecorded = 0;
        // Some errors, such as that of a full disk, could not be recorded in the run's folder.
        for (run, outcome) in &outcomes {
            if let Outcome::Failed(cause) = outcome
                && !now.failed.iter().any(|(name, _)| *name == run.name)
            {
                now.failed.push((run.name.clone(), cause.clone()));
                unrecorded += 1;
                match RunState::of(&run.folder) {
                    RunState::Missing => now.missing -= 1,
                    _ => now.begun = now.begun.saturating_sub(1),
                }
            }
        }
        print(&summary(&now, runs.len()))?;
        if elsewhere > 0 {
            say(format_args!("with another process: {elsewhere}"));
        }
        if count(|it| matches!(it, Outcome::Interrupted)) > 0 || signals::has_come() {
            say("ended by a signal; the same command goes on");
            return Ok(signals::exit_code());
        }
        if now.failed.is_empty() {
            return Ok(SUCCESS);
        }
        say(listed(&now.failed));
        if !self.retry_failed && now.failed.len() > unrecorded {
            say("`--retry-failed` tries again what failed");
        }
        Ok(FAILURE)
    }
}

impl PlanArgs {
    fn run(self) -> Result<()> {
        let plan = self.sweep.plan()?;
        self.sweep.write_file()?;
        let program = std::env::current_exe().context("the program does not know its own path")?;
        let mut command = vec![program.display().to_string(), "sweep".into(), "run".into()];
        command.extend(self.sweep.arguments());
        let data_dir = self.data_dir.data_dir.iter();
        command.extend(data_dir.flat_map(|dir| ["--data-dir".into(), dir.display().to_string()]));
        command.extend(self.retry_failed.then(|| "--retry-failed".to_string()));
        let is_open = |run: &&PlannedRun| RunState::of_planned(run).is_open(self.retry_failed);
        let runs: Vec<_> = plan.each_once(self.sweep.shard).into_iter().filter(is_open).collect();
        if self.slurm {
            let threads = runs.iter().map(|run| Ok(plan.config(run)?.0.threads.unwrap_or(1)));
            let threads = threads.collect::<Result<Vec<_>, ConfigError>>()?;
            let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
            let (command, threads) = (slurm::quoted(&command), threads.into_iter().max());
            let script =
                slurm::script(&plan.name, &command, &names, &self.time, threads.unwrap_or(1));
            return print(&script?);
        }
        for run in runs {
            let only = ["--jobs".to_string(), "1".into(), "--only".into(), run.name.clone()];
            print(&format!("{}\n", slurm::quoted(command.iter().chain(&only))))?;
        }
        Ok(())
    }
}

impl StatusArgs {
    fn run(self) -> Result<()> {
        let plan = self.sweep.plan()?;
        let runs = plan.each_once(self.sweep.shard);
        let now = Progress::of(&plan, &runs);
        print(&summary(&now, runs.len()))?;
        let open = now.all() - now.complete - now.failed.len();
        if open > 0 {
            let left = now.seconds_left.map(duration);
            let left = left.map_or("not known before a run has ended".to_string(), |left| {
                format!("{left} of one run after the other")
            });
            print(&format!("left   {left}\n"))?;
        }
        if !now.failed.is_empty() {
            print(&format!("{}\n", listed(&now.failed)))?;
        }
        Ok(())
    }
}

impl SweepArgs {
    /// Every `--set`, and what the short options stand for.
    fn sets(&self) -> Vec<String> {
        let short = self.short.given().map(|(_, key, value)| format!("{key}={value}"));
        self.set.iter().cloned().chain(short).collect()
    }

    /// The runs, resolved and checked.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        let mut file = match self.vary.is_empty() {
            true => SweepFile::open(&self.sweep)?,
            false => SweepFile::parse(&self.place().display().to_string(), &self.text()?)?,
        };
        if let Some(scale) = &self.scale {
            file.scale(scale)?;
        }
        if self.vary.is_empty() {
            self.sets().iter().try_for_each(|assignment| file.set(assignment))?;
        }
        let runs = self.runs.clone().map_or_else(|| runs_of(&self.sweep, file.name()), Ok)?;
        Plan::new(file, &runs)
    }

    /// Writes the file that a sweep without one would have needed, and says where.
    fn write_file(&self) -> Result<Option<PathBuf>> {
        if self.vary.is_empty() {
            return Ok(None);
        }
        let (place, text) = (self.place(), self.text()?);
        match files::read_to_string(&place) {
            Ok(there) if there == text => return Ok(None),
            Ok(_) => bail!(
                "{0}: is another sweep of the same name; change that file and use it (`f3-tch sweep run \
                 {0}`), or give this one a name of its own with `--name`",
                place.display()
            ),
            Err(_) => {}
        }
        let folder = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).at(folder, "cannot be created")?;
        files::write(&place, &text)?;
        Ok(Some(place))
    }

    /// Where the file of a sweep without one is.
    fn place(&self) -> PathBuf {
        let runs = self.runs.as_deref().unwrap_or(Path::new("runs"));
        runs.join(self.own_name()).join("sweep.yaml")
    }

    /// The name of a sweep without a file: its configuration's, and the keys that are varied.
    fn own_name(&self) -> String {
        let stem = Path::new(&self.sweep).file_stem().unwrap_or_default().to_string_lossy();
        let keys = self.vary.iter().filter_map(|vary| vary.split('=').next());
        let keys =
            keys.map(|key| key.trim().trim_end_matches(".name")).filter(|key| *key != "seed");
        let last = keys.map(|key| key.rsplit('.').next().unwrap_or(key).to_string());
        let parts = std::iter::once(stem.into_owned()).chain(last);
        self.name.clone().unwrap_or_else(|| parts.collect::<Vec<_>>().join("-"))
    }

    /// The file of a sweep without one.
    fn text(&self) -> Result<String, ConfigError> {
        let pairs = |option: &str, assignments: &[String], several: bool| {
            let mut pairs = Mapping::new();
            for assignment in assignments {
                let shown = format!("{option} {assignment}");
                let (key, value) = key_and_value(assignment, option)?;
                let read = match several {
                    true => values_of(value),
                    false => parse_yaml(value).map_err(|error| error.to_string()),
                };
                let value = read.map_err(|error| {
                    ConfigError(format!("{shown}: the value is not YAML: {error}"))
                })?;
                if pairs.insert(key.into(), value).is_some() {
                    return Err(ConfigError(format!(
                        "{shown}: `{key}` is given twice; expected all its values in one `{option}`"
                    )));
                }
            }
            Ok(Value::from(pairs))
        };
        // The file is in another folder than the one in which the configuration was named.
        let base = fs::canonicalize(&self.sweep).ok().filter(|path| path.is_file());
        let base = base.map_or(self.sweep.clone(), |path| path.display().to_string());
        let mut file = Mapping::new();
        file.insert("name".into(), self.own_name().into());
        file.insert("base".into(), base.into());
        let (set, vary) =
            (pairs("--set", &self.sets(), false)?, pairs("--vary", &self.vary, true)?);
        let mut both = set.as_mapping().into_iter().flatten().map(|(key, _)| key);
        if let Some(key) = both.find(|key| vary.get(*key).is_some()).and_then(Value::as_str) {
            return Err(ConfigError(format!("--set {key}: is varied; expected it in one option")));
        }
        file.insert("set".into(), set);
        file.insert("vary".into(), vary);
        serde_yaml::to_string(&file).map_err(|error| ConfigError(error.to_string()))
    }

    /// How the sweep is called in further commands.
    fn file_shown(&self) -> String {
        match self.vary.is_empty() {
            true => self.sweep.clone(),
            false => self.place().display().to_string(),
        }
    }

    /// The arguments that mean the same sweep.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.file_shown()];
        if self.vary.is_empty() {
            arguments.extend(self.sets().into_iter().flat_map(|set| ["--set".to_string(), set]));
        }
        arguments
            .extend(self.scale.iter().flat_map(|scale| ["--scale".to_string(), scale.clone()]));
        let runs = self.runs.iter().flat_map(|runs| ["--runs".into(), runs.display().to_string()]);
        arguments.extend(runs);
        arguments
    }
}

/// The folder of the runs of a sweep for which none is given: a sweep's own folder is in it.
///
/// # Errors
/// If a folder is given that does not have the sweep's name, as a copy.
pub fn runs_of(sweep: &str, name: &str) -> Result<PathBuf, ConfigError> {
    let path = Path::new(sweep);
    let own = match path.is_dir() {
        true => Some(path),
        false => path.parent().filter(|_| path.file_name().is_some_and(|it| it == "sweep.yaml")),
    };
    let Some(own) = own else { return Ok("runs".into()) };
    let is_named = |folder: &Path| folder.file_name().is_some_and(|it| it == name);
    if is_named(own) {
        return Ok(own.parent().unwrap_or(own).to_path_buf());
    }
    // Such as `.`, or `sweep.yaml` without a folder.
    let whole = if own.as_os_str().is_empty() { Path::new(".") } else { own };
    let whole = whole.canonicalize().map_err(|error| ConfigError(format!("{sweep}: {error}")))?;
    match whole.parent() {
        Some(runs) if is_named(&whole) => Ok(runs.to_path_buf()),
        _ if path.is_dir() => {
            let text = format!(
                "{sweep}: holds the sweep `{name}`, whose folder has that name: rename it, or say with \
                 `--runs` in which folder `{name}` is"
            );
            Err(ConfigError(text))
        }
        _ => Ok("runs".into()),
    }
}

/// A state in a word or two.
fn described(run: &PlannedRun) -> String {
    match RunState::of_planned(run) {
        RunState::Missing => "missing".to_string(),
        RunState::Begun { running: true, .. } => "running".to_string(),
        RunState::Begun { .. } => "begun".to_string(),
        RunState::Failed { .. } => "failed".to_string(),
        RunState::Complete => "complete".to_string(),
    }
}

fn summary(now: &Progress, all: usize) -> String {
    let runs = if all == 1 { "run" } else { "runs" };
    let mut text = format!("{all} {runs}: {} complete", now.complete);
    let others = [
        (now.running, "running"),
        (now.begun, "begun"),
        (now.missing, "missing"),
        (now.failed.len(), "failed"),
    ];
    for (count, state) in others.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {state}"); // writing to a text does not fail
    }
    text + "\n"
}

/// The runs that failed, each cause once.
fn listed(failed: &[(String, String)]) -> String {
    let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, cause) in failed {
        match causes.iter_mut().find(|(known, _)| known == cause) {
            Some((_, names)) => names.push(name),
            None => causes.push((cause, vec![name])),
        }
    }
    let line = |(cause, names): (&str, Vec<&str>)| format!("failed {}: {cause}", names.join(", "));
    causes.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
