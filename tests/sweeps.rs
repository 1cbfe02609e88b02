//! Sweeps: what is planned, and that what is trained does not depend on how often the work was cut off,
//! or on what was trained beside it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use common::{LeftBehind, left_behind};
use f3_tch::data::DataDirectory;
use f3_tch::run::RunResult;
use f3_tch::sweep::{Outcome, Plan, RunState, SweepEvent, SweepFile, Work, carried_names};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

/// A plan whose runs are in a folder.
fn plan_in(folder: &Path, yaml: &str) -> Result<Plan, String> {
    let file = SweepFile::parse("test", yaml).map_err(|error| error.0)?;
    Plan::new(file, folder).map_err(|error| error.0)
}

fn plan(yaml: &str) -> Result<Plan, String> {
    plan_in(Path::new("runs"), yaml)
}

/// Rows with their seeds.
fn rows(plan: &Plan) -> BTreeMap<&str, Vec<u64>> {
    let mut rows = BTreeMap::<&str, Vec<u64>>::new();
    for run in &plan.runs {
        rows.entry(&run.row).or_default().push(run.seed);
    }
    rows
}

#[test]
fn runs_are_the_cross_product_and_beside_it_the_cases() {
    let yaml = "base: mnist\n\
                vary: {algorithm.name: [bp, f3], seed: 1..3}\n\
                cases:\n  F³-Loss: {algorithm.name: f3, algorithm.error_info: delayed_loss}\n  \
                PEPITA: {base: mnist_pepita}\n  seven: {seed: 7, algorithm.name: bp}\n";
    let plan = plan(yaml).unwrap();
    let seeds = vec![1, 2, 3];
    let expected = [
        ("F³-Loss", seeds.clone()),
        ("PEPITA", seeds.clone()),
        ("bp", seeds.clone()),
        ("f3", seeds),
        ("seven", vec![7]),
    ];
    assert_eq!(rows(&plan), expected.into());
    let names: BTreeSet<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names.len(), 13, "each has a folder of its own");
    assert!(names.iter().any(|name| name.starts_with("mnist-F3-Loss-seed2-")), "{names:?}");
    assert!(plan.runs.iter().all(|run| plan.config(run).unwrap().0.threads == Some(1)));
}

#[test]
fn cases_are_crossed_with_what_they_leave_open() {
    let yaml = "base: [digits, mnist]\nvary: {model.width: [10, 20], seed: 1..2}\n\
                cases: {A: {algorithm.name: bp}, B: {base: mnist_dfa, model.width: 10}}\n";
    let plan = plan(yaml).unwrap();
    let found: BTreeMap<&str, usize> =
        rows(&plan).into_iter().map(|(row, seeds)| (row, seeds.len())).collect();
    let expected = [
        ("digits, width 10", 2),
        ("digits, width 20", 2),
        ("mnist, width 10", 2),
        ("mnist, width 20", 2),
        ("A, digits, width 10", 2),
        ("A, digits, width 20", 2),
        ("A, mnist, width 10", 2),
        ("A, mnist, width 20", 2),
        ("B", 2),
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn cases_that_leave_all_open_are_all_there_is() {
    let cases = plan("base: digits\nvary: {seed: 1..2}\ncases: {A: , B: {algorithm.name: bp}}\n");
    assert_eq!(rows(&cases.unwrap()), [("A", vec![1, 2]), ("B", vec![1, 2])].into());
    assert_eq!(
        rows(&plan("base: digits\nvary: {seed: 1..2}\n").unwrap()),
        [("digits", vec![1, 2])].into()
    );
}

#[test]
fn values_that_are_there_twice_count_once() {
    let plan =
        plan("base: digits\nvary: {seed: [1, 1..2, 2], algorithm.name: [bp, f3, bp]}\n").unwrap();
    assert_eq!(rows(&plan), [("bp", vec![1, 2]), ("f3", vec![1, 2])].into());
}

#[test]
fn case_over_several_bases_has_a_row_for_each() {
    let yaml = "base: [digits, mnist]\ncases: {A: {algorithm.name: bp}}\n";
    let both = plan(yaml).unwrap();
    assert_eq!(both.runs.iter().map(|run| &run.row).collect::<Vec<_>>(), ["A, digits", "A, mnist"]);
    let tables = plan(&format!("{yaml}report: {{group: data.name}}\n")).unwrap();
    assert!(tables.runs.iter().all(|run| run.row == "A"));
}

#[test]
fn result_that_cannot_be_read_is_not_trained_over() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("result.json"), "{\"version\": 2}").unwrap();
    let state = RunState::of(folder.path());
    assert!(
        matches!(&state, RunState::Failed { cause, .. } if cause.contains("version 2")),
        "{state:?}"
    );
}

#[test]
fn settings_that_are_equal_have_one_folder() {
    let yaml = "base: digits\nvary: {algorithm.name: [f3, bp], seed: [1]}\ncases: {F3: {algorithm.name: f3}}\n";
    let plan = plan(yaml).unwrap();
    assert_eq!(plan.runs.len(), 3);
    assert_eq!(plan.each_once(None).len(), 2);
    assert_eq!(plan.runs[0].folder, plan.runs[2].folder);
    // Also if another sweep has named it.
    let folder = TempDir::new().unwrap();
    let there = plan.runs[0].name.replace("digits", "other");
    let there_folder = folder.path().join("test").join(&there);
    fs::create_dir_all(&there_folder).unwrap();
    fs::write(there_folder.join("config.yaml"), "").unwrap();
    let again = plan_in(folder.path(), &yaml.replace("digits", "digits.yaml")).unwrap();
    assert_eq!(again.runs[0].name, there);
}

#[test]
fn rows_and_tables_may_come_from_keys() {
    let yaml = "base: [digits, mnist]\nvary: {algorithm.name: [bp, f3], seed: 1..2}\n\
                report: {rows: [algorithm.name, seed], group: data.name}\n";
    let plan = plan(yaml).unwrap();
    let run = plan.runs.last().unwrap();
    assert_eq!((run.group.as_str(), run.row.as_str()), ("mnist", "f3, 2"));
}

#[test]
fn every_complaint_names_its_place_before_anything_is_trained() {
    for (yaml, complaint) in [
        ("base: digitz", "test: `base`: digitz: no such file"),
        ("vary: {seed: 1..2}", "test: `base` is missing"),
        ("base: digits\nvari: {seed: 1}", "unknown key `vari` (did you mean `vary`?)"),
        (
            "base: digits\nvary: {seed: []}",
            "`vary.seed` is `[]`; expected a list with at least one",
        ),
        ("base: digits\nvary: {seed: 3..1}", "`vary.seed` is `3..1`; expected a range"),
        ("base: digits\nvary: {sed: 1..2}", "test: vary: unknown key `sed` (did you mean `seed`?)"),
        ("base: digits\ncases: {A: 3}", "`cases.A` is `3`; expected a mapping of keys"),
        (
            "base: digits\ncases: {A: {base: {}}}",
            "`cases.A.base` is `a mapping`; expected the name",
        ),
        ("base: digits\ncases: {A: {epochs: 0}}", "test: cases.A: `epochs` is `0`"),
        ("base: digits\nset: {threads: x}", "test: set: `threads` is `x`"),
        (
            "base: digits\nvary: {model.width: [5], model: [{name: mlp}]}",
            "`model` is varied beside",
        ),
        (
            "base: digits\nvary: {seed: 1..999999, epochs: 1..999999}",
            "more than 1000000 combinations",
        ),
        (
            "base: digits\nreport: {rows: nonsense.key}",
            "`report.rows` is `nonsense.key`; expected a key",
        ),
        ("base: digits\ncases: {'': {}}", "expected a name in front of the keys"),
        // Only the data tell.
        ("base: digits\nvary: {data.batch_size: [10, 5000]}", "at most the 1438 training samples"),
        ("base: digits\nname: a/b", "`name` is `a/b`"),
    ] {
        let error = plan(yaml).err().unwrap_or_default();
        assert!(error.contains(complaint), "{yaml}: {error}");
    }
    let error =
        plan("base: digits\nvary: {model.width: [x, y], algorithm.name: [z]}").err().unwrap();
    assert_eq!(error.lines().count(), 3, "each complaint once: {error}");
}

#[test]
fn sets_and_scales_are_laid_over_a_sweep() {
    let yaml = "base: digits\nvary: {seed: 1..10}\nscales: {quick: {epochs: 2, seed: 1..2}}\n";
    let with = |change: fn(&mut SweepFile)| {
        let mut file = SweepFile::parse("test", yaml).unwrap();
        change(&mut file);
        Plan::new(file, Path::new("runs")).unwrap()
    };
    let quick = with(|file| file.scale("quick").unwrap());
    assert_eq!(rows(&quick), [("digits", vec![1, 2])].into());
    assert!(quick.runs.iter().all(|run| run.epochs == 2));
    let set = with(|file| {
        file.set("seed=4,7..8").unwrap();
        file.set("epochs=3").unwrap();
    });
    assert_eq!(rows(&set), [("digits", vec![4, 7, 8])].into());
    assert!(set.runs.iter().all(|run| run.epochs == 3));
    let in_brackets = with(|file| file.set("seed=[4, 7..8]").unwrap());
    assert_eq!(rows(&in_brackets), [("digits", vec![4, 7, 8])].into());
    // Brackets make one value where lists are varied.
    let mut widths =
        SweepFile::parse("test", "base: digits\nvary: {model.width: [5, [5, 5]]}").unwrap();
    widths.set("model.width=[7, 9]").unwrap();
    let runs = Plan::new(widths, Path::new("runs")).unwrap().runs;
    assert_eq!(runs.len(), 1, "{:?}", runs.iter().map(|run| &run.name).collect::<Vec<_>>());
    let error = SweepFile::parse("test", yaml).unwrap().scale("slow").unwrap_err();
    assert_eq!(error.0, "test: the scale is `slow`; expected one of quick");
}

#[test]
fn shards_divide_the_runs() {
    let plan = plan("base: digits\nvary: {seed: 1..11}\n").unwrap();
    let mut all: Vec<&str> = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let runs = plan.each_once(Some(shard.parse().unwrap()));
        assert!((3..=4).contains(&runs.len()));
        all.extend(runs.iter().map(|run| run.name.as_str()));
    }
    assert_eq!(all.len(), 11);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 11);
    for shard in ["0/3", "4/3", "1/0", "1", "a/b"] {
        assert!(shard.parse::<f3_tch::sweep::Shard>().is_err(), "{shard}");
    }
}

#[test]
fn ten_thousand_runs_are_planned() {
    let yaml = "base: mnist\nvary: {algorithm.name: [bp, f3], model.width: 1..50, seed: 1..100}\n";
    assert_eq!(plan(yaml).unwrap().each_once(None).len(), 10_000);
}

#[test]
fn carried_sweeps_can_be_planned_at_every_scale() {
    for name in carried_names() {
        let scales = SweepFile::open(name).unwrap().scales();
        assert!(
            ["smoke", "quick", "paper"].iter().all(|scale| scales.contains(&scale.to_string()))
        );
        for scale in scales {
            let mut file = SweepFile::open(name).unwrap();
            file.scale(&scale).unwrap();
            assert!(!file.about().is_empty());
            let plan = Plan::new(file, Path::new("runs")).unwrap();
            let seeds: BTreeSet<u64> = plan.runs.iter().map(|run| run.seed).collect();
            let expected = match scale.as_str() {
                "paper" => 10,
                "quick" | "short" => 1,
                _ => 2,
            };
            assert_eq!(seeds.len(), expected, "{name} {scale}");
            let rows: BTreeSet<&str> = plan.runs.iter().map(|run| run.row.as_str()).collect();
            assert!(!rows.contains("mnist"), "{name}: nothing but the cases");
        }
    }
}

/// A small network on digits, in epochs of some milliseconds.
const QUICK: &str = "base: digits\n\
     set: {model.width: 40, data.batch_size: 32, data.train_samples: 600, epochs: 12}\n";

/// Writes a sweep file into a folder.
fn write(folder: &Path, yaml: &str) {
    fs::write(folder.join("s.yaml"), yaml).unwrap();
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    command(folder, arguments).spawn().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Trains the whole sweep; gives the exit code and what was said.
fn sweep(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["sweep", "run", "s.yaml"], arguments].concat();
    said(&command(folder, &arguments).output().unwrap())
}

/// What each run of a sweep has left behind, by the names of the folders.
fn all_left_behind(folder: &Path) -> BTreeMap<String, LeftBehind> {
    let runs = fs::read_dir(folder.join("runs/s")).unwrap().map(|run| run.unwrap());
    let runs = runs.filter(|run| run.path().is_dir());
    runs.map(|run| (run.file_name().into_string().unwrap(), left_behind(&run.path()))).collect()
}

#[test]
fn run_inside_a_sweep_is_the_run_by_itself() {
    let folder = TempDir::new().unwrap();
    let vary = "vary: {algorithm.name: [bp, f3, dfa], evaluate_every: [5], seed: 1..2}";
    write(folder.path(), &format!("{QUICK}{vary}\n"));
    assert_eq!(sweep(folder.path(), &["-j", "3"]).0, Some(0));
    let all = all_left_behind(folder.path());
    assert_eq!(all.len(), 6);
    for (name, found) in all {
        let not_evaluated = found.0.iter().filter(|row| row.iter().any(String::is_empty)).count();
        assert_eq!((found.0.len(), not_evaluated), (13, 9), "all but 0, 5, 10 and 12");
        let config = folder.path().join("runs/s").join(&name).join("config.yaml");
        let alone = folder.path().join("alone").join(&name);
        let arguments =
            ["train", config.to_str().unwrap(), "--quiet", "--run-dir", alone.to_str().unwrap()];
        assert!(command(folder.path(), &arguments).output().unwrap().status.success());
        assert!(left_behind(&alone) == found, "{name}");
    }
}

#[test]
fn complete_runs_under_other_hashes_count() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &format!("{QUICK}vary: {{seed: 1..3, epochs: [2]}}\n"));
    assert_eq!(sweep(folder.path(), &[]).0, Some(0));
    // A run that has more rows than are wanted is as good.
    let (code, text) = sweep(folder.path(), &["--dry-run", "--set", "evaluate_train_every=3"]);
    assert_eq!((code, text.matches("complete   runs/s/").count()), (Some(0), 3), "{text}");
    // One run is of a version that did not have a key, another one has less rows than are wanted. Their folders
    // are called by other hashes.
    let runs = folder.path().join("runs/s");
    let names: Vec<String> = all_left_behind(folder.path()).into_keys().collect();
    for (name, old, value) in [(&names[0], "old-a", "1"), (&names[1], "old-b", "7")] {
        fs::rename(runs.join(name), runs.join(old)).unwrap();
        let place = runs.join(old).join("config.yaml");
        let text = fs::read_to_string(&place).unwrap();
        let line = text.lines().find(|line| line.starts_with("evaluate_train_every: 1 ")).unwrap();
        let other = if value == "1" { String::new() } else { line.replace(": 1 ", ": 7 ") };
        fs::write(&place, text.replace(line, &other)).unwrap();
    }
    let (code, text) = sweep(folder.path(), &["--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("complete   runs/s/old-a\n"), "{text}");
    assert!(text.contains(&format!("missing    runs/s/{}\n", names[1])), "{text}");
    assert!(text.contains(&format!("complete   runs/s/{}\n", names[2])), "{text}");

    // Where the training set's metrics decide when a run ends, it has to be evaluated as often.
    let decides = "epochs: [2], evaluate_train_every: [1], early_stop.metric: [train_loss]";
    write(folder.path(), &format!("{QUICK}vary: {{seed: 1..3, {decides}}}\n"));
    assert_eq!(sweep(folder.path(), &[]).0, Some(0));
    let (_, text) = sweep(folder.path(), &["--dry-run", "--set", "evaluate_train_every=2"]);
    assert_eq!(text.matches("missing    runs/s/").count(), 3, "{text}");
}

#[test]
fn run_that_has_been_made_longer_is_not_the_sweeps() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &format!("name: s\n{QUICK}vary: {{seed: 1..2, epochs: [2]}}\n"));
    assert_eq!(sweep(folder.path(), &[]).0, Some(0));
    fs::copy(folder.path().join("s.yaml"), folder.path().join("runs/s/sweep.yaml")).unwrap();
    let name = all_left_behind(folder.path()).into_keys().next().unwrap();
    let run = format!("runs/s/{name}");
    let mut resumed = command(folder.path(), &["resume", &run, "--epochs", "4", "--quiet"]);
    assert!(resumed.output().unwrap().status.success());
    let (code, text) = sweep(folder.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is one of 4 epochs, and the sweep's has 2: move the folder"), "{text}");
    let page = said(&command(folder.path(), &["report", "runs/s"]).output().unwrap()).1;
    assert!(page.contains("1 of 2"), "{page}");
    let table = fs::read_to_string(folder.path().join("runs/s/report/report.html")).unwrap();
    assert!(table.contains("is a run of 4 epochs in place of 2"), "{table}");
    fs::rename(folder.path().join(&run), folder.path().join("elsewhere")).unwrap();
    assert_eq!(sweep(folder.path(), &[]).0, Some(0));
}

#[test]
fn folder_of_a_sweep_is_found_from_within_and_a_copy_is_refused() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &format!("name: s\n{QUICK}vary: {{seed: 1..2, epochs: [1]}}\n"));
    assert_eq!(sweep(folder.path(), &[]).0, Some(0));
    let own = folder.path().join("runs/s");
    fs::copy(folder.path().join("s.yaml"), own.join("sweep.yaml")).unwrap();
    for way in [".", "sweep.yaml", "../s"] {
        let (code, text) = said(&command(&own, &["sweep", "status", way]).output().unwrap());
        assert!(code == Some(0) && text.contains("2 runs: 2 complete"), "{way}: {text}");
    }
    fs::rename(&own, folder.path().join("runs/copy")).unwrap();
    for arguments in [&["sweep", "run", "runs/copy"][..], &["report", "runs/copy"]] {
        let (code, text) = said(&command(folder.path(), arguments).output().unwrap());
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains("runs/copy: holds the sweep `s`, whose folder has that name"),
            "{text}"
        );
    }
    assert!(!own.exists());
}

#[test]
fn sweep_that_is_killed_twenty_times_is_the_one_that_is_not() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [whole, killed] = folders.each_ref().map(TempDir::path);
    let yaml = format!("{QUICK}vary: {{algorithm.name: [bp, f3, dfa, drtp, llo], seed: 1..12}}\n");
    for folder in [whole, killed] {
        write(folder, &yaml);
    }
    let (code, text) = sweep(whole, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("60 runs: 60 complete\n"), "{text}");

    let mut random = 7u64;
    let (mut kills, mut sweeps) = (0, 0);
    while kills < 20 {
        let _ = fs::remove_dir_all(killed.join("runs"));
        sweeps += 1;
        loop {
            let mut child = start(killed, &["sweep", "run", "s.yaml", "-j", "4"]);
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // A slow machine gets on, too: there is more time with every kill.
            std::thread::sleep(Duration::from_millis(100 + (random >> 33) % 150 + 5 * kills));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            let (code, text) = said(&child.wait_with_output().unwrap());
            match code {
                Some(0) => break,
                None => assert!(!text.contains("failed"), "{text}"),
                Some(_) => panic!("{text}"),
            }
        }
        assert!(all_left_behind(whole) == all_left_behind(killed), "other runs");
    }
    println!("{kills} kills in {sweeps} sweeps");
    for file in
        ["report.html", "results.csv", "table.csv", "table.md", "table.tex", "differences.csv"]
    {
        assert!(reported(whole, file) == reported(killed, file), "{file} says something else");
    }
    let (code, text) = sweep(killed, &[]);
    assert_eq!(code, Some(0));
    assert!(text.contains("60 runs, 60 complete; 0 to train"), "{text}");
}

/// A file of the report on a sweep, without the times.
fn reported(folder: &Path, file: &str) -> String {
    if !folder.join("runs/s/report").exists() {
        let output = command(folder, &["report", "s.yaml"]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output).1);
    }
    let text = fs::read_to_string(folder.join("runs/s/report").join(file)).unwrap();
    assert!(text.len() > 100, "{file}: {text}");
    if file.ends_with(".html") {
        let (before, behind) = text.split_once("<time ").unwrap();
        let (_, behind) = behind.split_once("</time>").unwrap();
        let (between, behind) = behind.split_once("<section id=\"time\">").unwrap();
        let (_, behind) = behind.split_once("</section>").unwrap();
        return [before, between, behind].concat();
    }
    if file != "results.csv" {
        return text;
    }
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let times: Vec<bool> =
        table.headers().unwrap().iter().map(|name| name.ends_with("_seconds")).collect();
    assert!(times.contains(&true));
    let rows = table.records().map(|row| {
        let row = row.unwrap();
        let cells = row.iter().zip(&times).filter(|(_, time)| !**time);
        cells.map(|(cell, _)| cell.to_string()).collect::<Vec<_>>().join(",")
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[test]
fn two_sweeps_at_once_train_each_run_once() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &format!("{QUICK}vary: {{seed: 1..16}}\n"));
    let children = [(); 3].map(|()| start(folder.path(), &["sweep", "run", "s.yaml", "-j", "2"]));
    let mut done = Vec::new();
    for child in children {
        let (code, text) = said(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{text}");
        let lines = text.lines().filter_map(|line| line.split_once("] done    "));
        done.extend(lines.map(|(_, run)| run.split_whitespace().next().unwrap().to_string()));
    }
    // A run that another process has completed meanwhile is reported by both, but trained once.
    let distinct: BTreeSet<_> = done.iter().collect();
    assert_eq!(distinct.len(), 16, "{done:?}");
    for (name, _) in all_left_behind(folder.path()) {
        let metrics = folder.path().join("runs/s").join(name).join("metrics.csv");
        assert_eq!(fs::read_to_string(metrics).unwrap().lines().count(), 14);
    }
}

#[test]
fn failure_is_recorded_and_the_others_go_on() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        &format!(
            "{QUICK}cases:\n  bad: {{optimizer.learning_rate: 1e38}}\n  good: {{}}\n  \
             gone: {{init_from: nowhere.safetensors}}\n"
        ),
    );
    let (code, text) = sweep(folder.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("3 runs: 1 complete, 2 failed\n"), "{text}");
    assert!(text.contains("nowhere.safetensors"), "{text}");
    let (code, text) = sweep(folder.path(), &[]);
    assert_eq!(code, Some(1), "still failed: {text}");
    assert!(text.contains("3 runs, 1 complete, 2 failed; 0 to train"), "{text}");
    let status = said(&command(folder.path(), &["sweep", "status", "s.yaml"]).output().unwrap());
    assert!(status.1.contains("2 failed\nfailed digits-bad-seed1-"), "{status:?}");

    let donor = fs::read_dir(folder.path().join("runs/s")).unwrap().map(|run| run.unwrap().path());
    let donor = donor.into_iter().find(|run| RunState::of(run) == RunState::Complete).unwrap();
    fs::copy(donor.join("model.safetensors"), folder.path().join("nowhere.safetensors")).unwrap();
    let (code, text) = sweep(folder.path(), &["--retry-failed"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("3 runs: 2 complete, 1 failed\n"), "{text}");
}

#[test]
#[cfg(unix)]
fn signal_ends_all_runs_with_their_epochs() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        &format!("{QUICK}vary: {{seed: 1..4}}\n").replace("epochs: 12", "epochs: 300"),
    );
    let child = start(folder.path(), &["sweep", "run", "s.yaml", "-j", "2"]);
    let under_way = || {
        let runs = fs::read_dir(folder.path().join("runs/s")).into_iter().flatten().flatten();
        let begun = |state| matches!(state, RunState::Begun { epochs: 2.., .. });
        runs.filter(|run| begun(RunState::of(&run.path()))).count()
    };
    while under_way() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let (code, text) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(143), "{text}");
    assert!(text.contains("4 runs: 0 complete, 2 begun, 2 missing\n"), "{text}");
    let plan = said(&command(folder.path(), &["sweep", "plan", "s.yaml"]).output().unwrap()).1;
    assert_eq!(plan.lines().count(), 4);
    let status = said(&command(folder.path(), &["sweep", "status", "s.yaml"]).output().unwrap()).1;
    assert!(status.contains("left   "), "{status}");
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_loses_no_finished_run() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &format!("{QUICK}vary: {{seed: 1..30}}\n"));
    fs::create_dir(folder.path().join("runs")).unwrap();
    let script = "
        mount -t tmpfs -o size=1500k none runs
        code=0; $f3_tch sweep run s.yaml >full 2>&1 || code=$?
        echo full: $code; $f3_tch sweep status s.yaml
        cp -r runs then
        mount -o remount,size=50m runs
        $f3_tch sweep run s.yaml --retry-failed
        cp -r runs after";
    let Some(output) = common::where_mounting_is_allowed(PROGRAM, script, folder.path()) else {
        return;
    };
    let (code, text) = said(&output);
    let full = fs::read_to_string(folder.path().join("full")).unwrap();
    assert_eq!(code, Some(0), "{text}{full}");
    assert!(text.starts_with("full: 1\n"), "{text}{full}");
    assert!(full.contains("No space left"), "{full}");
    assert!(text.contains("30 runs: 30 complete\n"), "{text}");
    let mut finished = 0;
    for run in fs::read_dir(folder.path().join("then/s")).unwrap().map(|run| run.unwrap()) {
        if RunState::of(&run.path()) == RunState::Complete {
            finished += 1;
            let after = folder.path().join("after/s").join(run.file_name());
            let results = [run.path(), after].map(|run| RunResult::read(&run).unwrap());
            assert!(results[0] == results[1], "{:?} was trained again", run.file_name());
        }
    }
    assert!(finished > 0 && finished < 30, "{finished}");
}

#[test]
fn sweep_without_a_file_writes_the_one_that_it_needs() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        "sweep",
        "run",
        "digits",
        "--vary",
        "algorithm.name=bp,f3",
        "--vary",
        "seed=1..2",
        "--set",
        "epochs=1",
        "--set",
        "data.train_samples=100",
    ];
    let (code, text) = said(&command(folder.path(), &arguments).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    let file = "runs/digits-algorithm/sweep.yaml";
    let (code, text) = said(&command(folder.path(), &["sweep", "status", file]).output().unwrap());
    assert_eq!((code, text.as_str()), (Some(0), "4 runs: 4 complete\n"));
    let (code, text) = said(
        &command(folder.path(), &["sweep", "status", "runs/digits-algorithm"]).output().unwrap(),
    );
    assert_eq!((code, text.as_str()), (Some(0), "4 runs: 4 complete\n"));
    let other = [&arguments[..3], &["--vary", "algorithm.name=dfa"]].concat();
    let (code, text) = said(&command(folder.path(), &other).output().unwrap());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is another sweep of the same name; change that file"), "{text}");
}

#[test]
#[cfg(unix)]
fn commands_of_a_plan_train_the_sweep() {
    let folder = TempDir::new().unwrap();
    let yaml = format!(
        "{QUICK}vary: {{seed: 1..3}}\ncases: {{\"it's\": {{algorithm.name: bp}}, b: {{}}}}\n"
    );
    write(folder.path(), &yaml);
    let script = "
        set -e
        $f3_tch sweep plan s.yaml --set epochs=2 >lines
        sh -e lines
        sh -e lines
        $f3_tch sweep plan s.yaml --set epochs=2
        $f3_tch sweep status s.yaml --set epochs=2
        $f3_tch sweep plan s.yaml --slurm --time 1:00:00 >job
        bash -n job
        grep -c 'array=1-6' job";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).env("f3_tch", PROGRAM).current_dir(folder.path());
    let (code, text) = said(&shell.output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    let lines = fs::read_to_string(folder.path().join("lines")).unwrap();
    assert_eq!(lines.lines().count(), 6, "{lines}");
    assert!(text.contains("6 runs: 6 complete\n1\n"), "{text}");
}

/// From Rust: the results are values, and the runs share their data.
#[test]
fn library_trains_a_plan() {
    let folder = TempDir::new().unwrap();
    let yaml = format!("{QUICK}vary: {{algorithm.name: [f3, bp], seed: 1..2}}\n");
    let plan = plan_in(folder.path(), &yaml).unwrap();
    let begun = Mutex::new(Vec::new());
    let directory = DataDirectory::locate(None);
    let work = Work { jobs: 2, ..Work::new(&directory) };
    let outcomes = plan.train(&work, &|event| {
        if let SweepEvent::End(run, _) = event {
            begun.lock().unwrap().push(run.row.clone());
        }
    });
    assert_eq!(begun.lock().unwrap().len(), 4);
    for (run, outcome) in &outcomes {
        let Outcome::Complete(result) = outcome else { panic!("{outcome:?}") };
        assert_eq!(**result, RunResult::read(&run.folder).unwrap());
        assert_eq!((result.seed, result.epochs["done"]), (run.seed, 12));
    }
    assert!(plan.train(&work, &|_| {}).is_empty(), "all are complete");
}
