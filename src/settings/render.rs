//! A configuration as YAML, with a comment beside each key.

use serde_yaml::Value;

use super::domain::on_one_line;
use super::key::Key;
use super::source::lookup;

/// A mapping as YAML, with what its keys mean.
pub fn render(value: &Value, keys: &[Key]) -> String {
    let mut lines = Vec::new();
    // Choices can have keys of the same name.
    let is_chosen = |key: &&Key| match (key.depends_on(keys), value.as_mapping()) {
        (Some(name), Some(all)) => {
            lookup(all, &name).and_then(Value::as_str).is_none_or(|name| key.with.contains(&name))
        }
        _ => true,
    };
    let keys: Vec<&Key> = keys.iter().filter(is_chosen).collect();
    collect(value, "", &keys, &mut lines);
    let widest = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    let widest = widest.min(WIDEST); // behind longer lines comments are not aligned
    let line = |(text, comment): &(String, Option<String>)| match comment {
        Some(comment) => format!("{text:widest$}  # {comment}\n"),
        None => format!("{text}\n"),
    };
    lines.iter().map(line).collect()
}

/// The column up to which comments are aligned.
const WIDEST: usize = 60;

/// The lines of a mapping at a path, and the comment beside each.
fn collect(value: &Value, path: &str, keys: &[&Key], lines: &mut Vec<(String, Option<String>)>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let (indent, path) = ("  ".repeat(path.matches('.').count()), format!("{path}{key}"));
        if value.is_mapping() {
            lines.push((format!("{indent}{key}:"), None));
            collect(value, &format!("{path}."), keys, lines);
        } else {
            let comment = keys.iter().find(|it| it.path == path).map(|key| comment(key));
            lines.push((format!("{indent}{key}: {}", on_one_line(value, quoted)), comment));
        }
    }
}

/// What a key means, and its names, if these are not too many for a line.
fn comment(key: &Key) -> String {
    let names: Vec<&str> = key.names.iter().map(|(name, _)| *name).collect();
    let summary = key.summary().replace('`', "");
    match names.join(" | ") {
        names if names.is_empty() || names.len() > 75 => summary,
        names => format!("{summary}: {names}"),
    }
}

/// A text as YAML: plain where that is safe even in a list, else in double quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let reads_as_text =
        |text: &str| matches!(serde_yaml::from_str(text), Ok(Value::String(read)) if read == text);
    if text.chars().all(plain) && reads_as_text(text) {
        return text.to_string();
    }
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_as_they_were() {
        let short = [
            "plain", "a b", "{x}", "\"", "\\", "3", "1e5", "true", "null", "~", "#", "a # b",
            "a: b", "-", "- x", "", "?", "ü", "\t", "*a", "&a", "!a", "0x10", ".5", "yes",
        ];
        let long = ["price, EUR", "income [EUR]", "line\nbreak", "configs/a.csv", "2001-01-01"];
        for text in short.into_iter().chain(long) {
            let yaml = format!("[{}, {0}]", quoted(text));
            let read: Vec<Value> = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(read, [Value::from(text), Value::from(text)], "{yaml}");
        }
    }
}
