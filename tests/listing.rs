//! `f3-tch runs`: the runs that are there, as their folders say.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

fn f3_tch(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Folders and states of the runs, in their order.
fn listed(folder: &Path, arguments: &[&str]) -> Vec<(String, String)> {
    let json = f3_tch(folder, &[&["runs", "--json"], arguments].concat());
    let runs: Vec<Value> = serde_json::from_str(&json).unwrap();
    let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_string();
    runs.iter().map(|run| (text(run, "folder"), text(run, "state"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(folder, state)| (folder.to_string(), state.to_string())).collect()
}

#[test]
fn runs_are_listed_with_their_states_sorted_and_filtered() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let train = |run: &str, more: &[&str]| {
        let arguments = ["train", "digits", "--quiet", "--set", "epochs=2", "--run-dir", run];
        Command::new(PROGRAM).args([&arguments, more].concat()).current_dir(path).output().unwrap()
    };
    train("runs/a/2", &[]);
    train("runs/a/10", &["--set", "algorithm.name=bp"]);
    train("runs/b", &["--set", "optimizer.learning_rate=1e38"]); // is no number after an epoch
    train("runs/c", &[]);
    fs::write(path.join("runs/c/result.json"), "{").unwrap();
    train("runs/d", &[]);
    fs::remove_file(path.join("runs/d/result.json")).unwrap(); // as if it had been killed
    let mut command = Command::new(PROGRAM);
    command.args(["train", "digits", "--quiet", "--set", "epochs=100000", "--run-dir", "runs/e"]);
    let mut running =
        command.current_dir(path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !path.join("runs/e/metrics.csv").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }

    let all = [
        ("runs/a/2", "complete"),
        ("runs/a/10", "complete"),
        ("runs/b", "failed"),
        ("runs/c", "damaged"),
        ("runs/d", "cut_off"),
        ("runs/e", "running"),
    ];
    assert_eq!(listed(path, &[]), pairs(&all));
    assert_eq!(listed(path, &["--algorithm", "bp"]), pairs(&all[1..2]));
    assert_eq!(listed(path, &["--state", "failed"]), pairs(&all[2..3]));
    assert_eq!(listed(path, &["--data", "mnist"]), pairs(&[]));
    assert_eq!(listed(path, &["runs/a"]), pairs(&all[..2]));
    // Two epochs of backpropagation are better than two of F³.
    assert_eq!(listed(path, &["runs/a", "--sort", "metric"])[0], pairs(&all[1..2])[0]);
    let table = f3_tch(path, &["runs"]);
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(
        table.contains("accuracy") && table.contains("2/2") && table.contains("s ago"),
        "{table}"
    );
    // Cut off after epochs that were not evaluated.
    train("runs/f", &["--set", "epochs=6", "--set", "evaluate_every=3"]);
    fs::remove_file(path.join("runs/f/result.json")).unwrap();
    let table = fs::read_to_string(path.join("runs/f/metrics.csv")).unwrap();
    let lines: Vec<&str> = table.split_inclusive('\n').collect();
    fs::write(path.join("runs/f/metrics.csv"), lines[..7].concat()).unwrap();
    let json = f3_tch(path, &["runs", "runs/f", "--json"]);
    let run: Value = serde_json::from_str(&json).unwrap();
    let column = lines[0].split(',').position(|name| name == "test_accuracy").unwrap();
    let accuracy: f64 = lines[4].split(',').nth(column).unwrap().parse().unwrap();
    assert_eq!(
        (&run[0]["epochs"]["done"], &run[0]["metric"]["last"]),
        (&5.into(), &accuracy.into())
    );
    fs::remove_dir_all(path.join("runs/f")).unwrap();

    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(listed(path, &["--state", "cut_off"]).len(), 2);
}
