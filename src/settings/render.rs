//! A configuration as YAML, with a comment beside each key.

use serde_yaml::Value;

use super::key::Key;

/// A mapping as YAML, with what its keys mean.
pub fn render(value: &Value, keys: &[Key]) -> String {
    let mut lines = Vec::new();
    collect(value, "", 0, keys, &mut lines);
    let widest = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    lines
        .iter()
        .map(|(text, comment)| match comment {
            Some(comment) => format!("{text:widest$}  # {comment}\n"),
            None => format!("{text}\n"),
        })
        .collect()
}

type Line = (String, Option<String>);

fn collect(value: &Value, prefix: &str, depth: usize, keys: &[Key], lines: &mut Vec<Line>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let path = format!("{prefix}{key}");
        let indent = "  ".repeat(depth);
        if value.is_mapping() {
            lines.push((format!("{indent}{key}:"), None));
            collect(value, &format!("{path}."), depth + 1, keys, lines);
        } else {
            let comment = keys.iter().find(|it| it.path == path).map(comment);
            lines.push((format!("{indent}{key}: {}", scalar(value)), comment));
        }
    }
}

/// What a key means, and its names, if these are not too many for a line.
fn comment(key: &Key) -> String {
    let names: Vec<&str> = key.about.names.iter().map(|(name, _)| *name).collect();
    let summary = key.summary.replace('`', "");
    match names.join(" | ") {
        names if names.is_empty() || names.len() > 75 => summary,
        names => format!("{summary}: {names}"),
    }
}

/// A value on one line of YAML, wherever on a line it stands.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            format!("[{}]", items.join(", "))
        }
        other => serde_yaml::to_string(other).unwrap_or_default().trim_end().to_string(),
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
    let mut line = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if c.is_control() => line += &format!("\\U{:08X}", u32::from(c)),
            c => line.push(c),
        }
    }
    line.push('"');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_as_they_were() {
        for text in [
            "plain",
            "a b",
            "price, EUR",
            "income [EUR]",
            "{x}",
            "line\nbreak",
            "\"",
            "\\",
            "3",
            "1e5",
            "true",
            "null",
            "~",
            "#",
            "a # b",
            "a: b",
            "-",
            "- x",
            "",
            "?",
            "ü",
            "\t",
            "*a",
            "&a",
            "!a",
            "configs/a.csv",
            "2001-01-01",
            "0x10",
            ".5",
            "yes",
        ] {
            let yaml = format!("[{}, {0}]", quoted(text));
            let read: Vec<Value> = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(read, [Value::from(text), Value::from(text)], "{yaml}");
        }
    }
}
