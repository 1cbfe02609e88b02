//! The tables of a report for other programs: with all digits, and empty cells where there is nothing.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::Report;
use super::compare::CONFIDENCE;
use super::find::show;
use super::runs::FoundRun;
use super::settings::Select;
use super::tables::{differing_keys, shown_folder, times, value_at};

/// Rows of cells as CSV.
fn csv_of(records: Vec<Vec<String>>) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    records.iter().try_for_each(|record| writer.write_record(record))?;
    String::from_utf8(writer.into_inner()?).context("cells are texts")
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// A row for each run.
pub fn results_csv(report: &Report) -> Result<String> {
    let names: BTreeSet<&str> =
        report.runs.iter().flat_map(|run| &run.metrics).map(|it| it.name.as_str()).collect();
    let keys = differing_keys(report);
    let mut head =
        texts(&["folder", "group", "row", "seed", "state", "epochs_done", "epochs_wanted"]);
    for name in &names {
        let columns = ["last", "best", "best_epoch", "at_best_validation"];
        head.extend(columns.map(|column| format!("{name}_{column}")));
    }
    head.extend(texts(&["training_seconds", "evaluation_seconds", "total_seconds", "cause"]));
    head.extend(keys.iter().cloned());
    let record = |run: &FoundRun| {
        let entry = &run.entry;
        let mut cells = vec![
            shown_folder(report, run),
            entry.group.clone(),
            entry.row.clone(),
            entry.seed.to_string(),
            run.state.name().to_string(),
            run.epochs.0.to_string(),
            run.epochs.1.map_or(String::new(), |wanted| wanted.to_string()),
        ];
        for name in &names {
            let measured = run.metric(name);
            cells.push(number(measured.and_then(|it| it.last)));
            let best = measured.and_then(|it| it.best);
            cells.push(number(best.map(|(_, value)| value)));
            cells.push(best.map_or(String::new(), |(epoch, _)| epoch.to_string()));
            cells.push(number(measured.and_then(|it| it.at_best_validation)));
        }
        cells.extend(["training", "evaluation", "total"].map(|of| number(run.seconds(of))));
        cells.push(run.cause.clone().unwrap_or_default());
        cells.extend(
            keys.iter().map(|key| value_at(&entry.settings, key).map_or(String::new(), show)),
        );
        cells
    };
    let records = report.runs.iter().map(record);
    csv_of([head].into_iter().chain(records).collect())
}

/// The means with all their digits: a row for each of a table's rows and each way to choose the epoch.
pub fn table_csv(report: &Report) -> Result<String> {
    let head =
        ["group", "row", "x", "metric", "epoch", "n", "of", "mean", "deviation", "reference"];
    let mut records = vec![texts(&head)];
    for (group, row) in report.rows() {
        for select in Select::ALL {
            let Some(metric) = &group.metric else { continue };
            let summary = row.summary(&report.runs, metric, select);
            records.push(vec![
                group.name.clone(),
                row.name.clone(),
                number(row.x),
                metric.name.clone(),
                select.to_string(),
                summary.map_or(0, |summary| summary.n).to_string(),
                row.runs.len().to_string(),
                number(summary.map(|summary| summary.mean)),
                number(summary.and_then(|summary| summary.deviation)),
                number(row.reference),
            ]);
        }
    }
    csv_of(records)
}

/// The differences with all their digits.
pub fn differences_csv(report: &Report) -> Result<String> {
    let head = [
        "group",
        "row",
        "to",
        "metric",
        "epoch",
        "n",
        "mean",
        "deviation",
        "confidence",
        "low",
        "high",
    ];
    let mut records = vec![texts(&head)];
    for group in &report.groups {
        let metric = group.metric.as_ref().map_or(String::new(), |metric| metric.name.clone());
        for difference in &group.differences {
            let summary = difference.summary;
            let half = summary.and_then(|summary| summary.half_width(CONFIDENCE));
            let end = |sign: f64| Some(summary?.mean + sign * half?);
            records.push(vec![
                group.name.clone(),
                difference.row.clone(),
                difference.to.clone(),
                metric.clone(),
                report.settings.select.to_string(),
                summary.map_or(0, |summary| summary.n).to_string(),
                number(summary.map(|summary| summary.mean)),
                number(summary.and_then(|summary| summary.deviation)),
                CONFIDENCE.to_string(),
                number(end(-1.0)),
                number(end(1.0)),
            ]);
        }
    }
    csv_of(records)
}

/// The shares of the gap with all their digits; `n` = 0 is the share of the means.
pub fn gap_csv(report: &Report) -> Result<String> {
    let head = ["group", "row", "from", "to", "metric", "epoch", "n", "mean", "deviation"];
    let mut records = vec![texts(&head)];
    for (group, row) in report.rows() {
        let (Some(gap), Some(share), Some(metric)) = (&report.settings.gap, row.gap, &group.metric)
        else {
            continue;
        };
        records.push(vec![
            group.name.clone(),
            row.label.clone(),
            gap.from.clone(),
            gap.to.clone(),
            metric.name.clone(),
            report.settings.select.to_string(),
            share.n.to_string(),
            number(Some(share.mean)),
            number(share.deviation),
        ]);
    }
    csv_of(records)
}

/// What the runs took, with all digits.
pub fn times_csv(report: &Report) -> Result<String> {
    let head = ["group", "row", "x", "quantity", "n", "mean", "deviation"];
    let mut records = vec![texts(&head)];
    for (group, row) in report.rows() {
        for (quantity, summary) in times(report, row) {
            records.push(vec![
                group.name.clone(),
                row.name.clone(),
                number(row.x),
                quantity.to_string(),
                summary.map_or(0, |summary| summary.n).to_string(),
                number(summary.map(|summary| summary.mean)),
                number(summary.and_then(|summary| summary.deviation)),
            ]);
        }
    }
    csv_of(records)
}
