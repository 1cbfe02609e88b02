//! What every key means, and the YAML that shows it.

use serde_yaml::Value;

/// A comment for each key that a resolved configuration can have.
const COMMENTS: &[(&str, &str)] = &[
    ("name", "runs are kept in runs/<name>/<number>"),
    ("seed", "of weights, feedback and the order of samples"),
    ("device", "auto | cpu | cuda | cuda:N"),
    ("threads", "intra-op threads; null: all cores"),
    ("schedule.name", "auto | sequential | pipelined | layer_major; the same numbers in any order"),
    ("schedule.chunk", "batches that a layer takes in a row; null: by the caches"),
    ("schedule.stages", "pipelined: threads that share the layers; null: as many as `threads`"),
    ("schedule.devices", "pipelined: a device for each stage; null: that of the data"),
    ("schedule.offload", "layer_major: a folder that holds parameters and optimizer states"),
    ("kernels", "auto | aten | fused, of fully connected layers"),
    ("cuda_graph", "on CUDA: steps are recorded once and replayed"),
    ("precision", "float32 | bf16: hidden layers multiply bfloat16 | tf32: on CUDA"),
    ("data.name", "mnist | fashion_mnist | digits | cifar10 | wine_quality | sgemm | csv"),
    ("data.standardize", "mean 0 and deviation 1, by the training set"),
    ("data.task", "regression | classification"),
    ("data.path", "a table that is split into training and test rows"),
    ("data.test_fraction", "share of the rows that is tested on"),
    ("data.split_seed", "random_state of scikit-learn's train_test_split"),
    ("data.train", "a table to train on"),
    ("data.test", "a table to test on"),
    ("data.delimiter", "what stands between cells"),
    ("data.header", "whether the first row names the columns; else they are 0, 1, 2, …"),
    ("data.comment", "what lines start with that are no rows"),
    ("data.targets", "columns to be predicted"),
    ("data.categorical", "columns whose values are names"),
    ("data.encoding", "ordinal | one_hot, of categorical columns"),
    ("data.ignore", "columns that are left out"),
    ("data.missing", "rows in which a cell is this are left out"),
    ("data.class_suffix", "an ending that classes may have or not"),
    ("data.train_samples", "the first so many training samples; null: all"),
    ("data.batch_size", "samples per training step"),
    ("data.eval_batch_size", "samples per forward pass when evaluating"),
    ("model.name", "mlp: fully connected | cnn | vit: Vision Transformer"),
    ("model.hidden_layers", "0 and more"),
    ("model.width", "of all hidden layers, or a list"),
    ("model.activation", "tanh | relu | sigmoid | gelu | identity, of hidden layers"),
    ("model.topology", "hidden blocks: 32C5 convolution, pool, 1000FC fully connected"),
    ("model.patch_size", "height and width of a patch"),
    ("model.token_width", "numbers per token"),
    ("model.blocks", "transformer blocks"),
    ("model.heads", "of each block's attention"),
    ("model.head_size", "numbers per head"),
    ("model.mlp_width", "of the perceptron inside each block"),
    ("loss", "bce | mse | cross_entropy (softmax and NLL on logits)"),
    ("algorithm.name", "f3 | dfa | drtp | llo | bp | fa | pepita"),
    ("algorithm.error_info", "what teaches the hidden layers; see docs/configuration.md"),
    ("algorithm.feedback_init.name", "how the fixed matrices are made; see docs/configuration.md"),
    ("algorithm.projection_scale", "of the matrix from error to input, times √(6/inputs)"),
    ("algorithm.dropout", "share of hidden units left out of a step"),
    ("algorithm.feedback_init.scalar", "factor of every element"),
    ("algorithm.feedback_init.values", "what is chosen from, or combined"),
    ("optimizer.name", "adam | sgd"),
    ("optimizer.learning_rate", "step size"),
    ("optimizer.betas", "decay rates of Adam's two moments"),
    ("optimizer.eps", "added to the root of the second moment"),
    ("optimizer.weight_decay", "L2 penalty, added to the gradient"),
    ("optimizer.momentum", "share of the previous update that is kept"),
    ("optimizer.nesterov", "whether momentum is Nesterov's"),
    ("optimizer.classical_momentum", "momentum of steps, not of gradients as in PyTorch"),
    ("optimizer.schedule.name", "constant | step | multi_step | exponential | cosine"),
    ("optimizer.schedule.step_size", "epochs between two changes"),
    ("optimizer.schedule.milestones", "epochs after which the step size changes"),
    ("optimizer.schedule.gamma", "factor of each change"),
    ("optimizer.schedule.t_max", "epochs from the largest to the smallest step size"),
    ("optimizer.schedule.minimum", "the smallest step size"),
    ("optimizer.schedule.warmup_epochs", "epochs in which the step size grows"),
    ("optimizer.schedule.warmup_start", "share of the step size that the growth starts from"),
    ("checkpoint.every", "epochs between two; null: none, and the run cannot be resumed"),
    ("checkpoint.keep", "how many of the newest ones stay"),
    ("checkpoint.best", "a metric whose best epoch is kept too, such as test_loss; or null"),
    ("early_stop.metric", "a metric, such as test_loss, that ends the run; null: none does"),
    ("early_stop.patience", "epochs in a row that may be no better than the best one"),
    ("max_minutes", "of training and evaluating, until the current epoch is the last; or null"),
    ("on_nan", "stop | warn, when a loss or weight is no number any more"),
    ("diagnostics.every", "epochs between comparisons with backpropagation; null: never"),
    ("diagnostics.samples", "training samples that are compared"),
    ("epochs", "passes over the training set"),
    ("init_from", "a model.safetensors or checkpoint to start from; null: random numbers"),
];

/// Whether a configuration can have this key, or keys below it.
pub(super) fn is_key(path: &str) -> bool {
    COMMENTS.iter().any(|(known, _)| {
        known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The keys that can stand directly below a path, which ends in a dot.
pub(super) fn keys_below(path: &str) -> Vec<&'static str> {
    let mut keys: Vec<&str> =
        COMMENTS.iter().filter_map(|(key, _)| key.strip_prefix(path)?.split('.').next()).collect();
    keys.dedup();
    keys
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

    #[test]
    fn every_key_is_explained_in_the_documentation() {
        let text = include_str!("../../docs/configuration.md");
        for (key, _) in COMMENTS {
            let section = key.trim_end_matches(".name");
            let explained = |key: &str| text.contains(&format!("`{key}`"));
            assert!(explained(key) || explained(section), "`{key}` is not explained");
        }
    }
}
