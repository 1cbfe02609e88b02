//! The documentation of keys: tables in Markdown, and a list for the terminal.

use super::domain::show;
use super::key::{Key, Preset};
use super::names::{details, summary};

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
                    let is_here = |key: &Key| match path.strip_suffix('.') {
                        Some(section) => key.path.starts_with(&format!("{section}.")),
                        None => key.path == path,
                    };
                    let (here, others) = left.into_iter().partition(|key| is_here(key));
                    left = others;
                    let here: Vec<&Key> = here;
                    assert!(!here.is_empty(), "no key for `{path}`");
                    here.iter().for_each(|key| page += &row(key));
                }
            }
            Some(("names", path)) => {
                let key = keys.iter().find(|key| key.path == path).expect("a key with names");
                page += "| name | meaning |\n|---|---|\n";
                for (name, doc) in &key.about.names {
                    page += &cells(&[format!("`{name}`"), joined(&summary(doc), &details(doc))]);
                }
            }
            _ => page += &format!("{line}\n"),
        }
    }
    let left: Vec<&str> = left.iter().map(|key| key.path.as_str()).collect();
    assert!(left.is_empty(), "not in the template: {left:?}");
    page
}

fn row(key: &Key) -> String {
    let values = match key.about.names.len() {
        0..=MOST_NAMES => key.about.values.clone(),
        _ => "a name, see below".to_string(),
    };
    let default = match &key.default {
        Preset::Required => "–".to_string(),
        Preset::Value(value) => format!("`{}`", show(value)),
        Preset::Depends(words) => words.to_string(),
    };
    let meaning = format!("{}{}", condition(key), joined(&key.summary, &key.details));
    cells(&[format!("`{}`", key.path), values, default, meaning])
}

/// For which choices the key is: "`mlp`: ".
fn condition(key: &Key) -> String {
    match key.with.last() {
        None => String::new(),
        Some((_, choices)) => {
            let choices: Vec<String> = choices.iter().map(|it| format!("`{it}`")).collect();
            format!("{}: ", choices.join(", "))
        }
    }
}

fn joined(summary: &str, details: &str) -> String {
    if details.is_empty() { summary.to_string() } else { format!("{summary}. {details}") }
}

fn cells(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A paragraph about each key, for the terminal.
pub fn list(keys: &[Key]) -> String {
    let about = |key: &Key| {
        let default = match &key.default {
            Preset::Required => "required".to_string(),
            Preset::Value(value) => format!("default {}", show(value)),
            Preset::Depends(words) => format!("default {words}"),
        };
        let meaning = format!("{}{}", condition(key), key.summary);
        let text = format!("{}\n    {meaning}\n    {}; {default}\n", key.path, key.about.values);
        text.replace('`', "")
    };
    keys.iter().map(about).collect()
}
