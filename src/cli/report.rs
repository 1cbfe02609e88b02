//! `f3-tch report`: runs compared, on a page, in tables and in figures.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use f3_tch::config::Source;
use f3_tch::report::{Entry, Report, ReportSettings};

use super::print;

#[derive(Args)]
pub struct ReportArgs {
    /// Folders of runs, or that hold runs
    #[arg(required = true, value_name = "RUNS")]
    runs: Vec<PathBuf>,
    /// Folder of the report [default: report/ in the first folder]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Say what the report shows, such as select=best or baseline=bp; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ReportArgs {
    pub fn run(self) -> Result<()> {
        let mut source = Source::parse("report", "")?;
        for assignment in &self.set {
            source.set(assignment)?;
        }
        let settings = ReportSettings::read(&source)?;
        let (title, entries) = self.entries(&settings)?;
        let report = Report::collect(&title, entries, settings)?;
        let folder = self.output.unwrap_or_else(|| self.runs[0].join("report"));
        report.write(&folder)?;
        print(&format!("{}\nreport  {}\n", report.text(), folder.join("report.html").display()))
    }

    /// The title of the report, and the runs that it is about.
    fn entries(&self, settings: &ReportSettings) -> Result<(String, Vec<Entry>)> {
        if let Some(file) = self.runs.iter().find(|path| !path.is_dir()) {
            bail!("{}: is no folder; expected folders of runs", file.display());
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
