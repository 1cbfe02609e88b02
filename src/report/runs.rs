//! What the folder of a run tells, also while the run is under way.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;

use super::Entry;
use crate::files::{self, At};
use crate::messages::text_of;
use crate::metrics::Better;
use crate::run::{EndState, Folder, RunResult, ValueName};
use crate::settings::parse_yaml;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It has come to an end of its own.
    Complete,
    /// A process is training it.
    Running,
    /// Somebody asked it to stop.
    Interrupted,
    /// Its process was killed.
    CutOff,
    /// An error ended it.
    Failed,
    /// Its folder cannot be read.
    Unreadable,
    /// It has not begun.
    Missing,
}

impl State {
    /// In their order everywhere.
    pub const ALL: [State; 7] = [
        State::Complete,
        State::Running,
        State::Interrupted,
        State::CutOff,
        State::Failed,
        State::Unreadable,
        State::Missing,
    ];

    /// The state in a word or two.
    pub fn name(self) -> &'static str {
        match self {
            State::Complete => "complete",
            State::Running => "running",
            State::Interrupted => "interrupted",
            State::CutOff => "cut off",
            State::Failed => "failed",
            State::Unreadable => "unreadable",
            State::Missing => "missing",
        }
    }
}

/// A run as its folder tells of it.
pub struct FoundRun {
    /// What it is to be.
    pub entry: Entry,
    /// How it stands.
    pub state: State,
    /// What went wrong, if something did.
    pub cause: Option<String>,
    /// Epochs of training that are done, and that are wanted.
    pub epochs: (u64, Option<u64>),
    /// Losses and metrics by name, so far.
    pub metrics: Vec<Measured>,
    /// `metrics.csv`.
    pub history: Columns,
    /// `diagnostics.csv`; empty if there is none.
    pub diagnostics: Columns,
    /// What `result.json` says, once it is there.
    pub result: Option<RunResult>,
}

/// A loss or metric of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// As in `metrics.csv`.
    pub name: String,
    /// Such as `%`; empty where there is none.
    pub unit: String,
    /// Which way it gets better.
    pub better: Better,
    /// After the last epoch that was evaluated.
    pub last: Option<f64>,
    /// The epoch in which it was best, and its value.
    pub best: Option<(u64, f64)>,
    /// In the epoch with the best validation loss.
    pub at_best_validation: Option<f64>,
}

impl FoundRun {
    /// Reads the folder. Whatever is wrong with it is the run's cause.
    pub fn read(entry: Entry, error: bool) -> FoundRun {
        let mut run = FoundRun {
            state: State::Missing,
            cause: None,
            epochs: (0, entry.settings["epochs"].as_u64()),
            metrics: Vec::new(),
            history: Columns::default(),
            diagnostics: Columns::default(),
            result: None,
            entry,
        };
        if let Err(cause) = run.fill() {
            (run.state, run.cause) = (State::Unreadable, Some(text_of(&cause)));
        }
        if error {
            run.show_errors();
        }
        run
    }

    fn fill(&mut self) -> Result<()> {
        let folder = self.entry.folder.clone();
        let folder = folder.as_path();
        if !folder.exists() {
            return Ok(());
        }
        self.result = read_result(folder)?;
        let mut locked = false;
        if self.result.is_none() {
            locked = Folder::is_locked(folder);
            self.result = read_result(folder)?; // it may have ended in between
        }
        self.history = Columns::read(&folder.join("metrics.csv"))?;
        self.diagnostics = Columns::read(&folder.join("diagnostics.csv"))?;
        if self.entry.settings.is_null() {
            self.entry.settings = settings_of(folder)?;
        }
        let Some(result) = &self.result else {
            let begun = folder.join("config.yaml").exists() || !self.history.rows.is_empty();
            self.state = match (locked, begun) {
                (true, _) => State::Running,
                (false, true) => State::CutOff,
                (false, false) => State::Missing,
            };
            let last = self.history.column("epoch").and_then(|it| it.last().copied().flatten());
            self.epochs.0 = last.unwrap_or(0.0) as u64;
            self.metrics = self.history.measured();
            return Ok(());
        };
        (self.state, self.cause) = match result.state {
            EndState::Complete => (State::Complete, None),
            EndState::Interrupted => (State::Interrupted, None),
            EndState::Failed => (State::Failed, result.error.clone()),
        };
        let count = |key| result.epochs.get(key).copied();
        if let (State::Complete, Some(wanted), Some(planned)) =
            (self.state, count("wanted"), self.epochs.1)
            && wanted != planned
        {
            bail!("is a run of {wanted} epochs in place of {planned}");
        }
        self.epochs = (count("done").unwrap_or(0), count("wanted").or(self.epochs.1));
        let measured = result.metrics.iter().map(|(name, value)| Measured {
            name: name.clone(),
            unit: value.unit.clone(),
            better: value.better,
            last: value.last,
            best: value.best.map(|best| (best.epoch, best.value)),
            at_best_validation: value.at_best_validation,
        });
        self.metrics = measured.collect();
        Ok(())
    }

    /// Makes errors of accuracies in percent.
    fn show_errors(&mut self) {
        let name_of = |name: &str| Some(format!("{}_error", name.strip_suffix("_accuracy")?));
        let is_percent = |name: &str| ValueName::find(name).is_some_and(|name| name.unit == "%");
        for column in 0..self.history.names.len() {
            let name = self.history.names[column].clone();
            if let Some(error) = name_of(&name).filter(|_| is_percent(&name)) {
                self.history.names[column] = error;
                for cell in self.history.rows.iter_mut().filter_map(|row| row[column].as_mut()) {
                    *cell = 100.0 - *cell;
                }
            }
        }
        for measured in self.metrics.iter_mut().filter(|it| it.unit == "%") {
            if let Some(name) = name_of(&measured.name) {
                (measured.name, measured.better) = (name, Better::Lower);
                measured.last = measured.last.map(|value| 100.0 - value);
                measured.best = measured.best.map(|(epoch, value)| (epoch, 100.0 - value));
                let chosen = measured.at_best_validation;
                measured.at_best_validation = chosen.map(|value| 100.0 - value);
            }
        }
    }

    /// A loss or metric by name.
    pub fn metric(&self, name: &str) -> Option<&Measured> {
        self.metrics.iter().find(|measured| measured.name == name)
    }

    /// Seconds in all of `training` or `evaluation`; `total` once the run has ended.
    pub fn seconds(&self, of: &str) -> Option<f64> {
        if let Some(result) = &self.result {
            return result.seconds.get(of).copied();
        }
        let column = match of {
            "training" => "train_seconds",
            "evaluation" => "eval_seconds",
            _ => return None,
        };
        Some(self.history.column(column)?.into_iter().flatten().sum())
    }
}

fn read_result(folder: &Path) -> Result<Option<RunResult>> {
    match folder.join("result.json").exists() {
        true => RunResult::read(folder).map(Some),
        false => Ok(None),
    }
}

/// The configuration of the run in a folder, or the settings of one that was made without.
pub fn settings_of(folder: &Path) -> Result<Json> {
    let place = folder.join("config.yaml");
    match files::read_to_string(&place) {
        Ok(text) => {
            let value = parse_yaml(&text).at(&place, "is no configuration")?;
            serde_json::to_value(value).at(&place, "is no configuration")
        }
        Err(error) if files::is_not_found(&error) => {
            Ok(read_result(folder)?.map_or(Json::Null, |result| result.settings))
        }
        Err(error) => Err(error),
    }
}

/// A table of numbers.
#[derive(Default)]
pub struct Columns {
    /// Of the columns.
    pub names: Vec<String>,
    /// The cells; an empty one is none.
    pub rows: Vec<Vec<Option<f64>>>,
}

impl Columns {
    /// Reads a table, or nothing where there is none. A last line that is still being written is left
    /// out.
    pub fn read(place: &Path) -> Result<Columns> {
        let text = match files::read_to_string(place) {
            Err(error) if files::is_not_found(&error) => return Ok(Columns::default()),
            text => text?,
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut reader = csv::Reader::from_reader(whole.as_bytes());
        let names = reader.headers().at(place, "is no table")?.iter().map(String::from).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.at(place, "is no table")?;
            let number = |cell: &str| match cell {
                "" => Ok(None),
                cell => cell.parse().map(Some).with_context(|| {
                    let line = record.position().map_or(0, |position| position.line());
                    format!("{}: line {line}: `{cell}` is no number", place.display())
                }),
            };
            rows.push(record.iter().map(number).collect::<Result<Vec<_>>>()?);
        }
        Ok(Columns { names, rows })
    }

    /// The cells of a column.
    pub fn column(&self, name: &str) -> Option<Vec<Option<f64>>> {
        let place = self.names.iter().position(|it| it == name)?;
        Some(self.rows.iter().map(|row| row[place]).collect())
    }

    /// The finite numbers of a column by those of another one.
    pub fn pairs(&self, x: &str, y: &str) -> Vec<(f64, f64)> {
        let (Some(x), Some(y)) = (self.column(x), self.column(y)) else { return Vec::new() };
        let pairs = x.into_iter().zip(y).filter_map(|(x, y)| Some((x?, y?)));
        pairs.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    }

    /// The losses and metrics of a `metrics.csv`, as [`RunResult`] would have them now.
    fn measured(&self) -> Vec<Measured> {
        let best_of = |name: ValueName| {
            let sign = if name.better == Better::Higher { -1.0 } else { 1.0 };
            let trained = self.pairs("epoch", &name.to_string());
            let trained = trained.into_iter().filter(|(epoch, _)| *epoch > 0.0);
            trained.min_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)))
        };
        let chosen = ValueName::find("validation_loss").and_then(best_of).map(|(epoch, _)| epoch);
        let names = self.names.iter().filter_map(|name| ValueName::find(name));
        let mut measured = BTreeMap::new(); // as in `result.json`
        for name in names {
            let text = name.to_string();
            let values = self.pairs("epoch", &text);
            let at = |epoch| Some(values.iter().find(|(it, _)| *it == epoch)?.1);
            let last = self.column(&text).and_then(|it| it.into_iter().flatten().next_back());
            measured.insert(
                text.clone(),
                Measured {
                    name: text,
                    unit: name.unit.to_string(),
                    better: name.better,
                    last: last.filter(|value| value.is_finite()),
                    best: best_of(name).map(|(epoch, value)| (epoch as u64, value)),
                    at_best_validation: chosen.and_then(at),
                },
            );
        }
        measured.into_values().collect()
    }
}
