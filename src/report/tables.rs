//! The tables of a report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value as Json;

use super::Report;
use super::compare::{CONFIDENCE, Group, Row};
use super::figures::capital;
use super::find::{leaves, show};
use super::numbers::{NONE, interval, spread};
use super::runs::{FoundRun, State};
use super::settings::Select;
use super::statistics::Summary;
use super::table::{Cell, Table};
use crate::metrics::Better;

impl Report {
    /// The runs of a row.
    pub(super) fn runs_of<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a FoundRun> {
        row.runs.iter().map(|run| &self.runs[*run])
    }

    /// All rows, with their tables.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Group, &Row)> {
        self.groups.iter().flat_map(|group| group.rows.iter().map(move |row| (group, row)))
    }

    /// What the rows are.
    fn row_title(&self) -> String {
        match self.settings.rows.as_slice() {
            [key] => {
                let key = key.strip_suffix(".name").unwrap_or(key);
                key.rsplit('.').next().unwrap_or(key).replace('_', " ")
            }
            _ => "case".to_string(),
        }
    }

    /// A table with columns for the group, if there are several, and the row.
    fn table_of_rows(&self, columns: &[&str]) -> Table {
        let row = self.row_title();
        let mut names = vec![row.as_str()];
        if self.groups.len() > 1 {
            names.insert(0, "table");
        }
        names.extend(columns);
        Table::new("", &names)
    }

    /// The first cells of such a table.
    fn place(&self, group: &Group, label: &str) -> Vec<String> {
        let label = label.to_string();
        if self.groups.len() > 1 { vec![group.name.clone(), label] } else { vec![label] }
    }
}

/// The means of each group.
pub fn main_tables(report: &Report) -> Vec<Table> {
    report.groups.iter().map(|group| main_table(report, group)).collect()
}

/// The means of a group's rows.
pub fn main_table(report: &Report, group: &Group) -> Table {
    let select = report.settings.select;
    let Some(metric) = &group.metric else {
        let mut table = Table::new(&group.name, &[&report.row_title(), "#n"]);
        for row in &group.rows {
            let n = format!("0 of {}", row.runs.len());
            table.push(Some(row.colour), vec![row.label.clone(), n]);
        }
        table.note = format!("No run has a value of {} yet.", report.settings.metric.join(" or "));
        return table;
    };
    let summary = |row: &Row, select| row.summary(&report.runs, metric, select);
    let selects: Vec<Select> = Select::ALL
        .into_iter()
        .filter(|it| {
            let has = |row: &Row| {
                report.runs_of(row).any(|run| {
                    run.metric(&metric.name).is_some_and(|it| it.at_best_validation.is_some())
                })
            };
            *it != Select::BestValidation || select == *it || group.rows.iter().any(has)
        })
        .collect();
    let has_gap = report.settings.gap.is_some();
    let has_reference = group.rows.iter().any(|row| row.reference.is_some());

    let title = match group.name.as_str() {
        "" => capital(&metric.title()),
        name => format!("{name}: {}", metric.title()),
    };
    let mut columns = vec![report.row_title()];
    columns.extend(selects.iter().map(|select| format!("#{}", select.title())));
    columns.push("#n".into());
    columns.extend(has_gap.then(|| "#gap closed".to_string()));
    columns.extend(has_reference.then(|| "#reference".to_string()));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new(&title, &columns);
    for (column, shown) in table.head[1..].iter_mut().zip(&selects) {
        column.is_chosen = *shown == select;
    }
    for row in &group.rows {
        let n = summary(row, select).map_or(0, |it| it.n);
        let mut cells = vec![row.label.clone()];
        cells.extend(selects.iter().map(|select| match summary(row, *select) {
            None => NONE.to_string(),
            Some(it) if it.n != n => {
                format!("{} (n = {})", spread(it.mean, it.deviation), it.n)
            }
            Some(it) => spread(it.mean, it.deviation),
        }));
        let all = row.runs.len();
        cells.push(if n == all { n.to_string() } else { format!("{n} of {all}") });
        cells.extend(has_gap.then(|| match row.gap {
            None => NONE.to_string(),
            Some(Summary { mean, deviation, n: pairs }) => {
                let share = spread(100.0 * mean, deviation.map(|it| 100.0 * it));
                match pairs {
                    0 => format!("{share} % (of means)"),
                    _ if pairs != n => format!("{share} % (n = {pairs})"),
                    _ => format!("{share} %"),
                }
            }
        }));
        cells.extend(
            has_reference.then(|| row.reference.map_or(NONE.to_string(), |it| it.to_string())),
        );
        table.push(Some(row.colour), cells);
    }
    if group.rows.len() > 1 {
        for (column, select) in selects.iter().enumerate() {
            let means = group.rows.iter().map(|row| Some(summary(row, *select)?.mean));
            let means: Vec<Option<f64>> = means.collect();
            let sign = if metric.better == Better::Higher { -1.0 } else { 1.0 };
            let best = means.iter().flatten().copied();
            let best = best.min_by(|a, b| (sign * a).total_cmp(&(sign * b)));
            for (line, mean) in table.rows.iter_mut().zip(means) {
                line.cells[1 + column].is_best = mean.is_some() && mean == best;
            }
        }
    }
    table.note = note(report, group, selects.contains(&Select::BestValidation));
    table
}

/// What it takes to read the main table.
fn note(report: &Report, group: &Group, has_validation: bool) -> String {
    let mut note =
        "Mean ± standard deviation (n - 1) over the n complete runs of a row, at their last \
                    epoch and at the epoch in which this metric is best"
            .to_string();
    if has_validation {
        note += ", and at the epoch with the smallest validation loss";
    }
    note += &format!(". Figures and differences use the {}", report.settings.select.words());
    if let Some(gap) = &report.settings.gap {
        note += &format!(
            ", and so does the share of the gap from {} to {} that a row closes, paired by seed",
            gap.from, gap.to
        );
        if group.rows.iter().any(|row| row.gap.is_some_and(|gap| gap.n == 0)) {
            note += " (where no seed is shared, of the means)";
        }
    }
    note += ".";
    if let Some(reference) = &report.settings.reference
        && group.rows.iter().any(|row| row.reference.is_some())
    {
        note += &format!(" Reference: {}.", reference.source.trim_end_matches('.'));
    }
    note
}

/// The differences within a group; none if there are none.
pub fn differences(report: &Report, group: &Group) -> Option<Table> {
    let metric = group.metric.as_ref()?;
    let columns = ["difference", "#mean", "#95\u{a0}% interval", "#pairs"];
    let mut table = Table::new(&format!("Differences in {}", metric.title()), &columns);
    for difference in &group.differences {
        let name = difference.name.clone();
        let (mean, ends, n) = match difference.summary {
            None => (NONE.to_string(), NONE.to_string(), 0),
            Some(summary) => {
                let (mean, ends) = interval(summary.mean, summary.half_width(CONFIDENCE));
                (mean, ends, summary.n)
            }
        };
        table.push(Some(difference.colour), vec![name, mean, ends, n.to_string()]);
    }
    let first = if metric.better == Better::Lower { "Below" } else { "Above" };
    table.note = format!(
        "At the {}, paired by seed, with the 95\u{a0}% confidence interval of the mean by Student's t. {first} \
         zero the first row is the better one. The intervals are not corrected for their number.",
        report.settings.select.words()
    );
    (!table.rows.is_empty()).then_some(table)
}

/// The runs that are not complete; none if all are.
pub fn unfinished(report: &Report) -> Option<Table> {
    let mut table = report.table_of_rows(&["#seed", "state", "#epochs", "folder", "cause"]);
    for (group, row) in report.rows() {
        for run in report.runs_of(row).filter(|run| run.state != State::Complete) {
            let wanted = run.epochs.1.map_or(NONE.to_string(), |wanted| wanted.to_string());
            let mut cells = report.place(group, &row.label);
            cells.extend([
                run.entry.seed.to_string(),
                run.state.name().to_string(),
                format!("{} of {wanted}", run.epochs.0),
                shown_folder(report, run),
                run.cause.clone().unwrap_or_default(),
            ]);
            table.push(Some(row.colour), cells);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// What the runs of a row took, per run.
pub fn times(report: &Report, row: &Row) -> [(&'static str, Option<Summary>); 4] {
    let begun = report.runs_of(row).filter(|run| run.epochs.0 > 0);
    let begun: Vec<&FoundRun> = begun.collect();
    let summary = |value: &dyn Fn(&FoundRun) -> Option<f64>| {
        let values = begun.iter().filter_map(|run| value(run)).filter(|value| value.is_finite());
        Summary::of(&values.collect::<Vec<_>>())
    };
    let epochs = |run: &FoundRun| run.epochs.0 as f64;
    let rate = |run: &FoundRun| {
        let samples = run.history.column("processed_samples")?.last().copied().flatten()?;
        Some(samples / run.seconds("training")?)
    };
    [
        ("training s/epoch", summary(&|run| Some(run.seconds("training")? / epochs(run)))),
        // One evaluation comes before the first epoch.
        (
            "evaluation s/epoch",
            summary(&|run| Some(run.seconds("evaluation")? / (epochs(run) + 1.0))),
        ),
        ("samples/s", summary(&rate)),
        ("total s/run", summary(&|run| run.seconds("total"))),
    ]
}

/// What the runs took.
pub fn time_table(report: &Report) -> Table {
    let columns =
        ["#training s/epoch", "#evaluation s/epoch", "#samples/s", "#total s/run", "#runs"];
    let mut table = report.table_of_rows(&columns);
    for (group, row) in report.rows() {
        let mut cells = report.place(group, &row.label);
        let times = times(report, row);
        cells.extend(times.iter().map(|(_, summary)| {
            summary.map_or(NONE.to_string(), |summary| spread(summary.mean, summary.deviation))
        }));
        cells.push(times[0].1.map_or(0, |summary| summary.n).to_string());
        table.push(Some(row.colour), cells);
    }
    table
}

/// The keys in which the runs differ, other than their seed and name.
pub fn differing_keys(report: &Report) -> Vec<String> {
    let flat: Vec<_> = report.runs.iter().map(|run| leaves(&run.entry.settings)).collect();
    let flat: Vec<_> = flat.into_iter().filter(|run| !run.is_empty()).collect();
    let keys: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let differs =
        |key: &&String| flat.windows(2).any(|pair| pair[0].get(*key) != pair[1].get(*key));
    let keys = keys.into_iter().filter(differs);
    keys.filter(|key| !["seed", "name"].contains(&key.as_str())).cloned().collect()
}

/// What differs between the configurations; none if nothing does.
pub fn configurations(report: &Report) -> Option<Table> {
    let keys = differing_keys(report);
    let mut table = report.table_of_rows(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    for (group, row) in report.rows() {
        let mut cells = report.place(group, &row.label);
        cells.extend(keys.iter().map(|key| {
            let values: BTreeSet<String> = report
                .runs_of(row)
                .filter(|run| !run.entry.settings.is_null())
                .map(|run| value_at(&run.entry.settings, key).map_or(NONE.to_string(), show))
                .collect();
            values.into_iter().collect::<Vec<_>>().join(" | ")
        }));
        table.push(Some(row.colour), cells);
    }
    (!keys.is_empty()).then_some(table)
}

pub fn value_at<'a>(settings: &'a Json, key: &str) -> Option<&'a Json> {
    key.split('.').try_fold(settings, |value, key| value.get(key))
}

/// The versions and machines of the runs that have ended.
pub fn machines(report: &Report) -> Option<Table> {
    let columns =
        ["f3-tch", "libtorch", "processor", "device", "#threads", "instruction set", "#runs"];
    let mut counts: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for result in report.runs.iter().filter_map(|run| run.result.as_ref()) {
        let version = |name| result.versions.get(name).cloned().unwrap_or(NONE.to_string());
        let machine = |name| result.machine.get(name).map_or(NONE.to_string(), show);
        let cells = vec![
            version("f3-tch"),
            version("libtorch"),
            machine("processor"),
            machine("device"),
            machine("threads"),
            machine("instruction_set"),
        ];
        *counts.entry(cells).or_default() += 1;
    }
    let mut table = Table::new("", &columns);
    for (mut cells, count) in counts {
        cells.push(count.to_string());
        table.push(None, cells);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Where a run's folder is, seen from the folder that holds all of them.
pub fn shown_folder(report: &Report, run: &FoundRun) -> String {
    let below: PathBuf = run.entry.folder.components().skip(report.shared_parts).collect();
    below.display().to_string()
}

/// A column's cell for people that is empty has a dash on the page.
impl Cell {
    /// The text, or a dash.
    pub fn shown(&self) -> &str {
        if self.text.is_empty() { NONE } else { &self.text }
    }
}
