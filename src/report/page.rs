//! The page: one file that needs nothing else.

use std::collections::BTreeSet;
use std::time::SystemTime;

use anyhow::Result;
use askama::Template;

use super::Report;
use super::figures::Figure;
use super::runs::State;
use super::table::Table;
use super::tables;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    style: &'static str,
    about: String,
    made: String,
    made_shown: String,
    version: &'static str,
    states: Vec<(usize, &'static str, &'static str)>,
    groups: Vec<GroupPart<'a>>,
    unfinished: Option<Table>,
    remarks: &'a [String],
    times: Table,
    time_note: &'static str,
    configurations: Option<Table>,
    in_full: Vec<InFull>,
    machines: Option<Table>,
}

/// What the page has of a group.
struct GroupPart<'a> {
    name: &'a str,
    main: Table,
    differences: Option<Table>,
    overview: Vec<&'a Figure>,
    figures: Vec<&'a Figure>,
}

/// A configuration in full.
struct InFull {
    name: String,
    yaml: String,
}

/// What templates can do with a text.
mod filters {
    use askama::filters::Safe;

    use crate::report::svg::escaped;

    /// A text whose words in backticks are code.
    #[askama::filter_fn]
    pub fn code(text: &str, _: &dyn askama::Values) -> askama::Result<Safe<String>> {
        let parts = text.split('`').collect::<Vec<_>>();
        let is_paired = parts.len() % 2 == 1;
        let part = |(place, part): (usize, &&str)| match place % 2 {
            1 if is_paired => format!("<code>{}</code>", escaped(part)),
            1 => format!("`{}`", escaped(part)),
            _ => escaped(part),
        };
        Ok(Safe(parts.iter().enumerate().map(part).collect()))
    }
}

/// The page with these figures of each group.
pub fn page(report: &Report, figures: &[Vec<Figure>]) -> Result<String> {
    let groups = report.groups.iter().zip(figures).map(|(group, figures)| {
        let is_overview = |figure: &&Figure| {
            ["seeds", "differences"].iter().any(|name| figure.name.ends_with(name))
        };
        let (overview, figures) = figures.iter().partition(is_overview);
        let main = tables::main_table(report, group);
        let differences = tables::differences(report, group);
        GroupPart { name: &group.name, main, differences, overview, figures }
    });
    let counts = State::ALL.map(|state| {
        let count = report.runs.iter().filter(|run| run.state == state).count();
        let kind = match state {
            State::Complete => "good",
            State::Running => "going",
            State::Failed | State::Unreadable => "bad",
            _ => "open",
        };
        (count, state.name(), kind)
    });
    let in_full = report.rows().filter_map(|(group, row)| {
        let run = report.runs_of(row).find(|run| !run.entry.settings.is_null())?;
        let group = if group.name.is_empty() { String::new() } else { format!("{}: ", group.name) };
        let name = format!("{group}{}, seed {}", row.label, run.entry.seed);
        Some(InFull { name, yaml: serde_yaml::to_string(&run.entry.settings).ok()? })
    });
    let made = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let page = Page {
        title: &report.title,
        style: include_str!("style.css"),
        about: about(report),
        made_shown: made.replace('T', " ").replace('Z', " UTC"),
        made,
        version: crate::VERSION,
        states: counts.into_iter().filter(|(count, _, _)| *count > 0).collect(),
        groups: groups.collect(),
        unfinished: tables::unfinished(report),
        remarks: &report.remarks,
        times: tables::time_table(report),
        time_note: "Mean ± standard deviation over the runs that have trained for an epoch. Times of \
                    different machines, numbers of threads, or of runs at the same time on one machine \
                    cannot be compared.",
        configurations: tables::configurations(report),
        in_full: in_full.collect(),
        machines: tables::machines(report),
    };
    Ok(page.render()?)
}

/// What is compared, in a sentence.
fn about(report: &Report) -> String {
    let rows: BTreeSet<&str> = report.rows().map(|(_, row)| row.name.as_str()).collect();
    let seeds: BTreeSet<u64> = report.runs.iter().map(|run| run.entry.seed).collect();
    let mut metrics: Vec<String> = Vec::new();
    for metric in report.groups.iter().filter_map(|group| group.metric.as_ref()) {
        let title = metric.name.replace('_', " ");
        if !metrics.contains(&title) {
            metrics.push(title);
        }
    }
    let by =
        if metrics.is_empty() { String::new() } else { format!(" by {}", metrics.join(" and ")) };
    let tables = match report.groups.len() {
        1 => String::new(),
        several => format!(" in {several} tables"),
    };
    let is_range = seeds.len() > 2
        && seeds
            .last()
            .zip(seeds.first())
            .is_some_and(|(last, first)| last - first == seeds.len() as u64 - 1);
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let seeds = match (seeds.as_slice(), is_range) {
        ([one], _) => format!("seed {one}"),
        ([first, .., last], true) => format!("seeds {first} to {last}"),
        (all, _) => format!("seeds {}", all.join(", ")),
    };
    let rows = match rows.len() {
        1 => "One row of runs".to_string(),
        several => format!("{several} rows of runs, compared{by}"),
    };
    let runs = report.runs.len();
    format!("{rows}{tables}: {runs} run{} with {seeds}.", if runs == 1 { "" } else { "s" })
}
