//! The runs that a sweep's folder has, and which of them is a run that is planned.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::state::RunState;
use crate::config::Config;
use crate::settings::Source;

/// The runs that have begun in a sweep's folder.
pub struct Found {
    folder: PathBuf,
    names: HashMap<String, String>, // of the folders, by their hashes; also of those that are planned
    complete: HashSet<String>,      // folders of runs that have come to their end
}

/// By what a run is known.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Of the configuration in full, but for its name, which changes nothing.
    pub hash: String,
    unevaluated: String, // the same whatever `evaluate_train_every` is
    train_every: u64,
}

impl Identity {
    pub fn of(config: &Config) -> Identity {
        let unnamed = Config { name: String::new(), ..config.clone() };
        let (hash, train_every) = (hash_of_config(&unnamed), config.evaluate_train_every);
        // Where the run's end, or its best checkpoint, depends on them these evaluations are a part of it.
        let metrics = [&config.early_stop.metric, &config.checkpoint.best];
        let decides = metrics.into_iter().flatten().any(|metric| metric.starts_with("train_"));
        let unevaluated = match decides || train_every == 1 {
            true => hash.clone(),
            false => hash_of_config(&Config { evaluate_train_every: 1, ..unnamed }),
        };
        Identity { hash, unevaluated, train_every }
    }

    /// Whether a run of that identity has all rows that are wanted here, and the same numbers in them.
    fn is_met_by(&self, other: &Identity) -> bool {
        self.unevaluated == other.unevaluated && self.train_every.is_multiple_of(other.train_every)
    }
}

fn hash_of_config(config: &Config) -> String {
    let text = serde_json::to_string(config).expect("settings are plain data");
    Sha256::digest(text.as_bytes())[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash at the end of a folder's name.
pub fn hash_of(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or(name)
}

impl Found {
    /// Looks for the runs of a folder, which may not be there yet.
    pub fn in_folder(folder: &Path) -> Found {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let has_begun = |name: &String| {
            let folder = folder.join(name);
            ["config.yaml", "result.json"].iter().any(|file| folder.join(file).is_file())
        };
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let names: Vec<String> = names.filter(has_begun).collect();
        let is_complete = |name: &String| RunState::of(&folder.join(name)) == RunState::Complete;
        let (complete, others): (Vec<String>, Vec<String>) =
            names.into_iter().partition(is_complete);
        // Of several with one hash the one that is complete.
        let names = others.iter().chain(&complete);
        let names = names.map(|name| (hash_of(name).to_string(), name.clone())).collect();
        Found { folder: folder.to_path_buf(), names, complete: complete.into_iter().collect() }
    }

    /// The folder of a run that is to be called so. Where sweeps share a folder, a run that another sweep
    /// has begun under another name is the same run.
    pub fn name_of(&mut self, hash: &str, name: String) -> String {
        match self.complete.contains(&name) {
            true => name,
            false => self.names.entry(hash.to_string()).or_insert(name).clone(),
        }
    }

    pub fn is_complete(&self, name: &str) -> bool {
        self.complete.contains(name)
    }

    /// The complete runs beside these whose `config.yaml` can be read, by their names: runs with other
    /// hashes, which may yet be what is wanted, see [`alike`].
    pub fn beside(&self, names: &HashSet<&str>) -> Vec<(Identity, String)> {
        // In their order, for the first one of several is taken.
        let mut others: Vec<&String> = self.complete.iter().collect();
        others.retain(|name| !names.contains(name.as_str()));
        others.sort();
        let identity = |name: &String| {
            let place = self.folder.join(name).join("config.yaml");
            let (config, _) = Config::read(&Source::open(place.to_str()?).ok()?).ok()?;
            Some((Identity::of(&config), name.clone()))
        };
        others.into_iter().filter_map(identity).collect()
    }
}

/// The name of a run that gives what is wanted under another hash: its configuration evaluates the training
/// set more often, or an earlier version of the program, which had fewer keys, has written it.
pub fn alike<'a>(wanted: &Identity, others: &'a [(Identity, String)]) -> Option<&'a String> {
    others.iter().find(|(identity, _)| wanted.is_met_by(identity)).map(|(_, name)| name)
}
