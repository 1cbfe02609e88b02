//! Runs beside each other: the list of `f3-tch runs`, and what TensorBoard makes of several.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use f3_tch::run::{Folder, RunResult};
use serde_json::Value;
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
fn runs_are_listed_with_their_states() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let run = |name: &str| path.join("runs").join(name);
    for (name, seed) in
        [("a/2", "seed=2"), ("a/10", "seed=10"), ("cut", "seed=1"), ("on", "seed=1")]
    {
        trains(path, &format!("runs/{name}"), &[seed]);
    }
    trains(path, "runs/b/deep/er", &["algorithm.name=bp"]);
    trains(path, "runs/broken", &[]);
    assert_eq!(
        train(path, "runs/fails", &["optimizer.learning_rate=1e300"]).status.code(),
        Some(1)
    );
    fs::write(run("broken/result.json"), "{").unwrap();
    for name in ["cut", "on"] {
        fs::remove_file(run(name).join("result.json")).unwrap();
    }
    let table = run("on").join("metrics.csv");
    let rows = fs::read_to_string(&table).unwrap();
    fs::write(&table, rows.clone() + "3,43").unwrap(); // is being written
    let on = Folder::open(run("on")).unwrap();

    let runs = listed(path, &[]);
    let expected = [
        ("runs/a/2", "complete", 2),
        ("runs/a/10", "complete", 2),
        ("runs/b/deep/er", "complete", 2),
        ("runs/broken", "damaged", 0),
        ("runs/cut", "cut_off", 2),
        ("runs/fails", "failed", 0),
        ("runs/on", "running", 2),
    ];
    let found: Vec<_> = runs
        .iter()
        .map(|run| {
            let text = |key: &str| run[key].as_str().unwrap();
            (text("folder"), text("state"), run["epochs"]["done"].as_u64().unwrap_or(0))
        })
        .collect();
    assert_eq!(found, expected);
    assert!(runs[3]["error"].as_str().unwrap().contains("is no result of a run"));
    assert!(runs[5]["error"].as_str().unwrap().contains("the loss has become NaN"));
    // The table of a run under way says the same as the result of one that has ended.
    let metric = |index: usize| runs[index]["metric"].clone();
    assert_eq!((&metric(4), metric(4)["name"].as_str()), (&metric(6), Some("test_accuracy")));
    let result = RunResult::read(&run("a/2")).unwrap();
    assert_eq!(metric(0)["last"].as_f64(), result.metrics["test_accuracy"].last);
    assert_eq!((&runs[1]["seed"], &runs[1]["data"]), (&10.into(), &"digits".into()));

    let shown = succeeds(path, &["runs"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 8, "{shown}");
    assert!(lines[1].starts_with("runs/a/2 ") && lines[1].contains(" 2/2 "), "{shown}");
    assert!(lines[1].ends_with(" ago") && lines[1].contains(" f3 "), "{shown}");
    assert!(lines[4].contains("damaged") && lines[4].contains("is no result of a run"), "{shown}");
    assert!(lines[5].contains(" cut off "), "{shown}");

    drop(on);
    assert_eq!(folders(&listed(path, &["--state", "cut_off"])), ["runs/cut", "runs/on"]);
    assert_eq!(folders(&listed(path, &["--algorithm", "bp"])), ["runs/b/deep/er"]);
    assert!(listed(path, &["--data", "mnist"]).is_empty());
    assert_eq!(folders(&listed(path, &["runs/a"])), ["runs/a/2", "runs/a/10"]);
    assert_eq!(folders(&listed(path, &["runs/a/2"])), ["runs/a/2"], "it is a run itself");
    let sorted = listed(path, &["--sort", "metric", "--state", "complete"]);
    let values: Vec<f64> =
        sorted.iter().map(|run| run["metric"]["last"].as_f64().unwrap()).collect();
    assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    let times: Vec<f64> = listed(path, &["--sort", "age"])
        .iter()
        .map(|run| run["modified"].as_f64().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    assert_eq!(f3_tch(path, &["runs", "nowhere"]).status.code(), Some(1));
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
    trains(path, "run", &[]);
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
