//! Tables of one's own as they are found: with missing values, new names, an identifier, a broken row.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap()
}

/// What it wrote to standard error.
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
    said
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    reader.records().map(|row| row.unwrap().iter().map(str::to_string).collect()).collect()
}

/// 60 people; every tenth age and every twelfth trade is missing, each in another way.
fn people() -> String {
    let rows = (0..60).map(|index| {
        let age = match index % 10 {
            4 if index < 30 => "?".to_string(),
            4 => "NA".to_string(),
            _ => (20 + index % 41).to_string(),
        };
        let trade = if index % 12 == 5 { "?" } else { ["smith", "baker", "poet"][index % 3] };
        format!("p{index:02},{age},{trade},7,{}\n", 1000 + 13 * index)
    });
    "id,age,trade,same,pay\n".to_string() + &rows.collect::<String>()
}

fn config(folder: &Path, name: &str, data: &str) {
    let text = format!(
        "data: {{name: csv, path: people.csv, task: regression, targets: pay, ignore: [id], \
         categorical: [trade], {data}, batch_size: 10}}\nmodel: {{width: 6}}\nalgorithm: {{name: f3}}\n\
         optimizer: {{learning_rate: 1e-3}}\nepochs: 1\n"
    );
    fs::write(folder.join(name), text).unwrap();
}

/// The preparation that a run's model has.
fn preparation(run: &Path) -> Value {
    let bytes = fs::read(run.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let about: Value =
        serde_json::from_str(header["__metadata__"]["f3_tch_model"].as_str().unwrap()).unwrap();
    about["preparation"].clone()
}

#[test]
fn missing_values_are_left_out_or_filled_in() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("people.csv"), people()).unwrap();
    // 6 ages and 5 trades are missing, in one row both (index 41 has none; 4, 14, … and 5, 17, …: none).
    let both = (0..60).filter(|index| index % 10 == 4 && index % 12 == 5).count();
    let lacking = 6 + 5 - both;

    config(path, "dropped.yaml", "missing: ['?', NA]");
    let said = succeeds(path, &["train", "dropped.yaml", "--run-dir", "dropped", "--quiet"]);
    let expected =
        format!("people.csv: {lacking} of 60 rows left out, in which a value is missing");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains(
            "1 column with one value in all training rows, from which nothing can be learnt: same"
        ),
        "{said}"
    );
    assert!(
        said.contains("1 column of names that become 0, 1, 2, …") && said.contains(": trade"),
        "{said}"
    );

    config(path, "category.yaml", "missing: ['?', NA], impute: category, encoding: one_hot");
    let said = succeeds(path, &["train", "category.yaml", "--run-dir", "category", "--quiet"]);
    assert!(
        said.contains("6 of 60 rows left out") && said.contains("5 missing values filled in"),
        "{said}"
    );
    assert!(!said.contains("alphabetical"), "{said}");
    let columns = preparation(&path.join("category"))["inputs"]["table"]["columns"].clone();
    let trade =
        columns.as_array().unwrap().iter().find(|it| it["name"] == "trade").unwrap().clone();
    assert_eq!(trade["coding"]["one_hot"], serde_json::json!(["?", "baker", "poet", "smith"]));

    for (impute, expected) in [("mean", true), ("median", false)] {
        let name = format!("{impute}.yaml");
        config(path, &name, &format!("missing: ['?', NA], impute: {impute}, encoding: one_hot"));
        let said = succeeds(path, &["train", &name, "--run-dir", impute, "--quiet"]);
        assert!(
            said.contains("11 missing values filled in") && !said.contains("left out"),
            "{said}"
        );
        let columns = preparation(&path.join(impute))["inputs"]["table"]["columns"].clone();
        let fill = columns[0]["fill"].as_f64().unwrap();
        assert!(columns[0]["name"] == "age" && (20.0..61.0).contains(&fill), "{columns}");
        assert_eq!((fill * 2.0).fract() != 0.0, expected, "{fill}"); // a median is an age, or between two
    }

    config(path, "wrong.yaml", "impute: mean");
    let said = fails(path, &["train", "wrong.yaml", "--run-dir", "wrong"]);
    assert!(
        said.contains(
            "`data.impute` is `mean`; expected null, since `data.missing` names no marker"
        ),
        "{said}"
    );
}

#[test]
fn every_row_that_can_be_answered_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("people.csv"), people()).unwrap();
    config(path, "a.yaml", "missing: ['?', NA], encoding: one_hot");
    succeeds(path, &["train", "a.yaml", "--run-dir", "a", "--quiet"]);
    let new = "trade,age,id,same,pay\nsmith,30,x1,7,1\ntailor,30,x2,7,2\nsmith,?,x3,7,3\nsmith\npoet,40,x5,7,5\n";
    fs::write(path.join("new.csv"), new).unwrap();

    let said = succeeds(path, &["predict", "a", "new.csv", "-o", "out.csv"]);
    for part in [
        "3 samples without an answer",
        "line 3, column `trade`: is `tailor`; expected one of baker, poet, smith",
        "line 4, column `age`: is `?`; expected a number (training with `data.impute: median` or `mean`",
        "line 5: has 1 column(s); 5 were expected",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let found = rows(&path.join("out.csv"));
    assert_eq!(found[0], ["id", "pay", "predicted_pay"]);
    let answered: Vec<bool> = found[1..].iter().map(|row| !row[2].is_empty()).collect();
    assert_eq!(answered, [true, false, false, false, true]);
    assert_eq!([&found[1][0], &found[5][0]], ["x1", "x5"]);

    let said = fails(path, &["predict", "a", "new.csv", "-o", "strict.csv", "--strict"]);
    assert!(said.contains("line 3, column `trade`") && !path.join("strict.csv").exists(), "{said}");

    // Through pipes.
    let mut child = Command::new(PROGRAM)
        .args(["predict", "a", "-", "-o", "-"])
        .current_dir(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(new.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, fs::read(path.join("out.csv")).unwrap());
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input, line 3"));

    // A marker that reads as a number is none.
    fs::write(path.join("marked.csv"), people().replace("?", "-1").replace("NA", "-1")).unwrap();
    config(path, "m.yaml", "missing: -1, encoding: one_hot");
    let marked =
        fs::read_to_string(path.join("m.yaml")).unwrap().replace("people.csv", "marked.csv");
    fs::write(path.join("m.yaml"), marked).unwrap();
    succeeds(path, &["train", "m.yaml", "--run-dir", "m", "--quiet"]);
    fs::write(path.join("new1.csv"), "trade,age,same\nsmith,30,7\nsmith,-1,7\n").unwrap();
    let said = succeeds(path, &["predict", "m", "new1.csv", "-o", "marked_out.csv"]);
    assert!(
        said.contains("line 3, column `age`: is `-1`; expected a number (training with"),
        "{said}"
    );

    // A place for names that training did not have, and a number for ages that are missing.
    config(
        path,
        "b.yaml",
        "missing: ['?', NA], impute: median, unseen: own_place, encoding: one_hot",
    );
    succeeds(path, &["train", "b.yaml", "--run-dir", "b", "--quiet"]);
    let said = succeeds(path, &["predict", "b", "new.csv", "-o", "all.csv"]);
    assert!(said.contains("1 sample without an answer"), "{said}");
}

#[test]
fn a_table_of_its_own_for_testing_may_have_new_names() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("train.csv"), "a,b,t\n1,x,3\n2,y,4\n3,x,5\n4,y,6\n").unwrap();
    fs::write(path.join("test.csv"), "a,b,t\n1,z,3\n2,y,4\n").unwrap();
    let config = |unseen: &str| {
        let text = format!(
            "data: {{name: csv, train: train.csv, test: test.csv, task: regression, targets: t, \
             categorical: [b], encoding: one_hot, unseen: {unseen}, batch_size: 2}}\nmodel: {{width: 6}}\n\
             algorithm: {{name: f3}}\noptimizer: {{learning_rate: 1e-3}}\nepochs: 1\n"
        );
        fs::write(path.join("a.yaml"), text).unwrap();
    };
    config("refuse");
    let said = fails(path, &["train", "a.yaml", "--run-dir", "a"]);
    let expected = "test.csv, line 2, column `b`: is `z`; expected a value that occurs in";
    assert!(
        said.contains(expected) && said.contains("`data.unseen: own_place` gives others a place"),
        "{said}"
    );
    config("own_place");
    succeeds(path, &["train", "a.yaml", "--run-dir", "a", "--quiet"]);
    let columns = preparation(&path.join("a"))["inputs"]["table"]["columns"].clone();
    assert_eq!(columns[1]["scaling"].as_array().unwrap().len(), 3, "x, y, others");
    succeeds(path, &["evaluate", "a", "-o", "again.csv"]);
    let test = rows(&path.join("again.csv"))[2].clone();
    let metrics = rows(&path.join("a/metrics.csv"));
    let column = metrics[0].iter().position(|name| name == "test_loss").unwrap();
    assert_eq!(test[2], metrics.last().unwrap()[column]);
}

#[test]
fn metrics_are_in_the_targets_own_units() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let rows_of: String =
        (0..50).map(|index| format!("{index},{}\n", 5000 + 100 * index)).collect();
    fs::write(path.join("people.csv"), format!("age,pay\n{rows_of}")).unwrap();
    let text = "data: {name: csv, path: people.csv, task: regression, targets: pay, batch_size: 5}\n\
                model: {width: 6}\nalgorithm: {name: f3}\noptimizer: {learning_rate: 1e-2}\nepochs: 5\n";
    fs::write(path.join("a.yaml"), text).unwrap();
    succeeds(path, &["train", "a.yaml", "--run-dir", "a", "--quiet"]);
    // The program's answers, measured by hand.
    succeeds(path, &["predict", "a", "people.csv", "-o", "answers.csv"]);
    let all = "data: {name: csv, train: people.csv, test: people.csv, task: regression, targets: pay}\n\
               model: {width: 6}\nalgorithm: {name: f3}\noptimizer: {learning_rate: 1e-2}\n";
    fs::write(path.join("all.yaml"), all).unwrap();
    succeeds(path, &["evaluate", "a", "--data", "all.yaml", "-o", "metrics.csv"]);
    let pairs: Vec<(f64, f64)> = rows(&path.join("answers.csv"))[1..]
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap()))
        .collect();
    let count = pairs.len() as f64;
    let mean = pairs.iter().map(|(target, _)| target).sum::<f64>() / count;
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(t, y)| of(*t, *y)).sum::<f64>();
    let expected = [
        sum(&|t, y| (t - y).abs()) / count,
        sum(&|t, y| (t - y).abs() / t.abs()) / count,
        1.0 - sum(&|t, y| (t - y).powi(2)) / sum(&|t, _| (t - mean).powi(2)),
    ];
    let table = rows(&path.join("metrics.csv"));
    assert_eq!(table[0], ["part", "samples", "loss", "mae", "mape", "r2"]);
    for (cell, expected) in table[2][3..].iter().zip(expected) {
        let found: f64 = cell.parse().unwrap();
        assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }
    let shown = f3_tch(path, &["evaluate", "a"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let first: Vec<&str> =
        shown.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["train", "samples", "loss", "mae", "mape", "r2"], "{shown}");
}

#[test]
fn a_number_that_is_taken_for_a_class_is_remarked_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let table: String = (0..300).map(|index| format!("{},{}\n", index % 17, index)).collect();
    fs::write(path.join("a.csv"), format!("x,price\n{table}")).unwrap();
    let text = "data: {name: csv, path: a.csv, task: classification, targets: price, batch_size: 5}\n\
                model: {width: 6}\nalgorithm: {name: f3}\noptimizer: {learning_rate: 1e-3}\nepochs: 1\n";
    fs::write(path.join("a.yaml"), text).unwrap();
    let said = succeeds(path, &["train", "a.yaml", "--run-dir", "a", "--quiet"]);
    assert!(said.contains("the target `price` has 300 classes, all of them numbers"), "{said}");
}

#[test]
fn paths_are_looked_for_beside_a_configuration_and_those_that_it_extends() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("all/base")).unwrap();
    fs::write(path.join("all/base/people.csv"), people()).unwrap();
    config(&path.join("all/base"), "b.yaml", "missing: ['?', NA]");
    fs::write(path.join("all/top.yaml"), "extends: base/b.yaml\nepochs: 2\n").unwrap();
    for (number, name) in ["all/base/b.yaml", "all/top.yaml"].iter().enumerate() {
        let run = format!("run{number}");
        succeeds(path, &["train", name, "--run-dir", &run, "--quiet"]);
        succeeds(path, &["evaluate", &run]);
        // From another folder, too.
        let run = format!("../../{run}");
        succeeds(&path.join("all/base"), &["evaluate", &run]);
        succeeds(&path.join("all/base"), &["resume", &run, "--epochs", "5"]);
    }
    fs::copy(path.join("run0/model.safetensors"), path.join("all/start.safetensors")).unwrap();
    fs::write(path.join("all/again.yaml"), "extends: top.yaml\ninit_from: start.safetensors\n")
        .unwrap();
    succeeds(path, &["train", "all/again.yaml", "--run-dir", "again", "--quiet"]);
}

/// Markers are cells as they are read: without spaces, and numbers however they are written.
#[test]
fn markers_of_missing_values_are_cells_as_they_are_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let table = people().replace("?", "-999.0").replace("NA", " ? ");
    fs::write(path.join("people.csv"), table).unwrap();
    config(path, "a.yaml", "missing: [' ?', -999], impute: median, encoding: one_hot");
    let said = succeeds(path, &["train", "a.yaml", "--run-dir", "a", "--quiet"]);
    assert!(said.contains("11 missing values filled in"), "{said}");
    fs::write(path.join("new.csv"), "trade,age,same\nsmith,-999,7\nsmith,-999.00,7\n").unwrap();
    succeeds(path, &["predict", "a", "new.csv", "-o", "out.csv"]);
    let found = rows(&path.join("out.csv"));
    assert!(found[1] == found[2] && !found[1][0].is_empty(), "{found:?}");

    let table = people();
    let whole = table.lines().filter(|line| !line.contains('?') && !line.contains("NA"));
    fs::write(path.join("people.csv"), whole.collect::<Vec<_>>().join("\n")).unwrap();
    config(path, "none.yaml", "missing: [none, -1], encoding: one_hot");
    let said = succeeds(path, &["train", "none.yaml", "--run-dir", "none", "--quiet"]);
    assert!(said.contains("people.csv: no value is missing (`data.missing`)"), "{said}");
    config(path, "word.yaml", "encoding: one_hot");
    fs::write(path.join("people.csv"), people()).unwrap();
    let said = fails(path, &["train", "word.yaml", "--run-dir", "word", "--quiet"]);
    assert!(said.contains("a finite number (`data.missing` lists what stands for none)"), "{said}");
}
