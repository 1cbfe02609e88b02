//! `f3-tch report`: runs compared, on a page, in tables and in figures.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use f3_tch::config::Source;
use f3_tch::report::{Entry, Report, ReportSettings};
use f3_tch::sweep::{Plan, SweepFile};

use super::print;

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
    #[arg(long = "runs", default_value = "runs", value_name = "DIR")]
    folder: PathBuf,
}

impl ReportArgs {
    pub fn run(self) -> Result<()> {
        if let [one] = self.runs.as_slice()
            && (!one.is_dir() || one.join("sweep.yaml").is_file())
        {
            let mut file = SweepFile::open(&one.display().to_string())?;
            if let Some(scale) = &self.scale {
                file.scale(scale)?;
            }
            self.set.iter().try_for_each(|assignment| file.set(assignment))?;
            self.show.iter().try_for_each(|assignment| file.show(assignment))?;
            let plan = Plan::new(file, &self.folder)?;
            let output = self.output.clone().unwrap_or_else(|| plan.folder.join("report"));
            return write_report(&plan, &output);
        }
        if !self.set.is_empty() || self.scale.is_some() {
            let found = self.runs[0].display();
            bail!("--set and --scale are those of a sweep, and `{found}` is none");
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
            bail!("{}: is no folder; expected one sweep file, or folders of runs", file.display());
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

/// Writes the report of a sweep into a folder, and prints its tables.
pub fn write_report(plan: &Plan, folder: &Path) -> Result<()> {
    let file = plan.file();
    let title = if file.about().is_empty() { file.name() } else { file.about() };
    write(&Report::collect(title, plan.entries()?, file.report().clone())?, folder)
}

fn write(report: &Report, folder: &Path) -> Result<()> {
    report.write(folder)?;
    print(&format!("{}\nreport  {}\n", report.text(), folder.join("report.html").display()))
}
