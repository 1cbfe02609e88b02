//! The runs that a sweep file asks for, each checked and with the folder that follows from its settings.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::file::{Case, Setting, SweepFile, Varied, under};
use super::found::{Found, Identity, alike, hash_of};
use super::values::shown;
use crate::assemble;
use crate::config::Config;
use crate::report::Entry;
use crate::settings::{ConfigError, Result, Source, is_at_or_below};

/// More runs are taken for a slip.
const MOST_RUNS: usize = 1_000_000;

/// How many complaints are shown.
const MOST_COMPLAINTS: usize = 10;

/// Every run of a sweep.
pub struct Plan {
    /// The sweep's name.
    pub name: String,
    /// Where the folders of the runs are.
    pub folder: PathBuf,
    /// The runs, in the order in which they are trained. A run that belongs to several rows of the report
    /// is there for each of them.
    pub runs: Vec<PlannedRun>,
    /// What people should know of the configurations, each remark once.
    pub remarks: Vec<String>,
    bases: Vec<Source>,
    file: SweepFile,
    found: Found,
}

/// A run of a sweep, which may have been trained or not.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// The name of its folder: some of its settings, and a hash of its configuration in full.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The table of the report in which it stands; empty if there is one.
    pub group: String,
    /// The row of the report to which it counts.
    pub row: String,
    /// Where its random numbers start.
    pub seed: u64,
    /// How many epochs it is to have.
    pub epochs: u64,
    pub(super) data: String, // what it shares with others, as a name
    identity: Identity,
    choice: Choice,
}

/// A combination of settings.
#[derive(Clone, Debug)]
struct Choice {
    base: usize,
    case: Option<usize>,
    varied: Vec<usize>, // for each varied key, which of its values; MAX: the case says it
}

/// A part of the runs, such as 2/5: every fifth, from the second one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    part: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((part, of)) if (1..=of).contains(&part) => Ok(Shard { part, of }),
            _ => Err("expected i/n, such as 2/5, with i from 1 to n".to_string()),
        }
    }
}

impl Plan {
    /// Resolves and checks every run of a sweep, whose folders are to be in `<runs>/<name>/`. Nothing is
    /// loaded or drawn.
    ///
    /// # Errors
    /// With the place of each complaint, of up to ten.
    pub fn new(file: SweepFile, runs: &Path) -> Result<Plan> {
        let mut bases: Vec<Source> = Vec::new();
        let mut known = HashMap::new();
        let mut open = |name: &str| {
            if let Some(index) = known.get(name) {
                return Ok(*index);
            }
            bases.push(file.base(name)?);
            known.insert(name.to_string(), bases.len() - 1);
            Ok::<_, ConfigError>(bases.len() - 1)
        };
        let of_file =
            file.settings.base.iter().map(|name| open(name)).collect::<Result<Vec<_>>>()?;
        let of_cases: Vec<Vec<usize>> = file
            .cases
            .iter()
            .map(|case| match case.bases.as_slice() {
                [] => Ok(of_file.clone()),
                bases => bases.iter().map(|base| open(base)).collect(),
            })
            .collect::<Result<_>>()?;
        let folder = runs.join(file.name());
        let mut plan = Plan {
            name: file.name().to_string(),
            found: Found::in_folder(&folder),
            folder,
            runs: Vec::new(),
            remarks: Vec::new(),
            bases,
            file,
        };
        let mut choices = Vec::new();
        plan.check_varied(of_file.len() + of_cases.iter().map(Vec::len).sum::<usize>())?;
        // Cases that leave all varied keys open are all there is: nothing is said of runs beside them.
        let leaves_open = |key: &str| {
            let mut cases = plan.file.cases.iter().zip(&of_cases);
            cases.all(|(case, bases)| bases.iter().all(|it| !case.settles(key, &plan.bases[*it])))
        };
        let mut varied = plan.file.vary.iter().filter(|varied| varied.key != "seed");
        if plan.file.cases.is_empty() || !varied.all(|varied| leaves_open(&varied.key)) {
            for base in of_file {
                plan.combine(base, None, &mut choices);
            }
        }
        for (case, bases) in of_cases.into_iter().enumerate() {
            for base in bases {
                plan.combine(base, Some(case), &mut choices);
            }
        }
        plan.settle(choices)?;
        Ok(plan)
    }

    /// Takes complete runs under other hashes in place of those that are not complete.
    fn find_alike(&mut self) {
        if self.runs.iter().all(|run| self.found.is_complete(&run.name)) {
            return;
        }
        let planned: HashSet<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        let others = self.found.beside(&planned);
        for run in &mut self.runs {
            if !self.found.is_complete(&run.name)
                && let Some(name) = alike(&run.identity, &others)
            {
                run.folder = self.folder.join(name);
                run.name.clone_from(name);
            }
        }
    }

    /// Refuses keys that are in each other's way, and more runs than anybody means.
    fn check_varied(&self, cases: usize) -> Result<()> {
        let file = &self.file;
        let mut count = Some(cases);
        for (place, varied) in file.vary.iter().enumerate() {
            let (key, values) = (&varied.key, varied.values.len());
            count = count.and_then(|count| count.checked_mul(values));
            let is_around = |other: &&Varied| {
                is_at_or_below(&other.key, key) || is_at_or_below(key, &other.key)
            };
            if let Some(other) = file.vary[..place].iter().find(is_around) {
                let other = &other.key;
                return Err(ConfigError(format!(
                    "{}: `{key}` is varied beside `{other}`, which is a part of the same; expected one \
                     of them",
                    varied.origin
                )));
            }
        }
        match count {
            Some(..=MOST_RUNS) => Ok(()),
            _ => Err(ConfigError(format!(
                "{}: the varied keys have more than {MOST_RUNS} combinations; expected fewer values",
                file.origin
            ))),
        }
    }

    /// Appends every combination of the varied keys that the case leaves open.
    fn combine(&self, base: usize, case: Option<usize>, choices: &mut Vec<Choice>) {
        let is_settled = |key: &str| {
            case.is_some_and(|case| self.file.cases[case].settles(key, &self.bases[base]))
        };
        let mut all = vec![Vec::new()];
        for varied in &self.file.vary {
            let values = match is_settled(&varied.key) {
                true => usize::MAX..usize::MAX,
                false => 0..varied.values.len(),
            };
            let open = |chosen: &Vec<usize>| -> Vec<Vec<usize>> {
                let with = |value| [chosen.as_slice(), &[value]].concat();
                if values.is_empty() {
                    vec![with(usize::MAX)]
                } else {
                    values.clone().map(with).collect()
                }
            };
            all = all.iter().flat_map(open).collect();
        }
        choices.extend(all.into_iter().map(|varied| Choice { base, case, varied }));
    }

    /// Resolves and checks the choices.
    fn settle(&mut self, choices: Vec<Choice>) -> Result<()> {
        let (mut complaints, mut seen, mut counted) = (Vec::new(), HashSet::new(), HashSet::new());
        for choice in choices {
            let run = self.resolved(&choice).and_then(|(config, source, remarks)| {
                assemble::check(&config, &source)
                    .map_err(|error| ConfigError(error.to_string()))?;
                self.remarks.extend(remarks.into_iter().filter(|it| seen.insert(it.clone())));
                Ok(self.planned(choice, &config))
            });
            match run {
                // A value may be there twice.
                Ok(run)
                    if !counted.insert((run.group.clone(), run.row.clone(), run.name.clone())) => {}
                Ok(run) => self.runs.push(run),
                Err(error) => {
                    // All complaints about a run, of which others may have some, too.
                    for line in error.0.lines().map(str::to_string) {
                        if !complaints.contains(&line) {
                            complaints.push(line);
                        }
                    }
                }
            }
        }
        if complaints.is_empty() {
            self.find_alike();
            return self.check_report();
        }
        let more = complaints.len().saturating_sub(MOST_COMPLAINTS);
        complaints.truncate(MOST_COMPLAINTS);
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        Err(ConfigError(complaints.join("\n") + &more))
    }

    /// Refuses keys of the report that no run has.
    fn check_report(&self) -> Result<()> {
        let report = self.file.report();
        let keys = report.rows.iter().map(|key| ("rows", key, "case"));
        let keys = keys.chain(report.group.iter().map(|key| ("group", key, "base")));
        let keys = keys.chain(report.x.iter().map(|key| ("x", key, "")));
        for (place, key, _) in keys.filter(|(_, key, other)| key != other) {
            let has = |run: &PlannedRun| {
                let (config, _) = self.config(run)?;
                Ok::<_, ConfigError>(
                    at(&serde_json::to_value(config).unwrap_or_default(), key).is_some(),
                )
            };
            let mut found = false;
            for run in &self.runs {
                found = found || has(run)?;
            }
            if !found {
                return Err(ConfigError(format!(
                    "{}: `report.{place}` is `{key}`; expected a key that a run has",
                    self.file.origin
                )));
            }
        }
        Ok(())
    }

    /// The configuration of a run.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn config(&self, run: &PlannedRun) -> Result<(Config, Source)> {
        self.resolved(&run.choice).map(|(config, source, _)| (config, source))
    }

    fn resolved(&self, choice: &Choice) -> Result<(Config, Source, Vec<String>)> {
        let mut source = self.bases[choice.base].clone();
        let mut put =
            |Setting { key, value, origin }: Setting| source.set_option(&key, value, &origin);
        let common = under(&self.file.settings.set, &format!("{}: set", self.file.origin));
        common.into_iter().try_for_each(&mut put)?;
        for (varied, index) in self.file.vary.iter().zip(&choice.varied) {
            if let Some(value) = varied.values.get(*index) {
                let (key, origin) = (varied.key.clone(), varied.origin.clone());
                put(Setting { key, value: value.clone(), origin })?;
            }
        }
        if let Some(case) = self.case(choice) {
            case.settings.iter().cloned().try_for_each(&mut put)?;
        }
        self.file.over.iter().cloned().try_for_each(&mut put)?;
        if !source.says("threads") {
            source.set_option("threads", 1.into(), "one thread a run")?;
        }
        let (config, remarks) = Config::read(&source)?;
        Ok((config, source, remarks))
    }

    fn case(&self, choice: &Choice) -> Option<&Case> {
        choice.case.map(|case| &self.file.cases[case])
    }

    /// What is known of a run once its configuration is.
    fn planned(&mut self, choice: Choice, config: &Config) -> PlannedRun {
        let row_key = &self.file.report().rows;
        let json = || serde_json::to_value(config).expect("settings are plain data");
        let row = match row_key.iter().all(|key| key == "case") {
            true => self.label(&choice),
            false => {
                let json = json();
                let part = |key: &String| match key.as_str() {
                    "case" => self.label(&choice),
                    key => at(&json, key).unwrap_or_else(|| format!("no {key}")),
                };
                row_key.iter().map(part).collect::<Vec<_>>().join(", ")
            }
        };
        let group = match self.file.report().group.as_deref() {
            None => String::new(),
            Some("base") => self.bases[choice.base].stem(),
            Some(key) => at(&json(), key).unwrap_or_default(),
        };
        let identity = Identity::of(config);
        let name = self.folder_name(&choice, config.seed, &identity.hash);
        let name = self.found.name_of(&identity.hash, name);
        let data = format!(
            "{}\n{:?}\n{:?}\n{:?}\n{:?}",
            serde_json::to_string(&config.data.set).expect("settings are plain data"),
            config.data.selection(),
            config.device,
            config.schedule.devices,
            config.threads
        );
        PlannedRun {
            folder: self.folder.join(&name),
            name,
            group,
            row,
            seed: config.seed,
            epochs: config.epochs,
            data,
            identity,
            choice,
        }
    }

    /// What the report calls a run: its case, and the values that are varied beside the seed.
    fn label(&self, choice: &Choice) -> String {
        let report = self.file.report();
        let is_shown = |key: &str| {
            key != "seed"
                && report.x.as_deref() != Some(key)
                && report.group.as_deref() != Some(key)
        };
        let mut parts: Vec<String> =
            self.case(choice).map(|case| case.name.clone()).into_iter().collect();
        let bases = match self.case(choice).map(|case| case.bases.len()) {
            None | Some(0) => self.file.settings.base.len(),
            Some(own) => own,
        };
        let is_told = match &report.group {
            None => false,
            Some(group) => group == "base" || !parts.is_empty(),
        };
        if bases > 1 && !is_told {
            parts.push(self.bases[choice.base].stem());
        }
        for (varied, index) in self.file.vary.iter().zip(&choice.varied) {
            if let Some(value) = varied.values.get(*index).filter(|_| is_shown(&varied.key)) {
                let last = varied.key.rsplit('.').next().unwrap_or(&varied.key);
                let value = shown(value);
                parts.push(if last == "name" { value } else { format!("{last} {value}") });
            }
        }
        if parts.is_empty() { self.bases[choice.base].stem() } else { parts.join(", ") }
    }

    /// A name that people can read, and that no other configuration has.
    fn folder_name(&self, choice: &Choice, seed: u64, hash: &str) -> String {
        let mut name = self.bases[choice.base].stem();
        if let Some(case) = self.case(choice) {
            name = format!("{name}-{}", case.name);
        }
        for (varied, index) in self.file.vary.iter().zip(&choice.varied) {
            if let Some(value) = varied.values.get(*index).filter(|_| varied.key != "seed") {
                name = format!("{name}-{}", shown(value));
            }
        }
        format!("{}-seed{seed}-{hash}", plain(&name))
    }

    /// The runs of a shard (none given: all), each once, in the order in which they are trained.
    pub fn each_once(&self, shard: Option<Shard>) -> Vec<&PlannedRun> {
        let mut seen = HashSet::new();
        let runs = self.runs.iter().filter(|run| seen.insert(run.name.as_str()));
        let Shard { part, of } = shard.unwrap_or(Shard { part: 1, of: 1 });
        runs.skip(part - 1).step_by(of).collect()
    }

    /// The run with a folder of this name.
    pub fn run(&self, name: &str) -> Option<&PlannedRun> {
        self.runs.iter().find(|run| run.name == name || run.identity.hash == hash_of(name))
    }

    /// What a report needs to know of the runs.
    ///
    /// # Errors
    /// If a configuration cannot be read any more, such as one whose file has changed meanwhile.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let entry = |run: &PlannedRun| {
            let (config, _) = self.config(run)?;
            Ok(Entry {
                folder: run.folder.clone(),
                group: run.group.clone(),
                row: run.row.clone(),
                seed: run.seed,
                settings: serde_json::to_value(config).expect("settings are plain data"),
            })
        };
        self.runs.iter().map(entry).collect()
    }

    /// The sweep file.
    pub fn file(&self) -> &SweepFile {
        &self.file
    }
}

/// The value at a key of a configuration, as a text; a section is called by its `name`.
fn at(json: &serde_json::Value, key: &str) -> Option<String> {
    let found = json.pointer(&format!("/{}", key.replace('.', "/")))?;
    match found.get("name").unwrap_or(found) {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

/// Letters, digits, `.`, `_` and dashes alone, and not too many.
fn plain(text: &str) -> String {
    let superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let mut plain = String::new();
    for letter in text.chars() {
        match superscripts.chars().position(|it| it == letter) {
            Some(digit) => plain += &digit.to_string(),
            None if letter.is_ascii_alphanumeric() || "._".contains(letter) => plain.push(letter),
            None if !plain.ends_with('-') => plain.push('-'),
            None => {}
        }
    }
    plain.truncate(60);
    plain.trim_matches(['-', '.']).to_string()
}
