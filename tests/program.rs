//! The program as a user meets it: what it prints, writes and refuses.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::close;
use serde_json::Value;
use tch::Tensor;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

/// Runs the program in a folder.
fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = f3_tch(folder, arguments);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

/// Checks that the program refuses, in a few lines and with this exit code, and gives its error.
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = f3_tch(folder, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
    assert!(stderr.lines().count() <= 12, "{stderr}");
    stderr
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The rows of `metrics.csv`, by column.
fn metrics(run: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn number(row: &HashMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap()
}

#[test]
fn digits_run_leaves_what_is_promised() {
    let folder = TempDir::new().unwrap();
    let (stdout, stderr) = succeeds(folder.path(), &["train", "digits", "--set", "epochs=3"]);
    assert!(stdout.contains("test accuracy") && stdout.contains("runs/digits/001"), "{stdout}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("epoch ")).count(), 4, "{stderr}");

    let run = folder.path().join("runs/digits/001");
    let names = entries(&run);
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(names[..3], [".lock", "checkpoints", "config.yaml"]);
    assert!(names[3].starts_with("events.out.tfevents."), "{names:?}");
    assert_eq!(names[4..], ["metrics.csv", "model.safetensors", "result.json"]);
    assert_eq!(
        entries(&run.join("checkpoints")),
        ["epoch-000002.safetensors", "epoch-000003.safetensors", "rows.yaml"]
    );

    let header = fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_eq!(
        header.lines().next().unwrap(),
        "epoch,processed_samples,train_loss,train_accuracy,train_auroc,train_f1,test_loss,\
         test_accuracy,test_auroc,test_f1,train_seconds,eval_seconds,learning_rate"
    );
    let rows = metrics(&run);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[3]["processed_samples"], (3 * 1438).to_string());
    assert!(common::close(number(&rows[3], "learning_rate"), 5e-4, 1e-9)); // cosine: a quarter of 2e-3

    let config = fs::read_to_string(run.join("config.yaml")).unwrap();
    let versions = format!("# f3-tch {}, libtorch 2.11.0", f3_tch::VERSION);
    assert!(config.starts_with(&versions), "{config}");
    // The second run takes the next number, and the first one's configuration gives its numbers.
    succeeds(folder.path(), &["train", "runs/digits/001/config.yaml", "--quiet"]);
    let repeated = metrics(&folder.path().join("runs/digits/002"));
    assert_eq!(without_times(&rows), without_times(&repeated));
}

fn without_times(rows: &[HashMap<String, String>]) -> Vec<HashMap<String, String>> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        row.retain(|column, _| !column.ends_with("_seconds"));
    }
    rows
}

#[test]
fn tensorboard_and_pytorch_read_what_is_written() {
    let Some(python) = common::python() else { return };
    for (algorithm, every, train_every) in [("f3", 1, 2), ("bp", 3, 1)] {
        let folder = TempDir::new().unwrap();
        let sets = [
            "epochs=4".to_string(),
            format!("algorithm.name={algorithm}"),
            format!("evaluate_every={every}"),
            format!("evaluate_train_every={train_every}"),
        ];
        let sets = sets.each_ref().map(|set| ["--set", set]).concat();
        let arguments = [&["train", "digits", "--run-dir", "run"], &sets[..]].concat();
        let (_, said) = succeeds(folder.path(), &arguments);
        let skipped = if every == 1 { 0 } else { 2 }; // 1 and 2
        assert_eq!(said.matches("/4  not evaluated  ").count(), skipped, "{said}");
        let without_train = if train_every == 1 { 0 } else { 2 }; // 1 and 3
        assert_eq!(said.matches("/4  loss test ").count(), without_train, "{said}");
        let run = folder.path().join("run");
        let read: Value =
            serde_json::from_str(&common::run_python(&python, "check_run.py", &[&run])).unwrap();
        let rows = metrics(&run);

        let curve = |tag: &str| -> Vec<(u64, f64)> {
            serde_json::from_value(read["scalars"][tag].clone())
                .unwrap_or_else(|_| panic!("no curve `{tag}` in {}", read["scalars"]))
        };
        for (tag, column) in [
            ("loss/train", "train_loss"),
            ("loss/test", "test_loss"),
            ("accuracy/train", "train_accuracy"),
            ("accuracy/test", "test_accuracy"),
            ("auroc/train", "train_auroc"),
            ("auroc/test", "test_auroc"),
            ("f1/train", "train_f1"),
            ("f1/test", "test_f1"),
            ("time/train_seconds", "train_seconds"),
            ("time/eval_seconds", "eval_seconds"),
        ] {
            let curve = curve(tag);
            let told_by = if column == "eval_seconds" { "test_f1" } else { column };
            let rows: Vec<_> = rows.iter().filter(|row| !row[told_by].is_empty()).collect();
            let count = match column {
                "train_seconds" => 5,
                column if column.starts_with("train_") => 5 - skipped - without_train,
                _ => 5 - skipped,
            };
            assert_eq!((curve.len(), rows.len()), (count, count), "{tag}");
            for ((step, value), row) in curve.iter().zip(&rows) {
                assert_eq!(step.to_string(), row["epoch"], "{tag}");
                assert!(close(*value, number(row, column), 1e-6), "{tag} at epoch {step}");
            }
        }
        for layer in ["hidden_1", "hidden_2", "output"] {
            assert_eq!(curve(&format!("norm/weight/{layer}")).len(), 5);
            let gradients = curve(&format!("norm/gradient/{layer}"));
            assert_eq!(gradients.len(), 4, "none before training");
            assert!(gradients.iter().all(|(_, norm)| *norm > 0.0), "{layer}");
        }
        let stale = &read["scalars"]["stored_error/cosine_previous"];
        assert_eq!(stale.is_null(), algorithm == "bp");
        if algorithm == "f3" {
            let cosines = curve("stored_error/cosine_previous");
            assert!(cosines.iter().all(|(_, cosine)| (-1.0..1.0).contains(cosine)));
            assert!(curve("stored_error/mean_absolute").iter().all(|(_, mean)| *mean > 0.0));
        }

        let (settings, text) =
            (&read["about"]["settings"], read["about"]["text"].as_str().unwrap());
        assert_eq!(settings["algorithm.name"], algorithm);
        assert_eq!((&settings["seed"], &settings["model.name"]), (&1.0.into(), &"mlp".into()));
        assert_eq!(settings["optimizer.learning_rate"], 2e-3);
        assert!(settings.get("epochs").is_none() && settings.get("threads").is_none());
        assert_eq!(read["about"]["status"], 1, "success");
        let config = fs::read_to_string(run.join("config.yaml")).unwrap();
        let (_, config) = config.split_once('\n').unwrap(); // the first line names the machine
        assert!(text.starts_with("```yaml\n") && text.contains(config.trim_end()), "{text}");

        let last = rows.last().unwrap();
        assert!(close(read["loss"].as_f64().unwrap(), number(last, "test_loss"), 1e-5));
        assert!(close(read["accuracy"].as_f64().unwrap(), number(last, "test_accuracy"), 1e-5));
    }
}

#[test]
fn mnist_is_learned_in_two_epochs() {
    for (config, accuracy) in [("mnist", 91.0), ("mnist_bp.yaml", 93.0)] {
        let folder = TempDir::new().unwrap();
        let data = common::root().join("data");
        let data = std::env::var_os("F3_DATA_DIR").map_or(data, PathBuf::from);
        let arguments = ["train", config, "--set", "epochs=2", "--quiet", "--run-dir", "run"];
        let data_dir = ["--data-dir", data.to_str().unwrap()];
        succeeds(folder.path(), &[&arguments[..], &data_dir[..]].concat());
        let reached = number(&metrics(&folder.path().join("run"))[2], "test_accuracy");
        assert!(reached >= accuracy, "{config}: {reached} %");
    }
}

/// The quick start's seeds. Over 25 seeds the two are as good as each other within their deviation: the data
/// are small.
#[test]
fn digits_are_learned_better_by_f3_than_by_drtp() {
    let folder = TempDir::new().unwrap();
    let mean = |algorithm: &str| {
        let accuracies = (1..=5).map(|seed| {
            let set = format!("algorithm.name={algorithm}");
            let (seed, run) = (seed.to_string(), format!("{algorithm}{seed}"));
            let train = ["train", "digits", "--quiet", "--threads", "1", "--run-dir", &run];
            succeeds(folder.path(), &[&train[..], &["--set", &set, "--seed", &seed]].concat());
            number(metrics(&folder.path().join(run)).last().unwrap(), "test_accuracy")
        });
        accuracies.sum::<f64>() / 5.0
    };
    let [f3, drtp] = ["f3", "drtp"].map(mean);
    assert!(f3 > drtp, "F³ {f3} %, DRTP {drtp} %");
}

#[test]
fn same_seed_and_threads_give_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let run = |name: &str, seed: &str| {
        let arguments = ["train", "digits", "--quiet", "--run-dir", name, "--seed", seed];
        let sets = ["--set", "epochs=2", "--set", "threads=2", "--set", "model.width=700"];
        succeeds(folder.path(), &[&arguments[..], &sets[..]].concat());
        let model = fs::read(folder.path().join(name).join("model.safetensors")).unwrap();
        (without_times(&metrics(&folder.path().join(name))), model)
    };
    let first = run("a", "5");
    assert_eq!(first, run("b", "5"));
    assert_ne!(first, run("c", "6"));
}

#[test]
fn run_folder_that_is_not_empty_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("run/kept.txt");
    fs::create_dir(kept.parent().unwrap()).unwrap();
    fs::write(&kept, "kept").unwrap();
    let error = fails(folder.path(), &["train", "digits", "--run-dir", "run"], 1);
    assert!(error.contains("run: is not empty"), "{error}");
    assert_eq!(entries(&folder.path().join("run")), ["kept.txt"]);
}

#[test]
fn every_carried_configuration_is_shown_in_full_with_comments() {
    let folder = TempDir::new().unwrap();
    let (list, _) = succeeds(folder.path(), &["config", "list"]);
    let mut names: Vec<String> = list.lines().map(|name| format!("{name}.yaml")).collect();
    names.sort();
    assert_eq!(names, entries(&common::root().join("configs")), "all of configs/ are carried");
    for name in names {
        let (shown, _) = succeeds(folder.path(), &["config", "show", &name]);
        for line in shown.lines().filter(|line| !line.trim_end().ends_with(':')) {
            assert!(line.contains("  # "), "{name}: no comment on `{line}`");
        }
        // What is shown is a configuration, and says the same when it is shown again.
        fs::write(folder.path().join("shown.yaml"), &shown).unwrap();
        assert_eq!(succeeds(folder.path(), &["config", "show", "shown.yaml"]).0, shown);
    }
}

#[test]
fn choice_that_is_set_drops_the_keys_of_the_choice_before() {
    let folder = TempDir::new().unwrap();
    let (shown, stderr) =
        succeeds(folder.path(), &["config", "show", "mnist", "--set", "algorithm.name=bp"]);
    assert!(!shown.contains("error_info") && !shown.contains("feedback_init"), "{shown}");
    assert!(stderr.contains("`algorithm.error_info` does not apply"), "{stderr}");
    assert!(stderr.contains("`algorithm.feedback_init` does not apply"), "{stderr}");
}

#[test]
fn data_sets_are_listed_and_unknown_ones_refused() {
    let folder = TempDir::new().unwrap();
    let (list, _) = succeeds(folder.path(), &["data", "list"]);
    for name in ["mnist", "fashion_mnist", "digits", "cifar10", "wine_quality", "sgemm"] {
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{list}");
    }
    let error = fails(folder.path(), &["data", "fetch", "mnits"], 2);
    assert!(error.contains("mnits") && error.contains("fashion_mnist"), "{error}");
}

#[test]
fn device_that_is_not_there_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = fails(folder.path(), &["train", "digits", "--device", "cuda:99"], 1);
    assert!(error.contains("device `cuda:99`"), "{error}");
    assert!(entries(folder.path()).is_empty(), "nothing was started");
}

#[test]
fn training_that_diverges_stops_and_keeps_the_epochs_before() {
    for algorithm in ["f3", "bp"] {
        let folder = TempDir::new().unwrap();
        let set = format!("algorithm.name={algorithm}");
        let rate = "optimizer.learning_rate=1e300";
        let arguments = ["train", "digits", "--set", rate, "--set", &set, "--run-dir", "run"];
        let error = fails(folder.path(), &arguments, 1);
        assert!(error.contains("epoch 1: the loss has become NaN"), "{error}");
        assert_eq!(metrics(&folder.path().join("run")).len(), 1, "epoch 0 is kept");
        assert!(folder.path().join("run/model.safetensors").is_file());
    }
}

#[test]
fn run_that_only_warns_of_divergence_goes_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let sets = ["optimizer.learning_rate=1e300", "on_nan=warn", "epochs=2"];
    let sets = sets.map(|set| ["--set", set]).concat();
    let train = [&["train", "digits", "--quiet", "--run-dir", "run"][..], &sets].concat();
    let output = f3_tch(path, &train);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    for epoch in [1, 2] {
        let warning =
            format!("warning: epoch {epoch}: the loss has become NaN, in hidden layer 1\n");
        assert!(said.contains(&warning), "{said}");
    }
    let rows = metrics(&path.join("run"));
    assert_eq!(rows.len(), 3);
    let table = |output: Vec<u8>| -> Vec<String> {
        let text = String::from_utf8(output).unwrap();
        text.lines().filter(|line| line.starts_with("test ")).map(String::from).collect()
    };
    let printed = table(output.stdout);
    // NaN looks the same when it has been read from a checkpoint.
    let resumed = f3_tch(path, &["resume", "run", "--quiet"]);
    assert!(resumed.status.success());
    assert_eq!(table(resumed.stdout), printed);
    assert!(printed[0].contains("NaN"), "{printed:?}");

    let images = common::root().join("src/data/digits/images-idx3-ubyte.gz");
    let error = fails(path, &["predict", "run", images.to_str().unwrap(), "-o", "out.csv"], 1);
    assert!(error.contains("the network's answer to sample 1 is NaN or infinite"), "{error}");
    assert!(!path.join("out.csv").exists());
}

#[test]
fn network_larger_than_memory_is_refused_in_a_few_lines() {
    let folder = TempDir::new().unwrap();
    let arguments = ["train", "digits", "--set", "model.width=1000000000000"];
    let error = fails(folder.path(), &arguments, 2);
    assert!(error.contains("`model.width` is `1000000000000`; expected a network that"), "{error}");
    // Where nobody knows how much memory there is, or it is files that are asked for.
    let layer_major = ["--set", "schedule.name=layer_major", "--set", "schedule.offload=files"];
    let error = fails(folder.path(), &[&arguments[..], &layer_major].concat(), 1);
    assert!(error.contains("no memory for a layer of 1000000000000 x 64 weights"), "{error}");
    assert!(!error.contains("frame #"), "{error}");
}

#[test]
fn run_goes_on_when_nobody_listens_to_its_messages() {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["train", "digits", "--set", "epochs=5", "--run-dir", "run"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(metrics(&folder.path().join("run")).len(), 6);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_that_runs_out_is_an_error_of_one_line() {
    // The outputs of an evaluation or of a batch take 3.45 GB, all else much less: the table has one
    // column of inputs. What is loaded takes 0.7 GB, and more where libtorch can use GPUs.
    let folder = TempDir::new().unwrap();
    let rows: String = (0..1800).map(|row| format!("{},{}\n", row % 17, row % 5)).collect();
    fs::write(folder.path().join("table.csv"), format!("x,y\n{rows}")).unwrap();
    let config = "data: {name: csv, path: table.csv, task: regression, targets: y}\nepochs: 1\n\
                  model: {hidden_layers: 1, width: 600000}\nalgorithm: {name: f3}\n\
                  optimizer: {name: adam, learning_rate: 1e-3}\n";
    fs::write(folder.path().join("wide.yaml"), config).unwrap();
    // The fused kernels cut large batches, and evaluate this one.
    let evaluation = "--set data.eval_batch_size=1440 --set kernels=aten";
    let batch = "--set data.eval_batch_size=50 --set data.batch_size=1440";
    let stage = format!("{batch} --set schedule.name=pipelined --set schedule.stages=2");
    let plain = format!("{stage} --set kernels=aten");
    for (number, sets) in [evaluation, batch, &stage, &plain].into_iter().enumerate() {
        let command = format!(
            "ulimit -v 3300000; exec '{PROGRAM}' train wide.yaml --run-dir run-{number} --quiet {sets}"
        );
        let mut shell = Command::new("bash");
        let output = shell.args(["-c", &command]).current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{sets}: {error}");
        assert!(error.starts_with("error: ") && error.lines().count() == 1, "{sets}: {error}");
        assert!(error.contains("memory") && !error.contains("panicked"), "{sets}: {error}");
        assert_eq!(error.contains("saved up to epoch 0"), sets != evaluation, "{sets}: {error}");
    }
}

#[test]
fn diagnostics_leave_a_table_and_curves_and_change_nothing() {
    let folder = TempDir::new().unwrap();
    let run = |name: &str, sets: &[&str]| {
        let mut arguments = vec!["train", "digits", "--quiet", "--run-dir", name];
        for set in [&["epochs=5", "threads=1"], sets].concat() {
            arguments.extend(["--set", set]);
        }
        succeeds(folder.path(), &arguments);
        folder.path().join(name)
    };
    let with = run("with", &["diagnostics.every=2", "diagnostics.samples=100"]);
    let without = run("without", &[]);
    assert_eq!(without_times(&metrics(&with)), without_times(&metrics(&without)));
    assert!(!without.join("diagnostics.csv").exists());
    let tensors = |run: &Path| {
        let mut tensors = Tensor::read_safetensors(run.join("model.safetensors")).unwrap();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        tensors
    };
    assert_eq!(tensors(&with), tensors(&without));

    let mut reader = csv::Reader::from_path(with.join("diagnostics.csv")).unwrap();
    let rows: Vec<HashMap<String, String>> = reader.deserialize().map(|row| row.unwrap()).collect();
    let place = |row: &HashMap<String, String>| {
        (row["epoch"].parse::<u64>().unwrap(), row["hidden_layer"].parse::<u64>().unwrap())
    };
    let places: Vec<(u64, u64)> = rows.iter().map(place).collect();
    assert_eq!(places, [(0, 1), (0, 2), (2, 1), (2, 2), (4, 1), (4, 2)]);
    for row in &rows {
        for column in ["delta_angle_mean", "parameter_angle", "weight_angle"] {
            assert!((0.0..=180.0).contains(&number(row, column)), "{column} in {row:?}");
        }
        // Training has turned the network towards its feedback.
        assert!(row["epoch"] != "4" || number(row, "parameter_angle") < 90.0, "{row:?}");
        assert_eq!(row["error_sign_flips"].is_empty(), row["epoch"] == "0");
    }
    let Some(python) = common::python() else { return };
    let read: Value =
        serde_json::from_str(&common::run_python(&python, "check_run.py", &[&with])).unwrap();
    for (curve, column) in [
        ("angle/delta_mean/hidden_2", "delta_angle_mean"),
        ("angle/delta_deviation/hidden_2", "delta_angle_deviation"),
        ("angle/parameters/hidden_2", "parameter_angle"),
        ("angle/weights/hidden_2", "weight_angle"),
    ] {
        let found: Vec<(u64, f64)> =
            serde_json::from_value(read["scalars"][curve].clone()).unwrap();
        let rows: Vec<&HashMap<String, String>> =
            rows.iter().filter(|row| row["hidden_layer"] == "2").collect();
        assert_eq!(found.len(), rows.len(), "{curve}");
        for ((epoch, value), row) in found.iter().zip(rows) {
            assert_eq!(epoch.to_string(), row["epoch"]);
            assert!(close(*value, number(row, column), 1e-5), "{curve} at epoch {epoch}");
        }
    }
}

#[test]
fn diagnostics_measure_every_algorithm_with_feedback_and_every_model() {
    let folder = TempDir::new().unwrap();
    for (index, algorithm) in ["f3", "dfa", "drtp"].into_iter().enumerate() {
        for (run, model, angle_of_weights) in [
            ("mlp", "{width: [20, 20]}", true),
            ("cnn", "{name: cnn, topology: 4C3-pool}", true), // behind it, all is fully connected
            ("vit", "{name: vit, patch_size: 4, token_width: 8, blocks: 2}", false),
        ] {
            let name = format!("{run}{index}");
            let arguments = ["train", "digits", "--quiet", "--run-dir", &name];
            let sets = [
                "epochs=1".to_string(),
                "diagnostics={every: 1, samples: 50}".to_string(),
                format!("algorithm={{name: {algorithm}}}"),
                format!("model={model}"),
            ];
            let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
            succeeds(folder.path(), &[&arguments[..], &sets].concat());
            let path = folder.path().join(&name).join("diagnostics.csv");
            let mut reader = csv::Reader::from_path(path).unwrap();
            let rows: Vec<HashMap<String, String>> =
                reader.deserialize().map(|row| row.unwrap()).collect();
            assert_eq!(rows[0]["weight_angle"].is_empty(), !angle_of_weights, "{model}");
            assert!(rows.iter().all(|row| number(row, "delta_angle_mean") > 0.0));
        }
    }
}

#[test]
fn schedule_sets_the_step_size_of_each_epoch() {
    let folder = TempDir::new().unwrap();
    let run = |name: &str, schedule: &str| {
        let set = format!("optimizer.schedule={schedule}");
        let arguments = ["train", "digits", "--quiet", "--run-dir", name, "--set", &set];
        succeeds(folder.path(), &[&arguments[..], &["--set", "epochs=4"]].concat());
        metrics(&folder.path().join(name))
    };
    let rows = run("step", "{name: step, step_size: 2, gamma: 0.5, warmup_epochs: 1}");
    let rates: Vec<f64> = rows[1..].iter().map(|row| number(row, "learning_rate")).collect();
    assert_eq!(rates, [2e-3 / 3.0, 2e-3, 2e-3, 1e-3]);
    let constant = run("constant", "{name: constant}");
    assert_ne!(rows[1]["train_loss"], constant[1]["train_loss"]);
}

#[test]
fn pepita_learns_the_digits_with_its_own_defaults() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("pepita.yaml"),
        "{data: {name: digits}, algorithm: {name: pepita}, epochs: 30}",
    )
    .unwrap();
    let (shown, _) = succeeds(folder.path(), &["config", "show", "pepita.yaml"]);
    for line in [
        "batch_size: 64",
        "width: 1024",
        "activation: relu",
        "learning_rate: 0.1",
        "momentum: 0.9",
        "milestones: [60, 90]",
        "dropout: 0.1",
        "loss: cross_entropy",
    ] {
        assert!(shown.contains(line), "no `{line}` in {shown}");
    }
    succeeds(folder.path(), &["train", "pepita.yaml", "--quiet", "--run-dir", "run"]);
    let accuracy = number(metrics(&folder.path().join("run")).last().unwrap(), "test_accuracy");
    assert!(accuracy > 90.0, "{accuracy} %");
}

#[test]
fn regression_reports_its_errors_in_the_table_and_in_curves() {
    let folder = TempDir::new().unwrap();
    let mut text = "a,b,y\n".to_string();
    for row in 0..60 {
        text += &format!("{row},{},{}\n", row % 7, 3 * row + row % 7);
    }
    fs::write(folder.path().join("t.csv"), text).unwrap();
    fs::write(
        folder.path().join("t.yaml"),
        "{data: {name: csv, path: t.csv, task: regression, targets: y, batch_size: 5}, \
         model: {width: 20}, algorithm: {name: f3}, optimizer: {learning_rate: 1e-2}, epochs: 20}",
    )
    .unwrap();
    let (stdout, _) = succeeds(folder.path(), &["train", "t.yaml", "--quiet", "--run-dir", "run"]);
    assert!(stdout.contains("test mae") && !stdout.contains("accuracy"), "{stdout}");
    let run = folder.path().join("run");
    let header = fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_eq!(
        header.lines().next().unwrap(),
        "epoch,processed_samples,train_loss,train_mae,train_mape,train_r2,test_loss,test_mae,\
         test_mape,test_r2,train_seconds,eval_seconds,learning_rate"
    );
    let rows = metrics(&run);
    assert!(number(&rows[20], "test_mae") < 0.3 * number(&rows[0], "test_mae"), "{rows:?}");
    let Some(python) = common::python() else { return };
    let read: Value =
        serde_json::from_str(&common::run_python(&python, "check_run.py", &[&run])).unwrap();
    for part in ["train", "test"] {
        for metric in ["mae", "mape", "r2"] {
            let curve: Vec<(u64, f64)> =
                serde_json::from_value(read["scalars"][format!("{metric}/{part}")].clone())
                    .unwrap();
            assert_eq!(curve.len(), 21);
            let last = number(&rows[20], &format!("{part}_{metric}"));
            assert!(close(curve[20].1, last, 1e-6), "{metric}/{part}");
        }
    }
}

#[path = "../examples/own_block.rs"]
#[allow(dead_code)] // its `main`
mod own_block;

#[test]
fn a_block_of_ones_own_learns() {
    let (before, after) = own_block::train().unwrap();
    assert!(before < 30.0 && after > 90.0, "{before} % before, {after} % after");
}
