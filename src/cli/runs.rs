//! `f3-tch runs`: the runs that are there.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use f3_tch::files::{self, At};
use f3_tch::messages::text_of;
use f3_tch::metrics::Better;
use f3_tch::run::{EndState, Folder, RunResult, ValueName};
use f3_tch::settings::parse_yaml;
use serde_json::{Value, json};

use super::{print, say};

#[derive(Args)]
pub struct RunsArgs {
    /// Folder whose runs are listed, at any depth
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Order of the runs: by folder, the youngest first, or the best first
    #[arg(long, value_enum, default_value_t = Order::Folder)]
    sort: Order,
    /// Only the runs in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only the runs on this data set
    #[arg(long, value_name = "NAME")]
    data: Option<String>,
    /// Only the runs of this learning rule
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// Print a JSON array in place of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Folder,
    Age,
    Metric,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Complete,
    Running,
    Interrupted,
    Failed,
    #[value(name = "cut_off", alias = "cut-off", alias = "cut off")]
    CutOff,
    /// A file cannot be read
    Damaged,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Complete => "complete",
            State::Running => "running",
            State::Interrupted => "interrupted",
            State::Failed => "failed",
            State::CutOff => "cut_off",
            State::Damaged => "damaged",
        }
    }
}

/// What a run's folder says of it.
struct Listed {
    folder: PathBuf,
    state: State,
    data: Option<String>,
    algorithm: Option<String>,
    seed: Option<u64>,
    /// Done and wanted.
    epochs: Option<(u64, u64)>,
    /// The last accuracy or loss on the test set; not finite: none.
    metric: Option<(ValueName, Option<f64>)>,
    /// When it was written to last, in seconds since the Unix epoch.
    modified: Option<f64>,
    /// Why it failed, or cannot be read.
    cause: Option<String>,
}

impl RunsArgs {
    pub fn run(self) -> Result<()> {
        let mut runs: Vec<Listed> =
            RunResult::find(&self.folder)?.iter().map(|folder| Listed::read(folder)).collect();
        let is =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        runs.retain(|run| {
            self.state.is_none_or(|state| state == run.state)
                && is(&self.data, &run.data)
                && is(&self.algorithm, &run.algorithm)
        });
        match self.sort {
            Order::Folder => {}
            Order::Age => runs.sort_by(|a, b| {
                let time = |run: &Listed| run.modified.unwrap_or(f64::NEG_INFINITY);
                time(b).total_cmp(&time(a))
            }),
            Order::Metric => runs.sort_by(best_first),
        }
        if self.json {
            let runs: Vec<Value> = runs.iter().map(Listed::to_json).collect();
            return print(&(serde_json::to_string_pretty(&runs)? + "\n"));
        }
        if runs.is_empty() {
            say(format_args!("no such runs in {}", self.folder.display()));
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        print(&table(&runs, now))
    }
}

impl Listed {
    fn read(folder: &Path) -> Listed {
        Listed::of(folder).unwrap_or_else(|error| Listed {
            state: State::Damaged,
            cause: Some(text_of(&error)),
            ..Listed::unknown(folder)
        })
    }

    fn unknown(folder: &Path) -> Listed {
        let files = ["result.json", "metrics.csv", "config.yaml", ""];
        let modified = files.iter().find_map(|name| {
            let time = fs::metadata(folder.join(name)).ok()?.modified().ok()?;
            Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
        });
        Listed {
            folder: folder.to_path_buf(),
            state: State::CutOff,
            data: None,
            algorithm: None,
            seed: None,
            epochs: None,
            metric: None,
            modified,
            cause: None,
        }
    }

    fn of(folder: &Path) -> Result<Listed> {
        fs::read_dir(folder).at(folder, "cannot be read")?;
        let has_ended = || fs::symlink_metadata(folder.join("result.json")).is_ok();
        if has_ended() {
            return Ok(Listed::ended(folder, RunResult::read(folder)?));
        }
        let running = Folder::is_locked(folder);
        if !running && has_ended() {
            return Ok(Listed::ended(folder, RunResult::read(folder)?)); // meanwhile
        }
        let state = if running { State::Running } else { State::CutOff };
        Listed::begun(folder, state)
    }

    fn ended(folder: &Path, result: RunResult) -> Listed {
        let epochs = |which: &str| result.epochs.get(which).copied().unwrap_or(0);
        let metric = main_metric(|name| result.metrics.get(name).map(|value| value.last));
        let state = match result.state {
            EndState::Complete => State::Complete,
            EndState::Interrupted => State::Interrupted,
            EndState::Failed => State::Failed,
        };
        Listed {
            state,
            seed: Some(result.seed),
            epochs: Some((epochs("done"), epochs("wanted"))),
            metric,
            cause: result.error,
            ..Listed::unknown(folder).with(&result.settings)
        }
    }

    /// A run without a result, as its configuration and its table say.
    fn begun(folder: &Path, state: State) -> Result<Listed> {
        let place = Folder::config_of(folder)?;
        let text = files::read_to_string(&place)?;
        let settings = parse_yaml(&text).at(&place, "is no configuration")?;
        let settings = serde_json::to_value(settings).at(&place, "is no configuration")?;
        let numbers = last_numbers(&folder.join("metrics.csv"))?;
        let value = |name: &str| Some(numbers.iter().find(|(column, _)| column == name)?.1);
        let done = value("epoch").unwrap_or(0.0) as u64;
        let wanted = settings["epochs"].as_u64();
        Ok(Listed {
            state,
            epochs: wanted.map(|wanted| (done, wanted)),
            metric: main_metric(|name| value(name).map(|it| Some(it).filter(|it| it.is_finite()))),
            ..Listed::unknown(folder).with(&settings)
        })
    }

    /// Takes over what a configuration says.
    fn with(self, settings: &Value) -> Listed {
        let name = |section: &str| settings[section]["name"].as_str().map(String::from);
        let seed = settings["seed"].as_u64();
        Listed { data: name("data"), algorithm: name("algorithm"), seed, ..self }
    }

    fn to_json(&self) -> Value {
        let metric = self
            .metric
            .map(|(name, last)| json!({"name": name.to_string(), "last": last, "unit": name.unit}));
        json!({
            "folder": self.folder,
            "state": self.state.name(),
            "data": self.data,
            "algorithm": self.algorithm,
            "seed": self.seed,
            "epochs": self.epochs.map(|(done, wanted)| json!({"done": done, "wanted": wanted})),
            "metric": metric,
            "modified": self.modified,
            "error": self.cause,
        })
    }

    fn cells(&self, now: f64) -> [String; 8] {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let metric = match self.metric {
            None => "-".into(),
            Some((name, None)) => format!("{} NaN", name.quantity),
            Some((name, Some(value))) if name.unit.is_empty() => {
                format!("{} {value:.4}", name.quantity)
            }
            Some((name, Some(value))) => format!("{} {value:.2} {}", name.quantity, name.unit),
        };
        let cause = self.cause.as_deref().unwrap_or_default();
        [
            self.folder.display().to_string(),
            self.state.name().replace('_', " "),
            shown(&self.data),
            shown(&self.algorithm),
            self.epochs.map_or("-".into(), |(done, wanted)| format!("{done}/{wanted}")),
            metric,
            self.modified.map_or("-".into(), |time| age(now - time)),
            cause.split_whitespace().collect::<Vec<_>>().join(" "),
        ]
    }
}

/// The accuracy on the test set, or its loss where there is none.
fn main_metric(value: impl Fn(&str) -> Option<Option<f64>>) -> Option<(ValueName, Option<f64>)> {
    ["test_accuracy", "test_loss"]
        .into_iter()
        .find_map(|name| Some((ValueName::find(name)?, value(name)?)))
}

/// The last number of each column, by its name; none if no row has been written. A line that is not
/// finished is none, and a cell is empty where an epoch was not evaluated.
fn last_numbers(table: &Path) -> Result<Vec<(String, f64)>> {
    let unread = "cannot be read";
    if !table.exists() {
        return Ok(Vec::new());
    }
    let bytes = files::read(table)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut reader = csv::Reader::from_reader(&bytes[..end]);
    let header = reader.headers().at(table, unread)?.clone();
    let rows = reader.records().collect::<Result<Vec<_>, _>>().at(table, unread)?;
    let number = |(place, column): (usize, &str)| {
        let mut cells = rows.iter().rev().filter_map(|row| row.get(place));
        let cell = cells.find(|cell| !cell.is_empty())?;
        let number = cell.parse().with_context(|| format!("`{cell}` in column `{column}`"));
        Some(number.at(table, unread).map(|number| (column.to_string(), number)))
    };
    header.iter().enumerate().filter_map(number).collect()
}

/// Accuracies before losses, and runs without a number last.
fn best_first(a: &Listed, b: &Listed) -> Ordering {
    let key = |run: &Listed| match run.metric {
        Some((name, Some(value))) => match name.better {
            Better::Higher => (0, -value),
            Better::Lower => (1, value),
        },
        _ => (2, 0.0),
    };
    let ((a, x), (b, y)) = (key(a), key(b));
    a.cmp(&b).then(x.total_cmp(&y))
}

/// Such as "3 h ago", in the largest unit of which there are at least two, or in seconds.
fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let fits = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, unit) = fits.unwrap_or((1, "s"));
    format!("{} {unit} ago", seconds / length)
}

/// Columns are not padded to cells that are wider than this.
const WIDEST: usize = 200;

fn table(runs: &[Listed], now: f64) -> String {
    let header = ["folder", "state", "data", "algorithm", "epochs", "test", "age", ""];
    let mut rows = vec![header.map(String::from)];
    rows.extend(runs.iter().map(|run| run.cells(now)));
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count().min(WIDEST)).max();
    let widths: Vec<usize> = (0..header.len() - 1).filter_map(width).collect();
    let line = |row: &[String; 8]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:width$}  ");
        }
        format!("{}\n", (line + &row[7]).trim_end())
    };
    rows.iter().map(line).collect()
}
