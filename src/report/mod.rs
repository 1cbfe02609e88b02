//! Reports: what runs say when they are compared, from their folders alone, also while they train.
//!
//! [`Report::collect`] reads the folders, [`Report::write`] writes a page, tables and figures.

mod chart;
mod compare;
mod exports;
mod figures;
mod find;
mod numbers;
mod page;
mod runs;
mod settings;
mod statistics;
mod svg;
mod table;
mod tables;

pub use settings::{Gap, Reference, ReferenceValue, ReportSettings, Select};

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use serde_json::Value as Json;

use self::compare::Group;
use self::runs::FoundRun;
use crate::files::{self, At};

/// A run that a report is about, whether it has begun or not.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Of the run; may not exist yet.
    pub folder: PathBuf,
    /// The table it stands in (a data set, say); empty where there is one table.
    pub group: String,
    /// The row of the table it counts to, such as `f3`.
    pub row: String,
    /// Where its random numbers start; runs of two rows with one seed are a pair.
    pub seed: u64,
    /// Its configuration in full; null: that in its folder.
    pub settings: Json,
}

/// Runs, read and compared.
pub struct Report {
    title: String,
    settings: ReportSettings,
    runs: Vec<FoundRun>,
    groups: Vec<Group>,
    remarks: Vec<String>,
    shared_parts: usize, // of the folders' paths, from the front
}

impl Report {
    /// Reads the folders of the runs, which stand in the order in which they are to be shown. A folder
    /// that cannot be read stands on the page with its cause.
    ///
    /// # Errors
    /// If there is no run.
    pub fn collect(title: &str, entries: Vec<Entry>, settings: ReportSettings) -> Result<Report> {
        anyhow::ensure!(!entries.is_empty(), "{title}: a report needs at least one run");
        let read = |entry| FoundRun::read(entry, settings.error);
        let runs: Vec<FoundRun> = entries.into_iter().map(read).collect();
        let (groups, remarks) = compare::compare(&runs, &settings);
        let title = title.to_string();
        let shared_parts = shared_parts(runs.iter().map(|run| run.entry.folder.as_path()));
        Ok(Report { title, settings, runs, groups, remarks, shared_parts })
    }

    /// The runs in some folders, each of which is that of a run or holds such. Runs that differ in no
    /// more than their seeds (and the key `x`) stand in one row, called after what makes it differ from
    /// the others, or after the keys `rows`. Each data set, or value of the key `group`, has a table.
    ///
    /// # Errors
    /// If a folder cannot be read, or there is no run in it.
    pub fn of_runs(folders: &[PathBuf], settings: &ReportSettings) -> Result<Vec<Entry>> {
        find::entries_of(folders, settings)
    }

    /// Writes the page, the tables and the figures into a folder, each file whole or not at all.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let figures = folder.join("figures");
        fs::create_dir_all(&figures).at(&figures, "cannot be created")?;
        let write = |name: &str, text: &str| files::write(&folder.join(name), text);
        let drawn = figures::all(self);
        for figure in drawn.iter().flatten() {
            write(&format!("figures/{}.svg", figure.name), &figure.svg)?;
        }
        let main = tables::main_tables(self);
        write("results.csv", &exports::results_csv(self)?)?;
        write("table.csv", &exports::table_csv(self)?)?;
        write("differences.csv", &exports::differences_csv(self)?)?;
        write("gap.csv", &exports::gap_csv(self)?)?;
        write("times.csv", &exports::times_csv(self)?)?;
        write("table.md", &table::markdown(&main))?;
        write("table.tex", &table::latex(&main))?;
        write("report.html", &page::page(self, &drawn)?) // last: what it names is there
    }

    /// What is odd about the runs, or about what is to be shown.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The main tables, for a terminal.
    pub fn text(&self) -> String {
        table::markdown(&tables::main_tables(self))
    }
}

/// How many parts all paths have in common, from the front; their last ones do not count.
fn shared_parts<'a>(paths: impl Iterator<Item = &'a Path>) -> usize {
    let parts = |path: &'a Path| path.components().collect::<Vec<_>>();
    let mut shared: Option<Vec<Component>> = None;
    for path in paths {
        let path = parts(path.parent().unwrap_or(path));
        let shared = shared.get_or_insert_with(|| path.clone());
        let count = shared.iter().zip(&path).take_while(|(a, b)| a == b).count();
        shared.truncate(count);
    }
    shared.map_or(0, |shared| shared.len())
}
