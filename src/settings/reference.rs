//! The documentation of keys: tables in Markdown, and a list for the terminal.

use super::domain::show;
use super::key::{Key, Preset};
use super::names::{in_backticks, paragraphs};

/// Names that are listed in a cell.
const MOST_NAMES: usize = 7;

/// A page out of a template, in which a line `<!-- keys: a b. -->` stands for a table of the key `a`
/// and of those below `b`, and `<!-- names: a -->` for a table of the names that `a` can be.
///
/// # Panics
/// If a line of the template names no key, or a key is in no table.
pub fn reference(template: &str, keys: &[Key]) -> String {
    let mut left: Vec<&Key> = keys.iter().collect();
    let mut page = String::new();
    for line in template.lines() {
        let command = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        match command.and_then(|command| command.split_once(": ")) {
            Some(("keys", paths)) => {
                page += "| key | values | default | meaning |\n|---|---|---|---|\n";
                for path in paths.split(' ') {
                    let is_here = |key: &mut &Key| {
                        key.path == path || path.ends_with('.') && key.path.starts_with(path)
                    };
                    let rows: String = left.extract_if(.., is_here).map(row).collect();
                    assert!(!rows.is_empty(), "no key for `{path}`");
                    page += &rows;
                }
            }
            Some(("names", path)) => {
                let key = keys.iter().find(|key| key.path == path).expect("a key with names");
                page += "| name | meaning |\n|---|---|\n";
                for (name, doc) in &key.names {
                    page += &cells(&[&format!("`{name}`"), &paragraphs(doc).join(". ")]);
                }
            }
            _ => page += &format!("{line}\n"),
        }
    }
    assert!(left.is_empty(), "not in the template: {left:?}");
    page
}

fn row(key: &Key) -> String {
    let few = key.names.len() <= MOST_NAMES;
    let values = if few { &key.values } else { "a name, see below" };
    let default = default(key).unwrap_or("–".to_string());
    let meaning = condition(key) + &paragraphs(key.doc).join(". ");
    cells(&[&format!("`{}`", key.path), values, &default, &meaning])
}

/// The value where nobody gives one; none if it must be given.
fn default(key: &Key) -> Option<String> {
    match &key.default {
        Preset::Required => None,
        Preset::Value(value) => Some(format!("`{}`", show(value))),
        Preset::Depends(words) => Some(words.to_string()),
    }
}

/// For which choices the key is: "`mlp`: ".
fn condition(key: &Key) -> String {
    let colon = if key.with.is_empty() { "" } else { ": " };
    in_backticks(&key.with) + colon
}

fn cells(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A paragraph about each key, for the terminal.
pub fn list(keys: &[Key]) -> String {
    let about = |key: &Key| {
        let default = default(key).map_or("required".to_string(), |it| format!("default {it}"));
        let meaning = condition(key) + &key.summary();
        format!("{}\n    {meaning}\n    {}; {default}\n", key.path, key.values).replace('`', "")
    };
    keys.iter().map(about).collect()
}
