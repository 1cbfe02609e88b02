//! `f3-tch report`: runs compared, on a page, in tables and in figures.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use f3_tch::config::{ConfigError, Source};
use f3_tch::report::{Entry, Report, ReportSettings};
use f3_tch::sweep::{Plan, SweepFile};

use super::sweep::runs_of;
use super::{print, say};

#[derive(Args)]
pub struct ReportArgs {
    /// A sweep file or the name of a carried sweep, or folders of runs, or folders that hold runs
    #[arg(required = true, value_name = "SWEEP|RUNS")]
    runs: Vec<PathBuf>,
    /// Folder of the report [default: report/ in the folder of the runs]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Say what the report shows, over the sweep file, such as select=best or baseline=bp; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    show: Vec<String>,
    /// As given to the sweep
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// As given to the sweep
    #[arg(long, value_name = "NAME")]
    scale: Option<String>,
    /// As given to the sweep: the folder of the runs' folders
    #[arg(long = "runs", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl ReportArgs {
    pub fn run(self) -> Result<()> {
        if let [one] = self.runs.as_slice()
            && (!one.is_dir() || one.join("sweep.yaml").is_file())
        {
            let sweep = one.display().to_string();
            let mut file = SweepFile::open(&sweep)?;
            if let Some(scale) = &self.scale {
                file.scale(scale)?;
            }
            self.set.iter().try_for_each(|assignment| file.set(assignment))?;
            self.show.iter().try_for_each(|assignment| file.show(assignment))?;
            let runs = self.folder.clone().map_or_else(|| runs_of(&sweep, file.name()), Ok)?;
            let plan = Plan::new(file, &runs)?;
            let output = self.output.clone().unwrap_or_else(|| place_of(&plan));
            return write_report(&plan, &output);
        }
        if !self.set.is_empty() || self.scale.is_some() || self.folder.is_some() {
            let found = self.runs[0].display();
            let text =
                format!("--set, --scale and --runs are those of a sweep, and `{found}` is none");
            return Err(ConfigError(text).into());
        }
        let mut source = Source::parse("report", "")?;
        for assignment in &self.show {
            source.set_shown(assignment, "--show")?;
        }
        let settings = ReportSettings::read(&source)?;
        let (title, entries) = self.entries(&settings)?;
        let folder = self.output.clone().unwrap_or_else(|| self.runs[0].join("report"));
        write(&Report::collect(&title, entries, settings)?, &folder)
    }

    /// The title of the report, and the runs that it is about.
    fn entries(&self, settings: &ReportSettings) -> Result<(String, Vec<Entry>)> {
        if let Some(file) = self.runs.iter().find(|path| !path.is_dir()) {
            let file = file.display();
            let text = format!("{file}: is no folder; expected one sweep file, or folders of runs");
            return Err(ConfigError(text).into());
        }
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let names: Vec<String> = self.runs.iter().filter_map(name).collect();
        let title = match names.as_slice() {
            [] => "Runs".to_string(), // such as `..`
            [one] => one.clone(),
            [first, .., last] if names.len() > 3 => format!("{first} to {last}"),
            some => some.join(", "),
        };
        Ok((title, Report::of_runs(&self.runs, settings)?))
    }
}

/// Where the report of a sweep is. Sweeps that share their folder have reports of their own.
pub fn place_of(plan: &Plan) -> PathBuf {
    let (file, folder) = (plan.file(), plan.folder.join("report"));
    let scale = file.chosen_scale().map_or(String::new(), |scale| format!("-{scale}"));
    match file.stem() {
        stem if stem == file.name() || stem == "sweep" => folder,
        stem => folder.join(format!("{stem}{scale}")),
    }
}

/// Writes the report of a sweep into a folder, and prints its tables.
pub fn write_report(plan: &Plan, folder: &Path) -> Result<()> {
    let file = plan.file();
    let title = if file.about().is_empty() { file.name() } else { file.about() };
    let scale = file.chosen_scale().filter(|scale| *scale != "paper");
    let title = scale.map_or(title.to_string(), |scale| format!("{title} (scale: {scale})"));
    write(&Report::collect(&title, plan.entries()?, file.report().clone())?, folder)
}

fn write(report: &Report, folder: &Path) -> Result<()> {
    report.write(folder)?;
    for remark in report.remarks() {
        say(format_args!("note: {remark}"));
    }
    print(&format!("{}\nreport  {}\n", report.text(), folder.join("report.html").display()))
}
