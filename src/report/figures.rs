//! The figures of a report.

use std::collections::BTreeMap;

use super::Report;
use super::chart::{Bar, Line, LineChart, Point, RowChart};
use super::compare::{CONFIDENCE, Group, Metric, Row, find_metric, shown_name};
use super::runs::{Columns, State};
use super::statistics::Summary;
use crate::metrics::Better;

/// A picture with a name of its own.
pub struct Figure {
    /// Of its file, without the ending.
    pub name: String,
    /// The picture.
    pub svg: String,
}

/// Colours that people with any colour vision tell apart (Okabe and Ito), but for the yellow one, which
/// white paper swallows.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1f2430", "#8a8f98"];
const DASHES: [&str; 4] = ["", "7 5", "2 5", "10 4 2 4"];

/// The colour of a row in all figures and tables.
pub fn colour(row: usize) -> &'static str {
    COLOURS[row % COLOURS.len()]
}

/// The figures of each group.
pub fn all(report: &Report) -> Vec<Vec<Figure>> {
    let mut names = Vec::new(); // of files, each once
    let groups = report.groups.iter().map(|group| {
        let mut prefix = file_name(&group.name);
        if !prefix.is_empty() {
            prefix.push('-');
        }
        while names.contains(&prefix) {
            prefix = format!("x{prefix}");
        }
        names.push(prefix.clone());
        Draw { report, group, prefix, figures: Vec::new() }.all()
    });
    groups.collect()
}

/// What of a name can stand in that of a file everywhere.
fn file_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
    name.chars().map(allowed).collect::<String>().trim_start_matches('.').to_string()
}

/// The figures of a group, as they are drawn.
struct Draw<'a> {
    report: &'a Report,
    group: &'a Group,
    prefix: String,
    figures: Vec<Figure>,
}

impl Draw<'_> {
    fn all(mut self) -> Vec<Figure> {
        if let Some(metric) = &self.group.metric {
            self.seeds(metric);
            match self.group.has_x() {
                true => self.over_x(metric), // there are too many differences to be looked at
                false => self.differences(metric),
            }
        }
        self.curves();
        self.angles();
        self.staleness();
        self.figures
    }

    fn add(&mut self, name: &str, draw: impl FnOnce(&str) -> String) {
        let name = format!("{}{name}", self.prefix);
        let svg = draw(&name);
        self.figures.push(Figure { name, svg });
    }

    /// What stands below a title.
    fn about(&self, text: &str) -> String {
        match self.group.name.as_str() {
            "" => text.to_string(),
            name => format!("{name}: {text}"),
        }
    }

    /// Adds a chart of lines, if there is anything in it; `about` says what it takes to read it.
    fn lines(
        &mut self,
        name: &str,
        (title, about): (&str, &str),
        x_title: &str,
        may_be_log: bool,
        lines: Vec<Line>,
    ) {
        if lines.iter().all(|line| line.points.is_empty()) {
            return;
        }
        let subtitle = self.about(about);
        let is_whole =
            lines.iter().flat_map(|line| &line.points).all(|point| point.0.fract() == 0.0);
        let lines = lines.into_iter().filter(|line| !line.points.is_empty()).collect::<Vec<_>>();
        self.add(name, |name| {
            LineChart {
                name,
                title,
                subtitle: &subtitle,
                x_title,
                is_whole,
                may_be_log,
                lines: &lines,
            }
            .draw()
        });
    }

    /// A line without points for a row.
    fn line(&self, row: &Row) -> Line {
        // Rows of a name share its colour, and have the dashes of their place.
        let of_name = self.group.rows.iter().filter(|other| other.name == row.name);
        let place = of_name.take_while(|other| other.x != row.x).count();
        let dashes = if row.x.is_some() { place } else { row.colour / COLOURS.len() };
        Line {
            name: row.label.clone(),
            colour: colour(row.colour),
            dashes: DASHES[dashes % DASHES.len()],
            points: Vec::new(),
            is_marked: false,
        }
    }

    /// The value of every run.
    fn seeds(&mut self, metric: &Metric) {
        let (runs, select) = (&self.report.runs, self.report.settings.select);
        let rows = self.group.rows.iter().map(|row| {
            let values: Vec<f64> =
                row.values(runs, metric, select).into_iter().map(|(_, value)| value).collect();
            let summary = Summary::of(&values);
            Bar {
                name: row.label.clone(),
                colour: colour(row.colour),
                values,
                mean: summary.map(|it| it.mean),
                reach: summary.and_then(|it| {
                    it.deviation.map(|deviation| (it.mean - deviation, it.mean + deviation))
                }),
                reference: row.reference,
            }
        });
        let rows: Vec<Bar> = rows.collect();
        if rows.iter().all(|row| row.values.is_empty()) {
            return;
        }
        let mut about =
            format!("a dot for each run at its {}; mean ± standard deviation", select.words());
        if let Some(reference) = &self.report.settings.reference
            && rows.iter().any(|row| row.reference.is_some())
        {
            about += &format!("; diamond: {}", reference.source);
        }
        let (title, subtitle) = (capital(&metric.title()), self.about(&about));
        let may_be_log = is_small(metric);
        self.add("seeds", |_| {
            RowChart {
                title: &title,
                subtitle: &subtitle,
                rows: &rows,
                has_zero: false,
                may_be_log,
            }
            .draw()
        });
    }

    /// The differences with their confidence intervals.
    fn differences(&mut self, metric: &Metric) {
        let rows = self.group.differences.iter().filter_map(|difference| {
            let summary = difference.summary?;
            let half = summary.half_width(CONFIDENCE);
            Some(Bar {
                name: difference.name.clone(),
                colour: colour(difference.colour),
                values: Vec::new(),
                mean: Some(summary.mean),
                reach: half.map(|half| (summary.mean - half, summary.mean + half)),
                reference: None,
            })
        });
        let rows: Vec<Bar> = rows.collect();
        if rows.is_empty() {
            return;
        }
        let title = format!("Differences in {}", metric.title());
        let subtitle = self.about(&format!(
            "paired by seed, at the {}; mean and 95\u{a0}% confidence interval",
            self.report.settings.select.words()
        ));
        self.add("differences", |_| {
            RowChart {
                title: &title,
                subtitle: &subtitle,
                rows: &rows,
                has_zero: true,
                may_be_log: false,
            }
            .draw()
        });
    }

    /// The metric over the key `x`.
    fn over_x(&mut self, metric: &Metric) {
        let (runs, settings) = (&self.report.runs, &self.report.settings);
        let lines = self.group.names().into_iter().map(|name| {
            let rows = self.group.rows.iter().filter(|row| row.name == name);
            let points = rows.clone().filter_map(|row| {
                let Summary { mean, deviation, .. } = row.summary(runs, metric, settings.select)?;
                Some((row.x?, mean, deviation.map(|it| (mean - it, mean + it))))
            });
            let colour_of = rows.clone().next().map_or(0, |row| row.colour);
            Line {
                name: name.to_string(),
                colour: colour(colour_of),
                dashes: DASHES[colour_of / COLOURS.len() % DASHES.len()],
                points: points.collect(),
                is_marked: true,
            }
        });
        let lines: Vec<Line> = lines.collect();
        let key = settings.x.clone().unwrap_or_default();
        let title = format!("{} over {key}", capital(&metric.title()));
        let about = format!("mean ± standard deviation at the {}", settings.select.words());
        self.lines("x", (&title, &about), &key, is_small(metric), lines);
    }

    /// Metrics over the epochs.
    fn curves(&mut self) {
        let settings = &self.report.settings;
        let names = settings.curves.clone().unwrap_or_else(|| {
            let metric = self.group.metric.as_ref().map(|metric| metric.name.clone());
            metric.into_iter().chain(["test_loss".to_string()]).collect()
        });
        let mut drawn = Vec::new();
        for name in names.iter().map(|name| shown_name(name, settings)) {
            let found = find_metric(self.group, &self.report.runs, &name);
            let Some(metric) = found.filter(|_| !drawn.contains(&name)) else { continue };
            let lines = self.group.rows.iter().map(|row| {
                let mut epochs = BTreeMap::<u64, Vec<f64>>::new();
                for table in self.tables(row, |run| &run.history) {
                    for (epoch, value) in table.pairs("epoch", &name) {
                        epochs.entry(epoch as u64).or_default().push(value);
                    }
                }
                epochs.remove(&0); // before training, which would take up the chart
                Line { points: spreads(&epochs), ..self.line(row) }
            });
            let lines = lines.collect();
            let about = "mean ± standard deviation of the runs that have got to an epoch";
            let title = capital(&metric.title());
            let texts = (title.as_str(), about);
            self.lines(&format!("curve-{name}"), texts, "epoch", is_small(&metric), lines);
            drawn.push(name);
        }
    }

    /// The tables of the runs of a row that no error has ended.
    fn tables<'b>(
        &'b self,
        row: &'b Row,
        of: impl Fn(&'b super::runs::FoundRun) -> &'b Columns + 'b,
    ) -> impl Iterator<Item = &'b Columns> {
        let runs = self.report.runs_of(row);
        runs.filter(|run| ![State::Failed, State::Unreadable].contains(&run.state)).map(of)
    }

    /// Angles to backpropagation, and to the feedback matrices.
    fn angles(&mut self) {
        let kinds = [
            ("delta_angle_mean", "Angle of the teaching signals to the true gradients"),
            ("parameter_angle", "Angle of the parameters' gradients to the true ones"),
            ("weight_angle", "Angle of the weights to the feedback matrices"),
        ];
        for (column, title) in kinds {
            let lines = self.group.rows.iter().map(|row| {
                let mut epochs = BTreeMap::<u64, BTreeMap<u64, Vec<f64>>>::new();
                for table in self.tables(row, |run| &run.diagnostics) {
                    for (epoch, layer, value) in by_layer(table, column) {
                        epochs.entry(epoch).or_default().entry(layer).or_default().push(value);
                    }
                }
                let points = epochs.into_iter().filter_map(|(epoch, layers)| {
                    let of_layers = layers.values().filter_map(|values| Summary::of(values));
                    let means: Vec<f64> = of_layers.map(|summary| summary.mean).collect();
                    let mean = Summary::of(&means)?.mean;
                    let least = means.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    Some((epoch as f64, mean, (means.len() > 1).then_some((least, most))))
                });
                Line { points: points.collect(), ..self.line(row) }
            });
            let lines = lines.collect();
            let about = "in degrees; mean over the seeds and the hidden layers, with a band from the \
                         lowest to the highest layer";
            self.lines(&format!("angle-{column}"), (title, about), "epoch", false, lines);
        }
        let lines = self.group.rows.iter().map(|row| {
            let mut layers = BTreeMap::<u64, Vec<f64>>::new();
            for table in self.tables(row, |run| &run.diagnostics) {
                let values = by_layer(table, kinds[0].0);
                let last = values.last().map_or(0, |value| value.0);
                for (_, layer, value) in values.into_iter().filter(|value| value.0 == last) {
                    layers.entry(layer).or_default().push(value);
                }
            }
            Line { points: spreads(&layers), is_marked: true, ..self.line(row) }
        });
        let lines: Vec<Line> = lines.collect();
        if lines.iter().any(|line| line.points.len() > 1) {
            let about =
                "teaching signals, in degrees, when last measured; mean ± standard deviation";
            let texts = ("Angle in each hidden layer", about);
            self.lines("angle-layers", texts, "hidden layer", false, lines);
        }
    }

    /// How the stored errors change from epoch to epoch.
    fn staleness(&mut self) {
        let kinds = [
            ("error_cosine_previous", "Cosine of the errors to those of the epoch before"),
            ("error_sign_flips", "Share of errors that changed their sign"),
        ];
        for (column, title) in kinds {
            let lines = self.group.rows.iter().map(|row| {
                let mut epochs = BTreeMap::<u64, Vec<f64>>::new();
                for table in self.tables(row, |run| &run.diagnostics) {
                    let values = by_layer(table, column).into_iter();
                    for (epoch, _, value) in values.filter(|(_, layer, _)| *layer == 1) {
                        epochs.entry(epoch).or_default().push(value);
                    }
                }
                Line { points: spreads(&epochs), ..self.line(row) }
            });
            let lines = lines.collect();
            let about = "staleness of what F³ has stored; mean ± standard deviation";
            self.lines(&format!("staleness-{column}"), (title, about), "epoch", false, lines);
        }
    }
}

/// The numbers of a column of `diagnostics.csv`, with their epoch and layer.
fn by_layer(table: &Columns, column: &str) -> Vec<(u64, u64, f64)> {
    let columns = ["epoch", "hidden_layer", column].map(|name| table.column(name));
    let [Some(epochs), Some(layers), Some(values)] = columns else { return Vec::new() };
    let rows = epochs.into_iter().zip(layers).zip(values);
    let rows =
        rows.filter_map(|((epoch, layer), value)| Some((epoch? as u64, layer? as u64, value?)));
    rows.filter(|(_, _, value)| value.is_finite()).collect()
}

/// The mean ± the standard deviation at each place.
fn spreads(values: &BTreeMap<u64, Vec<f64>>) -> Vec<Point> {
    let point = |(place, values): (&u64, &Vec<f64>)| {
        let Summary { mean, deviation, .. } = Summary::of(values)?;
        Some((*place as f64, mean, deviation.map(|it| (mean - it, mean + it))))
    };
    values.iter().filter_map(point).collect()
}

/// Whether a metric tells more the smaller it is.
fn is_small(metric: &Metric) -> bool {
    metric.better == Better::Lower
}

/// A text that begins with a capital letter.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
