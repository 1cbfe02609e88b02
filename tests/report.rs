//! Reports of runs, whose folders the tests make up.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::{python, run_python};
use f3_tch::config::Source;
use f3_tch::metrics::Better;
use f3_tch::report::{Entry, Report, ReportSettings};
use f3_tch::run::{Best, EndState, EndedBy, RESULT_VERSION, RunResult, ValueResult};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The keys of `report:` that some lines of YAML give.
fn settings(yaml: &str) -> ReportSettings {
    ReportSettings::read(&Source::parse("test", yaml).unwrap()).unwrap()
}

/// The accuracy of a made-up run in an epoch.
fn accuracy(row: &str, seed: u64, epoch: u64) -> f64 {
    let base = match row {
        "bp" => 97.0,
        "drtp" => 91.0,
        _ => 94.0,
    };
    let noise = ((seed * 7919 + epoch * 104_729 + row.len() as u64 * 31) % 1000) as f64 / 700.0;
    base + noise - 20.0 / (epoch as f64 + 1.0)
}

/// An entry for a run of five epochs.
fn entry(folder: PathBuf, group: &str, row: &str, seed: u64) -> Entry {
    let settings = json!({
        "name": "made-up", "seed": seed, "epochs": 5,
        "algorithm": {"name": row}, "data": {"name": group}, "model": {"width": 100},
    });
    Entry { folder, group: group.into(), row: row.into(), seed, settings }
}

/// Writes `metrics.csv` up to an epoch.
fn write_metrics(entry: &Entry, last: u64) {
    fs::create_dir_all(&entry.folder).unwrap();
    let mut text = "epoch,processed_samples,train_loss,test_loss,test_accuracy,train_seconds,\
                    eval_seconds,learning_rate\n"
        .to_string();
    for epoch in 0..=last {
        let accuracy = accuracy(&entry.row, entry.seed, epoch);
        let loss = (100.0 - accuracy) / 10.0;
        text += &format!("{epoch},{},{loss},{loss},{accuracy},0.5,0.1,0.001\n", epoch * 1000);
    }
    fs::write(entry.folder.join("metrics.csv"), text).unwrap();
}

/// Writes `metrics.csv` and `result.json` of a run of five epochs that has ended.
fn finish(entry: &Entry, state: EndState, error: Option<&str>) {
    write_metrics(entry, 5);
    let value = |epoch| accuracy(&entry.row, entry.seed, epoch);
    let best = (1..=5).max_by(|a, b| value(*a).total_cmp(&value(*b))).unwrap();
    let map =
        |pairs: &[(&str, f64)]| pairs.iter().map(|(key, it)| (key.to_string(), *it)).collect();
    let result = RunResult {
        version: RESULT_VERSION,
        name: "made-up".into(),
        state,
        ended_by: if error.is_some() { EndedBy::Error } else { EndedBy::Epochs },
        error: error.map(String::from),
        epochs: [("done".to_string(), 5), ("wanted".to_string(), 5)].into(),
        seed: entry.seed,
        best_validation_epoch: Some(4),
        metrics: [(
            "test_accuracy".to_string(),
            ValueResult {
                last: Some(value(5)),
                best: Some(Best { epoch: best, value: value(best) }),
                at_best_validation: Some(value(4)),
                better: Better::Higher,
                unit: "%".into(),
            },
        )]
        .into(),
        seconds: map(&[("total", 3.5), ("training", 2.5), ("evaluation", 0.6)]),
        versions: [("f3-tch".to_string(), "0.1.0".to_string())].into(),
        machine: json!({"processor": "made-up", "device": "cpu", "threads": 1}),
        paths: BTreeMap::new(),
        settings: entry.settings.clone(),
    };
    let text = serde_json::to_string(&result).unwrap();
    fs::write(entry.folder.join("result.json"), text).unwrap();
}

/// Complete runs of four rows on two data sets with five seeds, one seed less of `bp`.
fn complete(folder: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for group in ["digits", "mnist"] {
        for row in ["bp", "dfa", "drtp", "F³_a & <b>"] {
            for seed in 1..=if row == "bp" { 4 } else { 5 } {
                let entry = entry(folder.join(format!("{group}-{row}-{seed}")), group, row, seed);
                finish(&entry, EndState::Complete, None);
                entries.push(entry);
            }
        }
    }
    entries
}

/// A report in a folder of its own, and its files by name.
fn write(entries: Vec<Entry>, settings: ReportSettings) -> (TempDir, BTreeMap<String, String>) {
    let folder = TempDir::new().unwrap();
    Report::collect("A <title>", entries, settings).unwrap().write(folder.path()).unwrap();
    let mut files = BTreeMap::new();
    for folder in [folder.path().to_path_buf(), folder.path().join("figures")] {
        for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap()) {
            if file.path().is_file() {
                let name = file.file_name().into_string().unwrap();
                files.insert(name, fs::read_to_string(file.path()).unwrap());
            }
        }
    }
    (folder, files)
}

/// The rows of a CSV file by the names of their columns.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn numbers_equal_those_of_scipy() {
    let Some(python) = python() else { return };
    let runs = TempDir::new().unwrap();
    let (report, _) = write(complete(runs.path()), settings("gap: {from: drtp, to: bp}"));
    let checked = run_python(&python, "report.py", &[report.path()]);
    // In each of two tables: 4 means, 6 differences, 2 shares.
    assert_eq!(checked.trim(), "24");
}

#[test]
fn same_folders_give_the_same_bytes_but_for_the_time_of_the_report() {
    let runs = TempDir::new().unwrap();
    let entries = complete(runs.path());
    let without_time = |mut files: BTreeMap<String, String>| {
        let page = files.get_mut("report.html").unwrap();
        let (start, end) = (page.find("<time").unwrap(), page.find("</time>").unwrap());
        page.replace_range(start..end, "");
        files
    };
    let first = without_time(write(entries.clone(), settings("")).1);
    assert_eq!(first, without_time(write(entries, settings("")).1));
    let times: Vec<&String> = first.keys().filter(|name| first[*name].contains("2.5")).collect();
    assert!(times.contains(&&"results.csv".to_string()), "{times:?}");
}

#[test]
fn a_run_stands_as_its_folder_says() {
    let folder = TempDir::new().unwrap();
    let make = |name: &str, seed| entry(folder.path().join(name), "", "f3", seed);
    let entries: Vec<Entry> =
        ["complete", "running", "interrupted", "cut-off", "failed", "missing"]
            .into_iter()
            .chain(["broken-table", "broken-result"])
            .zip(1..)
            .map(|(name, seed)| make(name, seed))
            .collect();
    let [complete, running, interrupted, cut_off, failed, _, table_is, result_is] = &entries[..]
    else {
        unreachable!()
    };
    finish(complete, EndState::Complete, None);
    finish(interrupted, EndState::Interrupted, None);
    finish(failed, EndState::Failed, Some("the loss is `NaN` & <bad>"));
    for run in [running, cut_off] {
        write_metrics(run, 3);
        let place = run.folder.join("metrics.csv");
        let whole = fs::read_to_string(&place).unwrap();
        fs::write(place, whole + "4,4000,0.1,0.").unwrap(); // is being written
        File::create(run.folder.join(".lock")).unwrap();
    }
    let lock = File::open(running.folder.join(".lock")).unwrap();
    lock.try_lock().unwrap();
    finish(table_is, EndState::Complete, None);
    fs::write(table_is.folder.join("metrics.csv"), "epoch,test_loss\n1,much\n").unwrap();
    finish(result_is, EndState::Complete, None);
    fs::write(result_is.folder.join("result.json"), "{\"version\": 99}").unwrap();

    let (_report, files) = write(entries, settings(""));
    let rows = table(&files["results.csv"]);
    let column = |name: &str| rows.iter().map(|row| row[name].as_str()).collect::<Vec<_>>();
    let states = ["complete", "running", "interrupted", "cut off", "failed", "missing"];
    assert_eq!(column("state"), [&states[..], &["unreadable"; 2]].concat());
    assert_eq!(column("epochs_done")[..6], ["5", "3", "5", "3", "5", "0"]);
    assert_eq!(column("folder")[..2], ["complete", "running"]);
    assert_eq!(rows[1]["test_accuracy_last"], accuracy("f3", 2, 3).to_string());
    let cause = &rows[6]["cause"];
    assert!(cause.contains("metrics.csv: line 2: `much` is no number"), "{cause}");
    let cause = &rows[7]["cause"];
    assert!(cause.contains("version 99"), "{cause}");
    // Only the complete run counts, and a single one has no deviation.
    let means = table(&files["table.csv"]);
    assert_eq!((means[0]["n"].as_str(), means[0]["of"].as_str()), ("1", "8"));
    assert_eq!(means[0]["mean"], accuracy("f3", 1, 5).to_string());
    assert_eq!(means[0]["deviation"], "");
    assert!(files["table.md"].contains("± –") && files["table.md"].contains("1 of 8"));
    let page = &files["report.html"];
    assert!(page.contains("the loss is <code>NaN</code> &amp; &lt;bad&gt;"), "{page}");
}

#[test]
fn what_a_mean_leaves_out_or_was_cut_short_is_remarked_on() {
    let folder = TempDir::new().unwrap();
    let mut entries = complete(folder.path());
    entries.truncate(9);
    let change = |place: usize, change: &dyn Fn(&mut RunResult)| {
        let mut result = RunResult::read(&entries[place].folder).unwrap();
        change(&mut result);
        let text = serde_json::to_string(&result).unwrap();
        fs::write(entries[place].folder.join("result.json"), text).unwrap();
    };
    change(0, &|result| {
        result.ended_by = EndedBy::MaxMinutes;
        result.epochs.insert("done".into(), 3);
    });
    change(4, &|result| result.metrics.get_mut("test_accuracy").unwrap().last = None);
    change(5, &|result| {
        result.epochs.insert("wanted".into(), 50);
    });
    let (_folder, files) = write(entries, settings("metric: test_accuracy"));
    for expected in [
        "`max_minutes` has ended runs of bp (digits), after 3 to 3 epochs",
        "complete runs of dfa (digits) without a finite test accuracy at the last epoch: 1",
        "is a run of 50 epochs in place of 5",
    ] {
        let plain = files["report.html"].replace("<code>", "`").replace("</code>", "`");
        assert!(plain.contains(expected), "{expected}");
    }
    let row = |name: &str| {
        let mut rows = table(&files["table.csv"]).into_iter();
        rows.find(|row| row.values().any(|it| it == name)).unwrap()
    };
    assert!(row("dfa").values().any(|it| it == "3"), "{:?}", row("dfa"));
}

#[test]
fn names_are_escaped_and_the_page_needs_nothing_else() {
    let runs = TempDir::new().unwrap();
    let (_report, files) = write(complete(runs.path()), settings("gap: {from: drtp, to: bp}"));
    let page = &files["report.html"];
    for forbidden in ["<b>", "<script", "src=", "@import", "<link", "<title>A <"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert!(page.contains("F³_a &amp; &lt;b&gt;") || page.contains("F³_a &#38; &#60;b&#62;"));
    assert!(files["table.tex"].contains("F$^3$\\_a \\& $<$b$>$ & "));
    assert!(files["digits-seeds.svg"].contains("F³_a &amp; &lt;b&gt;</text>"));
}

#[test]
fn errors_are_a_hundred_less_the_accuracies() {
    let runs = TempDir::new().unwrap();
    let means = |yaml: &str| table(&write(complete(runs.path()), settings(yaml)).1["table.csv"]);
    let (accuracies, errors) = (means(""), means("error: true"));
    for (accuracy, error) in accuracies.iter().zip(&errors) {
        assert_eq!(error["metric"], "test_error");
        let [accuracy, error] = [accuracy, error].map(|row| row["mean"].parse::<f64>().unwrap());
        assert!((accuracy + error - 100.0).abs() < 1e-10);
    }
}

#[test]
fn a_reference_stands_beside_its_row() {
    let runs = TempDir::new().unwrap();
    let yaml = "reference: {source: the paper, values: {digits: {bp: 98.5}, mnist: {none: 1}}}";
    let (_report, files) = write(complete(runs.path()), settings(yaml));
    let means = table(&files["table.csv"]);
    let with: Vec<_> = means.iter().filter(|row| !row["reference"].is_empty()).collect();
    assert!(with.iter().all(|row| row["group"] == "digits" && row["row"] == "bp"));
    assert_eq!(with.len(), 3); // ways to choose the epoch
    let page = &files["report.html"];
    assert!(page.contains("<code>none</code> of <code>mnist</code>, which is no row here"));
    assert!(files["digits-seeds.svg"].contains("diamond: the paper"));
    assert!(files["table.md"].contains("Reference: the paper."));
}

#[test]
fn a_key_of_numbers_makes_a_row_of_each_and_a_figure() {
    let runs = TempDir::new().unwrap();
    let mut entries = Vec::new();
    for width in [50, 100, 200] {
        for row in ["bp", "f3"] {
            for seed in 1..=3 {
                let name = format!("{row}-{width}-{seed}");
                let mut entry = entry(runs.path().join(name), "", row, seed);
                entry.settings["model"]["width"] = Value::from(width);
                finish(&entry, EndState::Complete, None);
                entries.push(entry);
            }
        }
    }
    let yaml = "x: model.width\ngap: {from: f3, to: bp}\nbaseline: bp";
    let (_report, files) = write(entries, settings(yaml));
    let rows = table(&files["table.csv"]);
    let labels: Vec<(&str, &str)> =
        rows.iter().step_by(3).map(|row| (row["row"].as_str(), row["x"].as_str())).collect();
    let [a, b, c] = ["50", "100", "200"];
    assert_eq!(labels, [("bp", a), ("bp", b), ("bp", c), ("f3", a), ("f3", b), ("f3", c)]);
    assert!(files["x.svg"].contains("Test accuracy in % over model.width"));
    let differences = table(&files["differences.csv"]);
    let pairs: Vec<(&str, &str)> =
        differences.iter().map(|row| (row["row"].as_str(), row["to"].as_str())).collect();
    let pair = [("f3, width 50", "bp, width 50"), ("f3, width 100", "bp, width 100")];
    assert_eq!(pairs[..2], pair);
}

#[test]
fn runs_in_folders_are_called_after_what_makes_them_differ() {
    let folder = TempDir::new().unwrap();
    // The learning rate follows from the algorithm, and checkpoints change no number.
    for (row, rate, width) in [("bp", 0.1, 100), ("f3", 0.2, 100), ("f3", 0.2, 50)] {
        for seed in [2, 10] {
            let place = folder.path().join(format!("deep/{row}-{width}-{seed}"));
            let mut entry = entry(place, "digits", row, seed);
            entry.settings["model"]["width"] = Value::from(width);
            entry.settings["optimizer"] = json!({"learning_rate": rate});
            entry.settings["checkpoint"] = json!({"every": seed});
            finish(&entry, EndState::Complete, None);
            let config = serde_yaml::to_string(&entry.settings).unwrap();
            fs::write(entry.folder.join("config.yaml"), config).unwrap();
        }
    }
    let folders = [folder.path().to_path_buf()];
    let labels = |yaml: &str| {
        let entries = Report::of_runs(&folders, &settings(yaml)).unwrap();
        assert!(entries.iter().all(|entry| entry.group.is_empty() || yaml.contains("group")));
        let seeds: Vec<u64> = entries.iter().map(|entry| entry.seed).collect();
        assert_eq!(seeds, [2, 10, 2, 10, 2, 10]);
        entries.iter().step_by(2).map(|entry| entry.row.clone()).collect::<Vec<_>>()
    };
    assert_eq!(labels(""), ["bp, width 100", "f3, width 50", "f3, width 100"]);
    assert_eq!(labels("x: model.width"), ["bp", "f3", "f3"]);
    assert_eq!(labels("group: model.width"), ["bp", "f3", "f3"]);
    assert_eq!(labels("rows: model.width"), ["width 100", "width 50", "width 100"]);

    let empty = TempDir::new().unwrap();
    let error = Report::of_runs(&[empty.path().to_path_buf()], &settings("")).unwrap_err();
    assert!(error.to_string().contains("holds no run; expected the folder of a run"), "{error}");
}

#[test]
fn impossible_settings_are_refused_with_their_key() {
    let refusal = |yaml: &str| {
        let source = Source::parse("test.yaml", yaml).unwrap();
        ReportSettings::read(&source).unwrap_err().to_string()
    };
    assert!(refusal("metric: test_acc").contains("`metric` is `test_acc`; expected the name of"));
    assert!(
        refusal("gap: {from: a}").contains("`gap` is `a mapping`; expected null or a mapping with")
    );
    assert!(refusal("selects: best").contains("unknown key `selects` (did you mean `select`?)"));
    assert!(refusal("select: first").contains("expected one of last, best, best_validation"));
    assert_eq!(settings("metric: test_loss").metric, ["test_loss"]);
    assert_eq!(settings("rows: algorithm.name").rows, ["algorithm.name"]);
    assert_eq!(settings("curves: []").curves, Some(Vec::new()));
    assert_eq!(ReportSettings::default().rows, ["case"]);
}
