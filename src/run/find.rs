//! The runs that are below a folder.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::result::RunResult;
use crate::files::At;

impl RunResult {
    /// The folders of runs in a folder, at any depth, in natural order (`2` before `10`): those that have
    /// a `result.json`, or a `config.yaml` beside the `metrics.csv` or the checkpoints of a run that is
    /// under way or was cut off. The folder itself may be one.
    ///
    /// Hidden folders and `checkpoints` are not entered. Links are followed to what is not found without
    /// them, and nothing is found twice. A folder that cannot be read is taken for a run; whoever reads
    /// it finds the cause.
    ///
    /// # Errors
    /// If the folder itself cannot be read.
    pub fn find(folder: &Path) -> Result<Vec<PathBuf>> {
        fs::read_dir(folder).at(folder, "cannot be read")?;
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut links = vec![folder.to_path_buf()];
        while let Some(link) = links.pop() {
            let mut folders = vec![link];
            while let Some(folder) = folders.pop() {
                let is_new = fs::canonicalize(&folder).is_ok_and(|place| seen.insert(place));
                if !is_new {
                    continue;
                }
                let Ok(entries) = fs::read_dir(&folder) else {
                    found.push(folder);
                    continue;
                };
                for entry in entries.flatten() {
                    let (path, name) = (entry.path(), entry.file_name());
                    let hidden = name.as_encoded_bytes().starts_with(b".");
                    if hidden || name == "checkpoints" || !path.is_dir() {
                        continue;
                    }
                    match path.is_symlink() {
                        true => links.push(path),
                        false => folders.push(path),
                    }
                }
                if is_run(&folder) {
                    found.push(folder);
                }
            }
            links.sort_by(|a, b| natural_order(b, a)); // the first one is taken next
        }
        found.sort_by(|a, b| natural_order(a, b));
        Ok(found)
    }
}

fn is_run(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).exists();
    has("result.json") || has("config.yaml") && (has("metrics.csv") || has("checkpoints"))
}

/// The order of people: name by name, in which numbers are compared as such.
fn natural_order(a: &Path, b: &Path) -> Ordering {
    let parts = |path: &Path| -> Vec<Vec<Part>> {
        path.iter().map(|name| parts_of(&name.to_string_lossy())).collect()
    };
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

/// A piece of a name: the number of digits of a number and the digits, or another character.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(usize, String),
    Other(char),
}

fn parts_of(name: &str) -> Vec<Part> {
    let (mut parts, mut rest) = (Vec::new(), name);
    while let Some(first) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let end = if digits > 0 { digits } else { first.len_utf8() };
        let (part, behind) = rest.split_at(end);
        parts.push(match digits > 0 {
            true => {
                let number = part.trim_start_matches('0');
                Part::Number(number.len(), number.to_string())
            }
            false => Part::Other(first),
        });
        rest = behind;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let names = ["a/002", "a/10", "a/010", "a1b/1", "a2/1", "a10/1", "ab", "b", "é9", "é10"];
        let mut sorted: Vec<&Path> = names.iter().rev().map(Path::new).collect();
        sorted.sort_by(|a, b| natural_order(a, b));
        let expected = ["a/002", "a/010", "a/10", "a1b/1", "a2/1", "a10/1", "ab", "b", "é9", "é10"];
        assert_eq!(sorted, expected.map(Path::new));
    }
}
