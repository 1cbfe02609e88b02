//! Runs beside each other: the list of `f3-tch runs`, and what TensorBoard makes of several.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use f3_tch::run::{Folder, RunResult};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

/// Runs the program in a folder.
fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap()
}

/// What the program prints.
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Trains on the digits for two epochs, if nothing else is set.
fn train(folder: &Path, run: &str, sets: &[&str]) -> Output {
    let mut arguments = vec!["train", "digits", "--quiet", "--run-dir", run];
    let sets = ["epochs=2", "threads=1", "model.width=20"].iter().chain(sets);
    sets.for_each(|set| arguments.extend(["--set", set]));
    f3_tch(folder, &arguments)
}

fn trains(folder: &Path, run: &str, sets: &[&str]) {
    let output = train(folder, run, sets);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What `f3-tch runs --json` says with further arguments.
fn listed(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let printed = succeeds(folder, &[&["runs", "--json"], arguments].concat());
    serde_json::from_str(&printed).unwrap()
}

fn folders(runs: &[Value]) -> Vec<&str> {
    runs.iter().map(|run| run["folder"].as_str().unwrap()).collect()
}

#[test]
fn run_without_a_result_is_listed_with_the_numbers_of_its_last_whole_row() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    trains(path, "runs/done", &["seed=7"]);
    let ended = &listed(path, &[])[0];
    let result = RunResult::read(&path.join("runs/done")).unwrap();
    assert_eq!(ended["metric"]["last"].as_f64(), result.metrics["test_accuracy"].last);
    assert_eq!((&ended["seed"], &ended["data"]), (&7.into(), &"digits".into()));
    assert_eq!(ended["epochs"], json!({"done": 2, "wanted": 2}));

    fs::remove_file(path.join("runs/done/result.json")).unwrap();
    let table = path.join("runs/done/metrics.csv");
    let rows = fs::read_to_string(&table).unwrap();
    fs::write(&table, rows + "3,43").unwrap(); // is being written
    let lock = Folder::open(path.join("runs/done")).unwrap();
    for state in ["running", "cut_off"] {
        if state == "cut_off" {
            fs::remove_file(path.join("runs/done/.lock")).unwrap();
        }
        let [begun] = &listed(path, &["--state", state])[..] else { panic!("not {state}") };
        for key in ["metric", "epochs", "seed", "data", "algorithm"] {
            assert_eq!(begun[key], ended[key], "{key} while {state}");
        }
    }
    drop(lock);
}

#[test]
fn runs_that_failed_or_are_damaged_are_listed_with_their_causes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    assert_eq!(train(path, "runs/nan", &["optimizer.learning_rate=1e300"]).status.code(), Some(1));
    for (run, file, text) in [
        ("other", "result.json", "{\"version\": 99}"),
        ("config", "config.yaml", "a: [\n"),
        ("table", "config.yaml", "epochs: 3\n"),
    ] {
        let run = path.join("runs").join(run);
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join(file), text).unwrap();
        fs::write(run.join("metrics.csv"), "epoch,test_loss\n0,many\n").unwrap();
    }
    let runs = listed(path, &[]);
    assert_eq!(
        folders(&runs),
        ["config", "nan", "other", "table"].map(|run| format!("runs/{run}"))
    );
    let shown = succeeds(path, &["runs"]);
    for (index, state, cause) in [
        (0, "damaged", "config.yaml: is no configuration"),
        (1, "failed", "the loss has become NaN"),
        (2, "damaged", "is of version 99 of the format"),
        (3, "damaged", "`many` in column `test_loss`"),
    ] {
        assert_eq!(runs[index]["state"], state);
        assert!(runs[index]["error"].as_str().unwrap().contains(cause), "{}", runs[index]);
        assert!(shown.lines().nth(index + 1).unwrap().contains(cause), "{shown}");
    }
    assert_eq!(f3_tch(path, &["runs", "nowhere"]).status.code(), Some(1));
}

#[test]
fn losses_are_sorted_with_the_smallest_first_and_behind_accuracies() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    trains(path, "runs/classes", &[]);
    let rows: String = (0..40).map(|x| format!("{x},{}\n", 2 * x)).collect();
    fs::write(path.join("line.csv"), format!("x,y\n{rows}")).unwrap();
    let config = "data: {name: csv, path: line.csv, targets: y, task: regression, batch_size: 8}\n\
                  model: {width: 5}\noptimizer: {learning_rate: 1e-3}\nalgorithm: {name: bp}\n";
    fs::write(path.join("line.yaml"), config).unwrap();
    for epochs in ["2", "60", "20"] {
        let (set, run) = (format!("epochs={epochs}"), format!("runs/{epochs}"));
        succeeds(path, &["train", "line.yaml", "--quiet", "--set", &set, "--run-dir", &run]);
    }
    let sorted = listed(path, &["--sort", "metric"]);
    assert_eq!(folders(&sorted), ["classes", "60", "20", "2"].map(|run| format!("runs/{run}")));
    assert_eq!(sorted[1]["metric"]["name"], "test_loss");
    let times: Vec<f64> = listed(path, &["--sort", "age"])
        .iter()
        .map(|run| run["modified"].as_f64().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    assert_eq!(folders(&listed(path, &["runs/60"])), ["runs/60"], "it is a run itself");
}

#[test]
#[cfg(unix)]
fn links_are_followed_once() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for run in ["runs/z/1", "elsewhere/2", "runs/.hidden/3", "runs/z/1/checkpoints/4"] {
        fs::create_dir_all(path.join(run)).unwrap();
        fs::write(path.join(run).join("result.json"), "{}").unwrap();
    }
    symlink(path.join("runs"), path.join("runs/z/up")).unwrap();
    symlink(path.join("runs/z/1"), path.join("runs/a")).unwrap();
    symlink(path.join("elsewhere"), path.join("runs/b")).unwrap();
    symlink(path.join("elsewhere"), path.join("runs/c")).unwrap();
    let found = RunResult::find(&path.join("runs")).unwrap();
    assert_eq!(found, ["runs/b/2", "runs/z/1"].map(|run| path.join(run)));
}

#[test]
fn tensorboard_compares_runs_by_their_settings() {
    let Some(python) = common::python() else { return };
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    trains(path, "f3", &["seed=3"]);
    trains(path, "bp", &["algorithm.name=bp", "model.hidden_layers=1", "model.width=[30]"]);
    let printed = common::run_python(&python, "hparams.py", &[path]);
    let read: Value = serde_json::from_str(&printed).unwrap();
    let differ: Vec<&str> =
        read["differ"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    assert_eq!(differ, ["algorithm.name", "model.hidden_layers", "model.width", "seed"]);
    for (name, algorithm, seed) in [("f3", "f3", 3.0), ("bp", "bp", 1.0)] {
        let run = &read["runs"][name];
        let hparams = &run["hparams"];
        assert_eq!(
            (&hparams["algorithm.name"], &hparams["seed"]),
            (&algorithm.into(), &seed.into())
        );
        assert_eq!(hparams["data.batch_size"], 10.0);
        assert_eq!(hparams["algorithm.error_info"].is_null(), name == "bp");
        for key in ["name", "threads", "device", "epochs", "kernels"] {
            assert!(hparams[key].is_null(), "{key}");
        }
        assert_eq!(run["status"], "STATUS_SUCCESS");
        assert!(run["start"].as_f64() < run["end"].as_f64());
        let result = RunResult::read(&path.join(name)).unwrap();
        let accuracy = result.metrics["test_accuracy"].last.unwrap();
        assert!(common::close(run["metrics"]["accuracy/test"].as_f64().unwrap(), accuracy, 1e-6));
        let config = fs::read_to_string(path.join(name).join("config.yaml")).unwrap();
        let (_, config) = config.split_once('\n').unwrap(); // behind the line with the versions
        let text = run["text"].as_str().unwrap();
        assert_eq!(text.trim_end(), format!("```yaml\n{}\n```", config.trim_end()));
        assert_eq!(run["plugin"], "text");
    }
}

/// The lengths of the records of the run's event file, of which there is one.
fn record_lengths(run: &Path) -> (String, Vec<u64>) {
    let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names = names.map(|name| name.into_string().unwrap());
    let name = names.find(|name| name.starts_with("events.")).unwrap();
    assert!(!names.any(|name| name.starts_with("events.")), "two event files");
    let bytes = fs::read(run.join(&name)).unwrap();
    let (mut lengths, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((length, _)) = rest.split_first_chunk() {
        let length = u64::from_le_bytes(*length);
        lengths.push(length);
        rest = &rest[length as usize + 16..];
    }
    (name, lengths)
}

#[test]
fn records_of_an_event_file_keep_their_places_when_the_run_is_resumed() {
    let folder = TempDir::new().unwrap();
    let (path, run) = (folder.path(), folder.path().join("run"));
    trains(path, "run", &["optimizer.schedule={name: constant}"]);
    let (name, mut before) = record_lengths(&run);
    assert_eq!(before.len(), 2 + 3 + 1, "the header, three rows and an end");
    // More digits, further epochs, and nothing to do.
    for (epochs, records) in [("12", 6 + 10 + 1), ("13", 17 + 1 + 1), ("13", 19)] {
        succeeds(path, &["resume", "run", "--epochs", epochs, "--quiet"]);
        let (same, lengths) = record_lengths(&run);
        assert_eq!((&same, lengths.len()), (&name, records));
        assert!(lengths.starts_with(&before), "{before:?} became {lengths:?}");
        before = lengths;
    }
    // Another text where a setting was: a TensorBoard that reads the old file must not see it change.
    let config = run.join("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let other = text.replace("name: constant ", "name: cosine ");
    assert_ne!(text, other);
    fs::write(&config, other).unwrap();
    fs::rename(run.join(&name), run.join("events.out.tfevents.1.f3-tch")).unwrap();
    succeeds(path, &["resume", "run", "--epochs", "14", "--quiet"]);
    let (new, lengths) = record_lengths(&run);
    assert!(new != "events.out.tfevents.1.f3-tch" && lengths.len() == 2 + 15 + 1, "{new}");
}
