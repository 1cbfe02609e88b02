//! What every key means, and the YAML that shows it.

use serde_yaml::Value;

/// A comment for each key that a resolved configuration can have.
const COMMENTS: &[(&str, &str)] = &[
    ("name", "runs are kept in runs/<name>/<number>"),
    ("seed", "of weights, feedback and the order of samples"),
    ("device", "auto | cpu | cuda | cuda:N"),
    ("threads", "intra-op threads; null: all cores"),
    ("data.name", "f3-tch data list shows the choice"),
    ("data.batch_size", "samples per training step"),
    ("data.eval_batch_size", "samples per forward pass when evaluating"),
    ("model.name", "mlp: fully connected"),
    ("model.hidden_layers", "0 and more"),
    ("model.width", "of all hidden layers, or a list"),
    ("model.activation", "tanh"),
    ("algorithm.name", "f3 | dfa | drtp | llo | bp"),
    ("algorithm.error_info", "what teaches the hidden layers; the README lists the ten kinds"),
    (
        "algorithm.feedback_init.name",
        "how the fixed matrices B_i are made; the README lists the ten ways",
    ),
    ("algorithm.feedback_init.scalar", "factor of every element"),
    ("algorithm.feedback_init.values", "what is chosen from, or combined"),
    ("optimizer.name", "adam | sgd"),
    ("optimizer.learning_rate", "step size"),
    ("optimizer.betas", "decay rates of Adam's two moments"),
    ("optimizer.eps", "added to the root of the second moment"),
    ("optimizer.weight_decay", "L2 penalty, added to the gradient"),
    ("optimizer.momentum", "share of the previous update that is kept"),
    ("optimizer.nesterov", "whether momentum is Nesterov's"),
    ("epochs", "passes over the training set"),
];

/// Whether a configuration can have this key, or keys below it.
pub(super) fn is_key(path: &str) -> bool {
    COMMENTS.iter().any(|(known, _)| {
        known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// A mapping as YAML, a comment beside each key.
pub(super) fn render(value: &Value) -> String {
    let mut lines = Vec::new();
    collect(value, "", 0, &mut lines);
    let widest = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    lines
        .iter()
        .map(|(text, comment)| match comment {
            Some(comment) => format!("{text:widest$}  # {comment}\n"),
            None => format!("{text}\n"),
        })
        .collect()
}

type Line = (String, Option<&'static str>);

fn collect(value: &Value, prefix: &str, depth: usize, lines: &mut Vec<Line>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        let path = format!("{prefix}{key}");
        let indent = "  ".repeat(depth);
        if value.is_mapping() {
            lines.push((format!("{indent}{key}:"), None));
            collect(value, &format!("{path}."), depth + 1, lines);
        } else {
            let comment = COMMENTS.iter().find(|(known, _)| *known == path);
            lines.push((
                format!("{indent}{key}: {}", scalar(value)),
                comment.map(|(_, comment)| *comment),
            ));
        }
    }
}

/// A value on one line of YAML.
fn scalar(value: &Value) -> String {
    match value {
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            format!("[{}]", items.join(", "))
        }
        other => serde_yaml::to_string(other).unwrap_or_default().trim_end().to_string(),
    }
}
