//! Configurations that cannot be: each is refused before anything is trained or written, with the
//! place, what was found, and what would do.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

const GOOD: &str = "
name: good
data: {name: digits, batch_size: 10}
model: {hidden_layers: 1, width: 8}
algorithm: {name: f3, error_info: delayed_error, feedback_init: {name: kaiming_uniform}}
optimizer: {name: adam, learning_rate: 1e-3}
epochs: 1
";

/// Runs a configuration with some `--set`s; it must be refused, and the error is given.
fn refused(text: &str, sets: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bad.yaml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_f3-tch"));
    command.args(["train", "bad.yaml"]).current_dir(folder.path());
    for set in sets {
        command.args(["--set", set]);
    }
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{sets:?} in {text}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    // A line for each complaint.
    let starts =
        |line: &str| ["error: ", "bad.yaml", "--set "].iter().any(|it| line.starts_with(it));
    assert!(error.starts_with("error: ") && error.lines().all(starts), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was written");
    error
}

/// Each: what replaces what in the good configuration, and what the error must hold.
const IN_FILE: &[(&str, &str, &[&str])] = &[
    // Unknown keys, with the nearest known one.
    ("epochs: 1", "epoch: 1", &["unknown key `epoch`", "did you mean `epochs`?"]),
    ("epochs: 1", "shuffle: true", &["unknown key `shuffle`", "known here: name, seed"]),
    ("batch_size: 10", "batchsize: 10", &["`data.batchsize`", "did you mean `batch_size`?"]),
    ("width: 8", "with: 8", &["`model.with`", "did you mean `width`?"]),
    (
        "learning_rate: 1e-3",
        "lr: 1e-3",
        &[
            "`optimizer.learning_rate` is missing",
            "`optimizer.lr` is not known (did you mean `optimizer.learning_rate`?)",
        ],
    ),
    ("{name: adam,", "{name: adam, momentum: 0.9,", &["unknown key `optimizer.momentum`"]),
    (
        "{name: kaiming_uniform}",
        "{name: kaiming_uniform, scalar: 2}",
        &["unknown key `algorithm.feedback_init.scalar`"],
    ),
    // Choices, with the nearest known one.
    ("name: digits", "name: digit", &["`data.name` is `digit`", "did you mean `digits`?", "mnist"]),
    ("name: f3", "name: f4", &["`algorithm.name` is `f4`", "did you mean `f3`?"]),
    ("delayed_error", "delayd_error", &["`algorithm.error_info`", "did you mean `delayed_error`?"]),
    (
        "kaiming_uniform",
        "kaiming",
        &["`algorithm.feedback_init.name` is `kaiming`", "discrete_uniform"],
    ),
    ("name: adam", "name: adan", &["`optimizer.name` is `adan`", "did you mean `adam`?"]),
    ("width: 8", "activation: tahn", &["`model.activation` is `tahn`", "did you mean `tanh`?"]),
    ("hidden_layers: 1", "name: rnn", &["`model.name` is `rnn`", "one of mlp, cnn, vit"]),
    ("hidden_layers: 1, width: 8", "name: cnn", &["`model.topology` is missing", "32C5"]),
    (
        "hidden_layers: 1, width: 8",
        "name: cnn, topology: 8X3",
        &["`model.topology` is `8X3`", "`8X3` is not one of 32C5, pool, 1000FC"],
    ),
    (
        "hidden_layers: 1, width: 8",
        "name: cnn, topology: 8C3-pool-8C3-pool-8C3-pool-8C3-pool",
        &["`model.topology`", "too small to be pooled"],
    ),
    (
        "{hidden_layers: 1, width: 8}",
        "{name: vit}\nloss: bce",
        &["`model.patch_size` is `7`", "8 x 8"],
    ),
    ("hidden_layers: 1, width: 8", "name: vit, heads: 0", &["`model.heads` is `0`"]),
    ("hidden_layers: 1, width: 8", "name: vit, width: 8", &["unknown key `model.width`"]),
    ("epochs: 1", "loss: hinge", &["`loss` is `hinge`", "one of bce, mse, cross_entropy"]),
    (
        "{name: f3, error_info: delayed_error, feedback_init: {name: kaiming_uniform}}",
        "{name: pepita, dropout: 1}",
        &["`algorithm.dropout` is `1`"],
    ),
    (
        "{name: f3, error_info: delayed_error, feedback_init: {name: kaiming_uniform}}",
        "{name: pepita}\nloss: bce",
        &["`loss` is `bce`", "cross_entropy"],
    ),
    ("{name: digits, batch_size: 10}", "{name: sgemm}\nloss: bce", &["`loss` is `bce`", "mse"]),
    (
        "{name: digits, batch_size: 10}",
        "{name: digits, standardize: true}",
        &["unknown key `data.standardize`"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: wine_quality, task: sorting}",
        &["`data.task` is `sorting`", "regression"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, targets: y, path: a.csv}",
        &["`data.task` is missing"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, path: a.csv}",
        &["`data.targets` is missing"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, targets: y}",
        &["`data.path` is missing"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, targets: y, train: a.csv}",
        &["`data.test` is missing"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, targets: y, path: a.csv, test: b.csv}",
        &["`data.test` is `b.csv`", "either `path`"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: classification, targets: [a, b], path: a.csv}",
        &["`data.targets` is `[a, b]`", "one column"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, targets: {a: b}, path: a.csv}",
        &["`data.targets`"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, targets: y, path: a.csv, delimiter: \", \"}",
        &["`data.delimiter` is `, `", "one ASCII character, or \\t"],
    ),
    (
        "{name: digits, batch_size: 10}",
        "{name: csv, task: regression, targets: y, path: a.csv, test_fraction: 1}",
        &["`data.test_fraction` is `1`", "between 0 and 1"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {name: linear}",
        &["`optimizer.schedule.name` is `linear`", "cosine"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {name: step}",
        &["`optimizer.schedule.step_size` is missing"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {name: step, step_size: 0}",
        &["`optimizer.schedule.step_size` is `0`"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {name: multi_step, milestones: [5, 5]}",
        &["`optimizer.schedule.milestones` is `[5, 5]`"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {name: exponential, gamma: 0}",
        &["`optimizer.schedule.gamma` is `0`"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {warmup_start: 0}",
        &["`optimizer.schedule.warmup_start` is `0`"],
    ),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, schedule: {name: cosine, t_max: 0}",
        &["`optimizer.schedule.t_max` is `0`"],
    ),
    (
        "name: adam",
        "name: sgd, momentum: 0.9, nesterov: true, classical_momentum: true",
        &["`optimizer.classical_momentum` is `true`", "false where"],
    ),
    ("epochs: 1", "diagnostics: {every: 0}", &["`diagnostics.every` is `0`"]),
    (
        "{name: f3, error_info: delayed_error, feedback_init: {name: kaiming_uniform}}",
        "{name: bp}\ndiagnostics: {every: 1}",
        &["`diagnostics.every` is `1`", "f3, dfa, drtp"],
    ),
    ("epochs: 1", "device: gpu", &["`device` is `gpu`", "cuda:N"]),
    ("epochs: 1", "device: cuda:x", &["`device` is `cuda:x`"]),
    // Wrong types.
    ("epochs: 1", "epochs: many", &["`epochs` is `many`", "whole number from 1 to"]),
    ("epochs: 1", "epochs: 1.5", &["`epochs` is `1.5`"]),
    ("epochs: 1", "epochs: [1]", &["`epochs` is `[1]`"]),
    ("epochs: 1", "epochs: null", &["`epochs` is `null`"]),
    ("epochs: 1", "seed: -1", &["`seed` is `-1`", "from 0 to"]),
    ("epochs: 1", "threads: 0", &["`threads` is `0`", "null or a whole number"]),
    ("epochs: 1", "threads: 1000000", &["`threads` is `1000000`"]),
    ("{hidden_layers: 1, width: 8}", "3", &["`model` is `3`", "mapping"]),
    ("learning_rate: 1e-3", "learning_rate: fast", &["`optimizer.learning_rate` is `fast`"]),
    ("name: good", "name: [a]", &["`name` is `[a]`"]),
    ("name: good", "name: ../up", &["`name` is `../up`", "letters"]),
    ("name: good", "name: .hidden", &["`name` is `.hidden`"]),
    // Values that cannot be.
    ("epochs: 1", "epochs: 0", &["`epochs` is `0`"]),
    ("width: 8", "width: 0", &["`model.width` is `0`", "at least 1"]),
    ("width: 8", "width: [8, 0]", &["`model.width` is `[8, 0]`"]),
    (
        "hidden_layers: 1, width: 8",
        "hidden_layers: 3, width: [8, 8]",
        &["`model.hidden_layers` is `3`", "(2)"],
    ),
    (
        "hidden_layers: 1",
        "hidden_layers: 99999999999",
        &["`model.hidden_layers` is `99999999999`", "to 10000"],
    ),
    ("epochs: 1", "epochs: 18446744073709551615", &["`epochs`", "to 1000000000"]),
    ("hidden_layers: 1", "hidden_layers: -1", &["`model.hidden_layers` is `-1`"]),
    ("batch_size: 10", "batch_size: 0", &["`data.batch_size` is `0`"]),
    (
        "batch_size: 10",
        "batch_size: 1439",
        &["`data.batch_size` is `1439`", "1438 training samples"],
    ),
    ("batch_size: 10", "eval_batch_size: -5", &["`data.eval_batch_size` is `-5`"]),
    (
        "learning_rate: 1e-3",
        "learning_rate: 0",
        &["`optimizer.learning_rate` is `0`", "greater than 0"],
    ),
    ("learning_rate: 1e-3", "learning_rate: -1e-3", &["`optimizer.learning_rate` is `-0.001`"]),
    ("learning_rate: 1e-3", "learning_rate: .nan", &["`optimizer.learning_rate` is `.nan`"]),
    ("learning_rate: 1e-3", "learning_rate: .inf", &["`optimizer.learning_rate` is `.inf`"]),
    (
        "learning_rate: 1e-3",
        "learning_rate: 1e-3, betas: [0.9, 1.0]",
        &["`optimizer.betas`", "[0.9, 1.0]"],
    ),
    ("learning_rate: 1e-3", "learning_rate: 1e-3, betas: [0.9]", &["`optimizer.betas` is `[0.9]`"]),
    ("learning_rate: 1e-3", "learning_rate: 1e-3, eps: 0", &["`optimizer.eps` is `0`"]),
    ("learning_rate: 1e-3", "learning_rate: 1e-3, weight_decay: -1", &["`optimizer.weight_decay`"]),
    ("name: adam", "name: sgd, momentum: 1.5", &["`optimizer.momentum` is `1.5`"]),
    ("name: adam", "name: sgd, nesterov: true", &["`optimizer.nesterov` is `true`", "momentum"]),
    ("name: adam", "name: sgd, nesterov: 1", &["`optimizer.nesterov` is `1`", "true or false"]),
    (
        "name: kaiming_uniform",
        "name: discrete_uniform",
        &["`algorithm.feedback_init.values` is missing"],
    ),
    (
        "name: kaiming_uniform",
        "name: discrete_uniform, values: []",
        &["`algorithm.feedback_init.values` is `[]`"],
    ),
    ("name: kaiming_uniform", "name: discrete_uniform, values: [1]", &["at least two"]),
    (
        "name: kaiming_uniform",
        "name: discrete_uniform, values: [1, .nan]",
        &["[1, .nan]", "finite"],
    ),
    (
        "name: kaiming_uniform",
        "name: constant, scalar: 0",
        &["`algorithm.feedback_init.scalar` is `0`"],
    ),
    (
        "name: kaiming_uniform",
        "name: cartesian_product, values: [0, 1]",
        &["`model.width` is `8`", "width 1024, not 8"],
    ),
    // How it is computed.
    ("epochs: 1", "schedule: {name: parallel}", &["`schedule.name` is `parallel`", "layer_major"]),
    ("epochs: 1", "schedule: {name: pipelined, stages: 0}", &["`schedule.stages` is `0`"]),
    ("epochs: 1", "schedule: {name: layer_major, stages: 2}", &["`schedule.stages` is `2`"]),
    ("epochs: 1", "schedule: {name: layer_major, chunk: 0}", &["`schedule.chunk` is `0`"]),
    ("epochs: 1", "schedule: {chunk: 4}", &["`schedule.chunk` is `4`", "layer_major"]),
    (
        "error_info: delayed_error,",
        "prediction: {block: 2},",
        &["`algorithm.prediction` is ", "`error_info: delayed_error_predicted`"],
    ),
    (
        "error_info: delayed_error,",
        "error_info: delayed_error_predicted, prediction: {block: 0},",
        &["`algorithm.prediction.block` is `0`"],
    ),
    (
        "error_info: delayed_error, feedback_init: {name: kaiming_uniform}}",
        "error_info: delayed_error_predicted}\nschedule: {name: layer_major, offload: .}",
        &["`schedule.offload` is `.`; expected null"],
    ),
    (
        "error_info: delayed_error, feedback_init: {name: kaiming_uniform}}",
        "error_info: delayed_error_predicted, prediction: {local: output}}\nprecision: bf16",
        &["`precision` is `bf16`"],
    ),
    (
        "epochs: 1",
        "schedule: {name: pipelined, devices: [cpu, auto]}",
        &["`schedule.devices` is `[cpu, auto]`", "[cuda:0, cuda:1]"],
    ),
    ("epochs: 1", "schedule: {name: pipelined, devices: cpu}", &["`schedule.devices` is `cpu`"]),
    ("epochs: 1", "schedule: {devices: [cpu]}", &["`schedule.devices` is `[cpu]`", "pipelined"]),
    (
        "epochs: 1",
        "schedule: {name: pipelined, stages: 2, devices: [cpu]}",
        &["`schedule.devices` is `[cpu]`", "as many devices"],
    ),
    (
        "epochs: 1",
        "device: cpu\nschedule: {name: pipelined, devices: [cpu, cpu, cpu]}",
        &["`schedule.devices` is `[cpu, cpu, cpu]`", "at most 2 devices"],
    ),
    ("epochs: 1", "schedule: {offload: x}", &["`schedule.offload` is `x`", "layer_major"]),
    ("epochs: 1", "kernels: mkl", &["`kernels` is `mkl`", "auto, aten, fused"]),
    (
        "width: 8}",
        "activation: gelu, width: 8}\ndevice: cpu\nkernels: fused",
        &["`kernels` is `fused`", "model.activation: gelu"],
    ),
    ("epochs: 1", "kernels: aten\nprecision: bf16", &["`precision` is `bf16`", "fused kernels"]),
    ("epochs: 1", "device: cpu\nprecision: tf32", &["`precision` is `tf32`", "device: cuda"]),
    ("epochs: 1", "device: cpu\ncuda_graph: true", &["`cuda_graph` is `true`", "device: cuda"]),
    (
        "epochs: 1",
        "cuda_graph: true\nschedule: {name: layer_major}",
        &["`cuda_graph` is `true`", "pipelined"],
    ),
    (
        "error_info: delayed_error, feedback_init: {name: kaiming_uniform}}",
        "error_info: delayed_error_predicted}\ncuda_graph: true",
        &["`cuda_graph` is `true`", "`error_info: delayed_error_predicted`"],
    ),
    ("batch_size: 10", "train_samples: 0", &["`data.train_samples` is `0`"]),
    (
        "batch_size: 10",
        "train_samples: 1439",
        &["`data.train_samples` is `1439`", "1438 training samples"],
    ),
    (
        "batch_size: 10",
        "train_samples: 9, batch_size: 10",
        &["`data.batch_size` is `10`", "9 training samples"],
    ),
    ("name: digits, ", "", &["`data.name` is missing"]),
    ("name: f3, ", "", &["`algorithm.name` is missing"]),
];

#[test]
fn bad_files_are_refused_with_place_and_remedy() {
    for (good, bad, expected) in IN_FILE {
        assert!(GOOD.contains(good), "{good}");
        let error = refused(&GOOD.replace(good, bad), &[]);
        let place =
            error.starts_with("error: bad.yaml: ") || error.starts_with("error: bad.yaml, line ");
        assert!(place, "{bad}: {error}");
        for part in *expected {
            assert!(error.contains(part), "{bad}: no `{part}` in {error}");
        }
    }
}

#[test]
fn bad_sets_are_refused_by_the_same_rules_and_named() {
    for (set, expected) in [
        ("optimizer.learning_rate=-1", "`optimizer.learning_rate` is `-1`; expected a number"),
        ("optimizer.lr=1", "unknown key `optimizer.lr`"),
        ("optimiser.learning_rate=1", "did you mean `optimizer`?"),
        ("epochs", "has no `=`"),
        ("=3", "is not a key"),
        ("data..name=digits", "is not a key"),
        ("epochs.of=3", "`epochs` holds a value, not keys"),
        ("model={width: [", "not YAML"),
        ("data.batch_size=100000", "1438 training samples"),
        ("algorithm.feedback_init.name=discrete_uniform", "values` is missing"),
        ("model.width=0", "`model.width` is `0`"),
    ] {
        let error = refused(GOOD, &[set]);
        assert!(error.contains(expected), "{set}: no `{expected}` in {error}");
        let by_file = expected.contains("missing"); // nobody said what is missing
        assert_eq!(error.starts_with(&format!("error: --set {set}: ")), !by_file, "{error}");
    }
}

#[test]
fn text_that_is_no_configuration_is_refused() {
    for (text, expected) in [
        ("data: {name: digits", "is not YAML"),
        ("a: 1\na: 2", "is not YAML"),
        ("- 1\n- 2", "holds no mapping"),
        ("just words", "holds no mapping"),
        ("", "`data.name` is missing"),
        (
            "1: 2\ndata: {name: digits}\nalgorithm: {name: bp}\noptimizer: {learning_rate: 1}",
            "unknown key `1`",
        ),
    ] {
        let error = refused(text, &[]);
        assert!(error.contains(expected), "{text}: no `{expected}` in {error}");
    }
}

#[test]
fn configuration_that_is_not_there_is_refused() {
    let folder = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_f3-tch"))
        .args(["train", "mnits"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("mnits: no such file") && error.contains("mnist"), "{error}");
}

#[test]
fn punctuation_can_be_set_as_it_is() {
    let folder = TempDir::new().unwrap();
    let file = "{data: {name: csv, path: a.csv, task: regression, targets: y}, \
                algorithm: {name: bp}, optimizer: {learning_rate: 1}}";
    fs::write(folder.path().join("good.yaml"), file).unwrap();
    for (set, shown) in [
        ("data.comment=#", "comment: \"#\""),
        ("data.missing=?", "missing: [\"?\"]"),
        ("data.missing=-", "missing: [\"-\"]"),
        ("data.missing=\"\"", "missing: [\"\"]"),
        ("data.delimiter=|", "delimiter: \"|\""),
        ("data.delimiter=;", "delimiter: \";\""),
        ("data.delimiter=\\t", "delimiter: \"\\U00000009\""),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_f3-tch"))
            .args(["config", "show", "good.yaml", "--set", set])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let (out, error) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
        assert!(out.contains(shown), "{set}: {out}{}", String::from_utf8_lossy(&error));
    }
}

#[test]
fn value_in_place_of_a_section_is_refused_with_the_keys_below() {
    for (set, expected) in [
        (
            "optimizer.schedule=cosine",
            "`optimizer.schedule` is `cosine`; expected a mapping of keys (name,",
        ),
        ("diagnostics=5", "`diagnostics` is `5`; expected a mapping of keys (every, samples)"),
    ] {
        let error = refused(GOOD, &[set]);
        assert!(error.contains(expected), "{error}");
    }
}

/// Section 4 of the paper: data set, algorithm, learning rate, batch size, epochs.
#[test]
fn carried_configurations_have_the_papers_settings() {
    use f3_tch::config::{Config, ModelConfig, Source};
    use f3_tch::optimizer::OptimizerSettings;
    for (data, batch_size, epochs, slow, fast) in [
        ("mnist", 50, 100, 1.5e-4, (1.5e-4, 1.5e-2)),
        ("wine_quality", 50, 500, 1e-4, (1e-4, 1e-4)),
        ("sgemm", 512, 200, 1e-4, (1e-2, 1e-2)),
    ] {
        for (ending, rate) in
            [("", slow), ("_dfa", slow), ("_drtp", slow), ("_bp", fast.0), ("_llo", fast.1)]
        {
            let name = format!("{data}{ending}");
            let (config, _) = Config::read(&Source::open(&name).unwrap()).unwrap();
            assert_eq!(config.name, name);
            assert_eq!(config.data.set.about().name, data);
            assert_eq!((config.data.batch_size, config.epochs), (batch_size, epochs), "{name}");
            let OptimizerSettings::Adam(adam) = config.optimizer.settings else {
                panic!("{name} has no Adam")
            };
            assert_eq!(config.optimizer.learning_rate, rate, "{name}");
            assert_eq!((adam.betas, adam.eps, adam.weight_decay), ([0.9, 0.999], 1e-8, 0.0));
            assert!(matches!(config.model, ModelConfig::Mlp { .. }));
            assert_eq!(config.model.hidden_widths().unwrap(), [500], "{name}");
            let algorithm = serde_json::to_value(&config.algorithm).unwrap();
            let expected = if ending.is_empty() { "f3" } else { &ending[1..] };
            assert_eq!(algorithm["name"], expected, "{name}");
        }
    }
}

#[test]
fn algorithms_that_need_a_fully_connected_network_say_so() {
    for name in ["fa", "pepita"] {
        let sets = ["model={name: cnn, topology: 8C3}", &format!("algorithm={{name: {name}}}")];
        let error = refused(GOOD, &sets);
        let expected = format!("`algorithm.name` is `{name}`; expected one of f3, dfa");
        assert!(error.contains(&expected) && error.contains("model.name: mlp"), "{error}");
    }
}

#[test]
fn rules_that_need_later_layers_cannot_be_re_ordered() {
    for name in ["bp", "dfa", "fa", "pepita"] {
        for schedule in ["pipelined", "layer_major"] {
            let sets = [
                &format!("algorithm={{name: {name}}}"),
                &format!("schedule.name={schedule}") as &str,
            ];
            let error = refused(GOOD, &sets);
            let expected = format!("`schedule.name` is `{schedule}`; expected `sequential`");
            assert!(error.contains(&expected), "{error}");
        }
    }
}

#[test]
fn pepita_is_for_classes() {
    let sets = ["data={name: sgemm}", "algorithm={name: pepita}"];
    let error = refused(GOOD, &sets);
    assert!(error.contains("`data.name` is `sgemm`; expected a data set of classes"), "{error}");
}

/// What is strange, but possible, is trained, and remarked on.
#[test]
fn chunks_that_do_not_go_with_predicted_errors_are_remarked_on() {
    let folder = TempDir::new().unwrap();
    let said = |schedule: &str| {
        let (from, to) =
            ("feedback_init: {name: kaiming_uniform}", "prediction: {block: 10, lag: 2}");
        let text = GOOD.replace(from, to).replace("delayed_error,", "delayed_error_predicted,");
        fs::write(folder.path().join("a.yaml"), format!("{text}schedule: {schedule}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_f3-tch"));
        command.args(["train", "a.yaml", "--quiet"]).current_dir(folder.path());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let chunk = said("{name: layer_major, chunk: 99}");
    assert!(chunk.contains("note: `schedule.chunk` becomes 20, which goes with"), "{chunk}");
    let part = said("{name: layer_major, chunk: 4}");
    assert!(part.contains("note: `schedule.chunk` becomes 5, which goes with"), "{part}");
    let fits = said("{name: layer_major, chunk: 10}");
    assert!(!fits.contains("schedule.chunk"), "{fits}");
}
