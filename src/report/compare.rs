//! Runs in rows, and what the rows say when they are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::find::{is_beside, leaves};
use super::runs::{FoundRun, Measured, State};
use super::settings::{Gap, ReportSettings, Select};
use super::statistics::Summary;
use crate::metrics::Better;
use crate::run::EndedBy;

/// A table of a report: rows that are compared by a metric.
pub struct Group {
    /// Empty where there is one table only.
    pub name: String,
    /// By which the rows are compared; none while no run has one.
    pub metric: Option<Metric>,
    /// The rows, in the order in which their runs are given.
    pub rows: Vec<Row>,
    /// Of pairs of rows.
    pub differences: Vec<Difference>,
}

/// What is measured of a run.
#[derive(Clone, Debug)]
pub struct Metric {
    /// As in `metrics.csv`, or `test_error` for 100 % - `test_accuracy`.
    pub name: String,
    /// Such as `%`; empty where there is none.
    pub unit: String,
    /// Which way it gets better.
    pub better: Better,
}

impl Metric {
    fn of(measured: &Measured) -> Metric {
        let Measured { name, unit, better, .. } = measured;
        Metric { name: name.clone(), unit: unit.clone(), better: *better }
    }

    /// The name and the unit in words.
    pub fn title(&self) -> String {
        let name = self.name.replace('_', " ");
        if self.unit.is_empty() { name } else { format!("{name} in {}", self.unit) }
    }
}

/// Runs that differ in their seeds only.
pub struct Row {
    /// As the runs say.
    pub name: String,
    /// The value of the key [`ReportSettings::x`].
    pub x: Option<f64>,
    /// The name, with the value.
    pub label: String,
    /// Place of the row among all of the report, which gives it its colour.
    pub colour: usize,
    /// The runs, as places in the report's list.
    pub runs: Vec<usize>,
    /// The number of others.
    pub reference: Option<f64>,
    /// The share of the gap that it closes; with `n` = 0 that of the means, where no seeds are shared.
    pub gap: Option<Summary>,
}

/// A row less another one, over the seeds that both have.
pub struct Difference {
    /// Label of the first row.
    pub row: String,
    /// Place of the first row among all of the report.
    pub colour: usize,
    /// Label of the other one.
    pub to: String,
    /// Both, in short.
    pub name: String,
    /// The difference; none where no seed is shared.
    pub summary: Option<Summary>,
}

/// How sure a confidence interval is.
pub const CONFIDENCE: f64 = 0.95;

impl Row {
    /// The values of a metric in its complete runs, with their seeds.
    pub fn values(&self, runs: &[FoundRun], metric: &Metric, select: Select) -> Vec<(u64, f64)> {
        let runs = self.runs.iter().map(|run| &runs[*run]);
        let complete = runs.filter(|run| run.state == State::Complete);
        let values = complete.filter_map(|run| {
            let measured = run.metric(&metric.name)?;
            let value = match select {
                Select::Last => measured.last?,
                Select::Best => measured.best?.1,
                Select::BestValidation => measured.at_best_validation?,
            };
            Some((run.entry.seed, value))
        });
        values.collect()
    }

    /// The values in short.
    pub fn summary(&self, runs: &[FoundRun], metric: &Metric, select: Select) -> Option<Summary> {
        let values = self.values(runs, metric, select);
        Summary::of(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())
    }

    fn is(&self, name: &str, x: Option<f64>) -> bool {
        self.label == name || (self.name == name && self.x == x)
    }
}

/// Values by seed; a seed that several runs have pairs with nothing.
fn by_seed(values: Vec<(u64, f64)>) -> BTreeMap<u64, f64> {
    let mut counts: BTreeMap<u64, (usize, f64)> = BTreeMap::new();
    for (seed, value) in values {
        let entry = counts.entry(seed).or_insert((0, value));
        entry.0 += 1;
    }
    counts.into_iter().filter(|(_, (n, _))| *n == 1).map(|(seed, (_, it))| (seed, it)).collect()
}

/// Puts runs into the rows of their tables. Beside these come remarks for people.
pub fn compare(runs: &[FoundRun], settings: &ReportSettings) -> (Vec<Group>, Vec<String>) {
    let mut remarks = Vec::new();
    let mut names: Vec<&str> = Vec::new(); // of rows, over all tables
    let mut groups: Vec<Group> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let entry = &run.entry;
        let group = match groups.iter().position(|group| group.name == entry.group) {
            Some(group) => group,
            None => {
                let name = entry.group.clone();
                let (rows, differences) = (Vec::new(), Vec::new());
                groups.push(Group { name, metric: None, rows, differences });
                groups.len() - 1
            }
        };
        let colour = names.iter().position(|name| *name == entry.row).unwrap_or_else(|| {
            names.push(&entry.row);
            names.len() - 1
        });
        let x = settings.x.as_deref().and_then(|key| number_at(&entry.settings, key));
        if let (Some(key), None) = (&settings.x, x) {
            remarks.push(format!("`x` is `{key}`, which is no number in runs of {}", entry.row));
        }
        let rows = &mut groups[group].rows;
        match rows.iter_mut().find(|row| row.name == entry.row && row.x == x) {
            Some(row) => row.runs.push(place),
            None => rows.push(Row {
                name: entry.row.clone(),
                x,
                label: match (&settings.x, x) {
                    (Some(key), Some(x)) => {
                        let key = key.rsplit('.').next().unwrap_or(key).replace('_', " ");
                        format!("{}, {key} {x}", entry.row)
                    }
                    _ => entry.row.clone(),
                },
                colour,
                runs: vec![place],
                reference: None,
                gap: None,
            }),
        }
    }
    for group in &mut groups {
        group.rows.sort_by(|a, b| {
            let x = |row: &Row| row.x.unwrap_or(f64::NEG_INFINITY);
            a.colour.cmp(&b.colour).then(x(a).total_cmp(&x(b)))
        });
        group.metric = metric_of(group, runs, settings);
        group.fill(runs, settings);
    }
    remarks.extend(unknown_rows(&groups, settings));
    for group in &groups {
        remarks.extend(group.rows.iter().filter_map(|row| shared_seeds(group, row, runs)));
        remarks.extend(group.rows.iter().filter_map(|row| mixed(group, row, runs)));
        remarks.extend(group.rows.iter().filter_map(|row| out_of_time(group, row, runs)));
        remarks.extend(group.rows.iter().filter_map(|row| without_value(group, row, runs)));
    }
    remarks.dedup();
    (groups, remarks)
}

fn number_at(settings: &Json, key: &str) -> Option<f64> {
    key.split('.').try_fold(settings, |value, key| value.get(key))?.as_f64()
}

/// The name of a metric as this report shows it.
pub fn shown_name(name: &str, settings: &ReportSettings) -> String {
    match name.strip_suffix("_accuracy") {
        Some(part) if settings.error => format!("{part}_error"),
        _ => name.to_string(),
    }
}

/// The first of the metrics that a run of the table has.
fn metric_of(group: &Group, runs: &[FoundRun], settings: &ReportSettings) -> Option<Metric> {
    let names = settings.metric.iter().map(|name| shown_name(name, settings));
    names.into_iter().find_map(|name| find_metric(group, runs, &name))
}

/// A metric by name, if a run of the table has it.
pub fn find_metric(group: &Group, runs: &[FoundRun], name: &str) -> Option<Metric> {
    let mut places = group.rows.iter().flat_map(|row| &row.runs);
    places.find_map(|place| runs[*place].metric(name)).map(Metric::of)
}

impl Group {
    /// Fills what follows from the runs' values.
    fn fill(&mut self, runs: &[FoundRun], settings: &ReportSettings) {
        if let Some(reference) = &settings.reference {
            for row in &mut self.rows {
                let by_name = || reference.of(&self.name, &row.name).filter(|_| row.x.is_none());
                row.reference = reference.of(&self.name, &row.label).or_else(by_name);
            }
        }
        let Some(metric) = &self.metric else { return };
        let values = |row: &Row| by_seed(row.values(runs, metric, settings.select));
        let mean = |row: &Row| Some(row.summary(runs, metric, settings.select)?.mean);
        if let Some(Gap { from, to }) = &settings.gap {
            let share = |row: &Row| {
                let end = |name: &str| self.rows.iter().find(|it| it.is(name, row.x));
                let (from, to) = (end(from)?, end(to)?);
                if [from, to].iter().any(|end| end.label == row.label) {
                    return None;
                }
                let closed = |from: f64, x: f64, to: f64| {
                    Some((from - x) / (from - to)).filter(|share| share.is_finite())
                };
                let (from_values, to_values) = (values(from), values(to));
                let shares = values(row).into_iter().filter_map(|(seed, x)| {
                    closed(*from_values.get(&seed)?, x, *to_values.get(&seed)?)
                });
                Summary::of(&shares.collect::<Vec<_>>()).or_else(|| {
                    let mean = closed(mean(from)?, mean(row)?, mean(to)?)?;
                    Some(Summary { n: 0, mean, deviation: None })
                })
            };
            let shares: Vec<_> = self.rows.iter().map(share).collect();
            self.rows.iter_mut().zip(shares).for_each(|(row, share)| row.gap = share);
        }
        self.differences = self.pairs(settings.baseline.as_deref()).map_or(Vec::new(), |pairs| {
            let difference = |(row, to): (&Row, &Row)| {
                let others = values(to);
                let paired = values(row).into_iter();
                let paired = paired.filter_map(|(seed, value)| Some(value - others.get(&seed)?));
                let x = row.label.strip_prefix(&row.name).filter(|_| row.x == to.x);
                Difference {
                    name: match x {
                        Some(x) => format!("{} − {}{x}", row.name, to.name),
                        None => format!("{} − {}", row.label, to.label),
                    },
                    row: row.label.clone(),
                    colour: row.colour,
                    to: to.label.clone(),
                    summary: Summary::of(&paired.collect::<Vec<_>>()),
                }
            };
            pairs.into_iter().map(difference).collect()
        });
    }

    /// The rows that are compared to each other; none if the baseline is not there.
    fn pairs(&self, baseline: Option<&str>) -> Option<Vec<(&Row, &Row)>> {
        let alike = |a: &&Row, b: &&Row| a.x == b.x && a.label != b.label;
        let first = match baseline {
            Some(name) => name,
            None if self.names().len() > 6 => self.names()[0],
            None => {
                let later = |place: usize, row| {
                    let others = self.rows[place + 1..].iter().filter(move |to| alike(&row, to));
                    others.map(move |to| (row, to))
                };
                let rows = self.rows.iter().enumerate();
                return Some(rows.flat_map(|(place, row)| later(place, row)).collect());
            }
        };
        let to_first = |row| {
            let is_first = |to: &&Row| to.label == first || (to.name == first && alike(&row, to));
            let to = self.rows.iter().find(is_first)?;
            (to.label != row.label && row.name != first).then_some((row, to))
        };
        self.rows
            .iter()
            .any(|row| row.name == first || row.label == first)
            .then(|| self.rows.iter().filter_map(to_first).collect())
    }

    /// The names of the rows, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        names.dedup(); // rows of a name are neighbours
        names
    }

    /// Whether two rows share a name, so that the values of `x` tell them apart.
    pub fn has_x(&self) -> bool {
        self.rows.iter().any(|row| row.x.is_some())
    }
}

/// What the settings name that is no row.
fn unknown_rows(groups: &[Group], settings: &ReportSettings) -> Vec<String> {
    let rows = |group: Option<&str>| {
        let groups = groups.iter().filter(move |it| group.is_none_or(|group| it.name == group));
        let names = groups.flat_map(|group| &group.rows).flat_map(|row| [&row.name, &row.label]);
        names.map(String::as_str).collect::<Vec<_>>()
    };
    let mut named: Vec<(&str, Option<&str>, &str)> = Vec::new();
    if let Some(Gap { from, to }) = &settings.gap {
        named.extend([("gap.from", None, from.as_str()), ("gap.to", None, to.as_str())]);
    }
    named.extend(settings.baseline.as_deref().map(|row| ("baseline", None, row)));
    if let Some(reference) = &settings.reference {
        let places = reference.places().into_iter();
        named.extend(places.map(|(group, row)| ("reference.values", group, row)));
    }
    let unknown = named.into_iter().filter(|(_, group, row)| !rows(*group).contains(row));
    let remarks = unknown.map(|(key, group, row)| match group {
        Some(group) => format!("`{key}` names `{row}` of `{group}`, which is no row here"),
        None => {
            let mut known: Vec<&str> = groups.iter().flat_map(Group::names).collect();
            known.sort();
            known.dedup();
            format!(
                "`{key}` names `{row}`, which is no row here; the rows are {}",
                known.join(", ")
            )
        }
    });
    remarks.collect()
}

/// That runs of a row differ in more than their seeds, if they do.
fn mixed(group: &Group, row: &Row, runs: &[FoundRun]) -> Option<String> {
    let settings = row.runs.iter().map(|run| leaves(&runs[*run].entry.settings));
    let settings: Vec<_> = settings.filter(|settings| !settings.is_empty()).collect();
    let keys: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let differs =
        |key: &&&String| settings.iter().any(|it| it.get(**key) != settings[0].get(**key));
    let keys = keys.iter().filter(|key| !is_beside(key)).filter(differs);
    let keys = keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let place = place_of(group, row);
    (!keys.is_empty()).then(|| format!("runs of {place} differ in {keys}, beside their seeds"))
}

/// That `max_minutes` has ended runs of a row, if it has: others may have trained longer.
fn out_of_time(group: &Group, row: &Row, runs: &[FoundRun]) -> Option<String> {
    let runs = row.runs.iter().map(|run| &runs[*run]);
    let ended_by = |run: &&FoundRun| run.result.as_ref().map(|result| result.ended_by);
    let cut = runs.filter(|run| ended_by(run) == Some(EndedBy::MaxMinutes));
    let epochs: BTreeSet<u64> = cut.map(|run| run.epochs.0).collect();
    let (first, last, place) = (epochs.first()?, epochs.last()?, place_of(group, row));
    Some(format!("`max_minutes` has ended runs of {place}, after {first} to {last} epochs"))
}

/// That complete runs of a row have no number at the last epoch, if some have none.
fn without_value(group: &Group, row: &Row, runs: &[FoundRun]) -> Option<String> {
    let name = &group.metric.as_ref()?.name;
    let complete = row.runs.iter().map(|run| &runs[*run]);
    let complete = complete.filter(|run| run.state == State::Complete);
    let has_none = |run: &&FoundRun| run.metric(name).is_some_and(|it| it.last.is_none());
    let count = complete.filter(has_none).count();
    let (name, place) = (name.replace('_', " "), place_of(group, row));
    let text =
        format!("complete runs of {place} without a finite {name} at the last epoch: {count}");
    (count > 0).then(|| text + "; they are not in the mean")
}

/// A row with its table.
fn place_of(group: &Group, row: &Row) -> String {
    match group.name.as_str() {
        "" => row.label.clone(),
        name => format!("{} ({name})", row.label),
    }
}

/// That runs of a row have the same seed, if they do.
fn shared_seeds(group: &Group, row: &Row, runs: &[FoundRun]) -> Option<String> {
    let mut seeds: Vec<u64> = row.runs.iter().map(|run| runs[*run].entry.seed).collect();
    seeds.sort();
    let same = seeds.windows(2).find(|pair| pair[0] == pair[1])?[0];
    let place = place_of(group, row);
    Some(format!("several runs of {place} have seed {same}; they pair with no run"))
}
