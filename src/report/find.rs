//! Runs in folders, and the rows of a table that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::Value as Json;

use super::Entry;
use super::runs::settings_of;
use super::settings::ReportSettings;
use crate::run::RunResult;

/// The runs in some folders, each of which is that of a run or holds such, as [`Report::of_runs`] says.
///
/// [`Report::of_runs`]: super::Report::of_runs
///
/// # Errors
/// If a folder cannot be read, or there is no run in it.
pub fn entries_of(folders: &[PathBuf], report: &ReportSettings) -> Result<Vec<Entry>> {
    let (mut runs, mut known): (Vec<PathBuf>, BTreeSet<PathBuf>) = Default::default();
    for folder in folders {
        let found = RunResult::find(folder)?;
        if found.is_empty() {
            bail!(
                "{}: holds no run; expected the folder of a run, or one that holds such",
                folder.display()
            );
        }
        // However a folder is spelled.
        let new =
            found.into_iter().filter(|run| known.insert(run.canonicalize().unwrap_or(run.clone())));
        runs.extend(new);
    }
    // One that cannot be read is null; the report says why.
    let settings: Vec<Json> = runs.iter().map(|run| settings_of(run).unwrap_or_default()).collect();
    let flat: Vec<_> = settings.iter().map(leaves).collect();
    let group_key = report.group.as_deref().unwrap_or("data.name");
    let group = |leaves: &Leaves| leaves.get(group_key).map_or(String::new(), show);
    let groups: BTreeSet<String> =
        flat.iter().filter(|leaves| !leaves.is_empty()).map(group).collect();
    let keys: Vec<&str> = match report.rows.as_slice() {
        [case] if case == "case" => telling_keys(&flat, group_key, report.x.as_deref()),
        keys => keys.iter().map(String::as_str).collect(),
    };
    let entries = runs.into_iter().zip(settings).zip(&flat).map(|((folder, settings), flat)| {
        let named = keys.iter().filter_map(|key| Some((*key, flat.get(*key)?)));
        let label = named.map(|(key, value)| label_of(key, value)).collect::<Vec<_>>().join(", ");
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        Entry {
            group: if groups.len() > 1 { group(flat) } else { String::new() },
            row: if label.is_empty() { name.unwrap_or_default() } else { label },
            seed: settings["seed"].as_u64().unwrap_or(0),
            folder,
            settings,
        }
    });
    Ok(entries.collect())
}

/// The values of a configuration that are not mappings, by their keys.
pub type Leaves = BTreeMap<String, Json>;

/// The values of a configuration.
pub fn leaves(settings: &Json) -> Leaves {
    fn add(path: &str, value: &Json, leaves: &mut Leaves) {
        match value {
            Json::Object(below) => {
                for (key, value) in below {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    add(&path, value, leaves);
                }
            }
            value => drop(leaves.insert(path.to_string(), value.clone())),
        }
    }
    let mut found = BTreeMap::new();
    if settings.is_object() {
        add("", settings, &mut found);
    }
    found
}

/// Whether a key says nothing about what a run computes.
pub fn is_beside(key: &str) -> bool {
    ["name", "seed", "max_minutes", "on_nan"].contains(&key)
        || ["checkpoint.", "diagnostics."].iter().any(|section| key.starts_with(section))
}

/// The fewest keys that tell the runs of a group from each other, other than `x`: those that follow from
/// keys in front of them are left out. The algorithm always is the first.
fn telling_keys<'a>(runs: &'a [Leaves], group: &str, x: Option<&str>) -> Vec<&'a str> {
    let first = ["algorithm.name", "algorithm.", "model.", "loss", "optimizer.", ""];
    let place = |key: &str| first.iter().position(|start| key.starts_with(start));
    let keys: BTreeSet<&str> = runs.iter().flatten().map(|(key, _)| key.as_str()).collect();
    let elsewhere = |key: &str| is_beside(key) || key == group || Some(key) == x;
    let mut keys: Vec<&str> = keys.into_iter().filter(|key| !elsewhere(key)).collect();
    keys.sort_by_key(|key| (place(key), !key.ends_with("name"), *key));
    let parts = |chosen: &[&str]| {
        let part = |run: &Leaves| {
            let values = chosen.iter().copied().chain(x).chain([group]).map(|key| run.get(key));
            format!("{:?}", values.collect::<Vec<_>>())
        };
        runs.iter().filter(|run| !run.is_empty()).map(part).collect::<BTreeSet<_>>().len()
    };
    let mut chosen = Vec::new();
    let mut count = parts(&chosen);
    for key in keys {
        chosen.push(key);
        match parts(&chosen) {
            more if more > count => count = more,
            _ if key == "algorithm.name" => {}
            _ => drop(chosen.pop()),
        }
    }
    chosen
}

/// What a key and its value are called in a row's name.
fn label_of(key: &str, value: &Json) -> String {
    let short = key.strip_suffix(".name").unwrap_or(key);
    let short = short.rsplit('.').next().unwrap_or(short).replace('_', " ");
    match value {
        Json::String(text) => text.clone(),
        value => format!("{short} {}", show(value)),
    }
}

/// A value on one line.
pub fn show(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}
