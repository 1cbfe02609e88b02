//! What a person meets at the terminal: short options, complaints, names with anything in them, odd files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

const SMALL: &str = "data: {name: digits, batch_size: 10}\nmodel: {width: 4}\nalgorithm: {name: f3}\n\
                     optimizer: {learning_rate: 1e-3}\nepochs: 1\nthreads: 1\n";

fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What it wrote to standard error.
fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let said = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
    said
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), SMALL).unwrap();
    folder
}

#[test]
fn short_options_are_their_keys() {
    let folder = folder();
    let short =
        ["--epochs", "3", "--batch-size", "7", "--lr", "2e-3", "--threads", "2", "--seed", "9"];
    let shown = f3_tch(folder.path(), &[&["config", "show", "a.yaml"], &short[..]].concat());
    let shown = text(&shown.stdout);
    for line in ["epochs: 3 ", "batch_size: 7 ", "learning_rate: 0.002 ", "threads: 2 ", "seed: 9 "]
    {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    for (option, value, expected) in [
        ("--seed", "-1", "--seed -1: `seed` is `-1`; expected a whole number"),
        (
            "--lr",
            "-0.1",
            "--lr -0.1: `optimizer.learning_rate` is `-0.1`; expected a number greater than 0",
        ),
        ("--epochs", "many", "--epochs many: `epochs` is `many`; expected a whole number"),
    ] {
        let said = fails(folder.path(), &["train", "a.yaml", option, value]);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_configuration_comes_through_a_pipe() {
    let folder = folder();
    let mut child = Command::new(PROGRAM)
        .args(["train", "-", "--run-dir", "run"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(SMALL.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("(1 thread)") && said.contains(" 1 epoch") && !said.contains("1 epochs"),
        "{said}"
    );
    assert!(folder.path().join("run/result.json").is_file());
}

#[test]
fn sweeps_have_the_short_options_too() {
    let folder = folder();
    let sweep = ["sweep", "run", "a.yaml", "--vary", "seed=1,2", "--epochs", "3", "--lr", "2e-3"];
    let path = folder.path();
    assert!(f3_tch(path, &[&sweep[..], &["-j", "1", "--threads", "1"]].concat()).status.success());
    let file = fs::read_to_string(path.join("runs/a/sweep.yaml")).unwrap();
    assert!(
        file.contains("epochs: 3") && file.contains("optimizer.learning_rate: 0.002"),
        "{file}"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_configuration() {
    let folder = folder();
    fs::write(folder.path().join("b.yaml"), format!("\u{feff}{SMALL}")).unwrap();
    assert!(f3_tch(folder.path(), &["config", "show", "b.yaml"]).status.success());
}

#[test]
fn all_complaints_come_at_once_with_their_lines() {
    let folder = folder();
    let wrong = "data: {name: digits}\nlr: 3\nbatch_size: 10\nmodel:\n  width: '500'\n  activation: tan\n\
                 algorithm: {name: f3}\noptimiser: {}\nepochs: 0\n";
    fs::write(folder.path().join("b.yaml"), wrong).unwrap();
    let said = fails(folder.path(), &["train", "b.yaml"]);
    for part in [
        "b.yaml, line 2: unknown key `lr` (did you mean `optimizer.learning_rate`?)",
        "b.yaml, line 3: unknown key `batch_size` (did you mean `data.batch_size`?)",
        "b.yaml, line 8: unknown key `optimiser` (did you mean `optimizer`?)",
        "b.yaml, line 5: `model.width` is",
        "b.yaml, line 6: `model.activation` is `tan`",
        "b.yaml, line 9: `epochs` is `0`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let place = |part: &str| said.find(part).unwrap();
    assert!(place("unknown key `optimiser`") < place("`model.width`"), "{said}");
    assert!(
        said.lines().any(|line| line.contains("`model.width`") && line.contains("quotes")),
        "{said}"
    );

    // A section that cannot be read hides none of the others.
    let wrong = "data: {name: digitz}\nmodel: {name: mpl}\nalgorithm: {error_inf: x}\n\
                 optimizer: {name: adm, learning_rate: -1}\ncheckpoint: {evry: 3}\nepochs: 0\n";
    fs::write(folder.path().join("c.yaml"), wrong).unwrap();
    let said = fails(folder.path(), &["train", "c.yaml"]);
    for part in [
        "c.yaml, line 1: `data.name` is `digitz`",
        "c.yaml, line 2: `model.name` is `mpl`",
        "`algorithm.name` is missing",
        "c.yaml, line 4: `optimizer.name` is `adm`",
        "c.yaml, line 5: unknown key `checkpoint.evry` (did you mean `every`?)",
        "c.yaml, line 6: `epochs` is `0`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // Nor do keys that must be given hide others of their section.
    let wrong = "data:\n  name: csv\n  task: regresion\n  targets: b\n  batch_size: 0\n  impute: x\n  foo: 1\n\
                 model: {name: mlp, topology: 3C5}\nalgorithm: {name: f3}\n\
                 optimizer: {learning_rate: x, momentum: 1, schedule: {name: cosin}}\n";
    fs::write(folder.path().join("d.yaml"), wrong).unwrap();
    let said = fails(folder.path(), &["train", "d.yaml"]);
    for part in [
        "d.yaml, line 1: `data.path` is missing",
        "d.yaml, line 3: `data.task` is `regresion`",
        "d.yaml, line 5: `data.batch_size` is `0`",
        "d.yaml, line 6: `data.impute` is `x`",
        "d.yaml, line 7: unknown key `data.foo`",
        "unknown key `model.topology` (it goes with `model.name: cnn`)",
        "`optimizer.learning_rate` is `x`",
        "`optimizer.schedule.name` is `cosin`",
        "unknown key `optimizer.momentum` (it goes with `optimizer.name: sgd`)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.lines().filter(|line| line.contains("d.yaml")).count(), 9, "{said}");

    fs::write(folder.path().join("tab.yaml"), "data:\n\tname: digits\n").unwrap();
    let said = fails(folder.path(), &["train", "tab.yaml"]);
    assert!(said.contains("tab.yaml, line 2: is indented with a tab"), "{said}");
    let said = fails(folder.path(), &["train", "."]);
    assert!(said.contains(".: is a folder"), "{said}");
}

#[test]
fn pages_of_the_manual_and_completions_are_printed() {
    let folder = folder();
    let page = text(&f3_tch(folder.path(), &["man"]).stdout);
    assert!(page.contains(".TH f3-tch") && page.contains("resume"), "{page}");
    let page = text(&f3_tch(folder.path(), &["man", "train"]).stdout);
    assert!(page.contains("\\-\\-run\\-dir") && page.contains("batch\\-size"), "{page}");
    let said = fails(folder.path(), &["man", "sweep", "rum"]);
    assert!(said.contains("`rum` is no command here; expected one of run, plan, status"), "{said}");
    let script = text(&f3_tch(folder.path(), &["completions", "bash"]).stdout);
    assert!(script.contains("_f3-tch") || script.contains("_f3"), "{script}");
    let help = text(&f3_tch(folder.path(), &["train", "--help"]).stdout);
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}

#[test]
fn long_values_and_repeated_aliases_are_bounded() {
    let folder = folder();
    let columns: Vec<String> = (0..11_000).map(|it| format!("column{it}")).collect();
    let set = format!("init_from={}", columns.concat());
    let shown = f3_tch(folder.path(), &["config", "show", "a.yaml", "--set", &set]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(
        shown.len() < 2 * set.len() && shown.lines().all(|line| !line.contains(&" ".repeat(70)))
    );

    let row = |item: &str| format!("[{}]", vec![item; 900].join(","));
    let aliases = format!("x: &x {}\ny: &y {}\nz: {}\n", row("1"), row("*x"), row("*y"));
    fs::write(folder.path().join("aliases.yaml"), SMALL.to_string() + &aliases).unwrap();
    let said = fails(folder.path(), &["train", "aliases.yaml"]);
    assert!(said.contains("more values than any configuration"), "{said}");
    // In a text that could have been meant as a number, and on the command line.
    let quoted: String = aliases.lines().map(|line| format!("  {line}\n")).collect();
    let config = SMALL.replace("epochs: 1\n", "") + "epochs: |\n" + &quoted;
    fs::write(folder.path().join("quoted.yaml"), config).unwrap();
    let said = fails(folder.path(), &["train", "quoted.yaml"]);
    assert!(said.contains("`epochs` is `x: &x"), "{}", &said[..200.min(said.len())]);
    let values = format!("seed=1, &x {}, &y {}, {}", row("1"), row("*x"), row("*y"));
    let data = format!("data={{{}}}", aliases.trim().replace('\n', ", "));
    let sweep = ["sweep", "run", "a.yaml", "--dry-run"];
    for more in [&["--vary", &*values][..], &["--vary", "seed=1,2", "--set", &data]] {
        let said = fails(folder.path(), &[&sweep, more].concat());
        assert!(said.contains("more values than any configuration"), "{said}");
    }
}

#[test]
fn what_others_wrote_does_not_command_the_terminal() {
    let folder = folder();
    let said = fails(folder.path(), &["train", "a.yaml", "--set", "name=\u{1b}[31mred"]);
    assert!(!said.contains('\u{1b}') && said.contains("red"), "{said:?}");
    let said = fails(folder.path(), &["train", "a.yaml", "\u{1b}[31mred"]);
    assert!(!said.contains('\u{1b}') && said.contains("red"), "{said:?}");
    fs::write(folder.path().join("t.csv"), "a,b\n1,2\n\u{1b}]0;x\u{7},3\n").unwrap();
    let config = SMALL.replace(
        "{name: digits, batch_size: 10}",
        "{name: csv, path: t.csv, task: regression, targets: b}",
    );
    fs::write(folder.path().join("t.yaml"), config).unwrap();
    let said = fails(folder.path(), &["train", "t.yaml"]);
    assert!(
        !said.contains('\u{1b}') && !said.contains('\u{7}') && said.contains("line 3"),
        "{said:?}"
    );
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let folder = folder();
    let mut command = Command::new(PROGRAM);
    command.args(["train", "a.yaml"]).current_dir(folder.path());
    let output = command.env("F3_INSTRUCTION_SET", "sse9").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("F3_INSTRUCTION_SET is `sse9`; expected one of"), "{said}");
}

#[test]
#[cfg(unix)]
fn pipes_without_a_writer_are_refused() {
    let folder = folder();
    let path = folder.path();
    assert!(Command::new("mkfifo").arg(path.join("pipe.yaml")).status().unwrap().success());
    let said = fails(path, &["train", "pipe.yaml"]);
    assert!(said.contains("is a pipe; a file is needed"), "{said}");
    assert!(f3_tch(path, &["train", "a.yaml", "--quiet", "--run-dir", "run"]).status.success());
    let said = fails(path, &["predict", "run", "pipe.yaml", "-o", "out.csv"]);
    assert!(said.contains("is a pipe; a file is needed"), "{said}");
    let data = "{name: csv, path: pipe.yaml, task: regression, targets: a, batch_size: 2}";
    let config = SMALL.replace("{name: digits, batch_size: 10}", data);
    fs::write(path.join("csv.yaml"), config).unwrap();
    let said = fails(path, &["train", "csv.yaml"]);
    assert!(said.contains("pipe.yaml: is no file"), "{said}");
    let resume = ["resume", "run", "--epochs", "2"];
    let mut files = fs::read_dir(path.join("run")).unwrap().map(|it| it.unwrap().path());
    let events = files.find(|it| it.display().to_string().contains("tfevents")).unwrap();
    fs::rename(&events, path.join("events")).unwrap();
    fs::rename(path.join("pipe.yaml"), &events).unwrap();
    let said = fails(path, &resume);
    assert!(said.contains("f3-tch: is a pipe; a file is needed"), "{said}");
    fs::rename(&events, path.join("run/metrics.csv")).unwrap();
    fs::rename(path.join("events"), &events).unwrap();
    let said = fails(path, &resume);
    assert!(said.contains("metrics.csv: is no file"), "{said}");
    fs::remove_dir_all(path.join("run/checkpoints")).unwrap();
    fails(path, &resume);
}

#[test]
fn the_program_is_called_what_it_was_called() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir(path.join("my programs")).unwrap();
    for place in ["f3", "my programs/f3"] {
        std::os::unix::fs::symlink(PROGRAM, path.join(place)).unwrap();
    }
    let train = ["train", "a.yaml", "--quiet", "--run-dir", "run"];
    assert!(f3_tch(path, &train).status.success());
    let called = |name: &str, arguments: &[&str]| {
        let paths = format!("{}:/usr/bin:/bin", path.display());
        let script = format!("PATH='{paths}'; exec \"$@\"");
        let mut shell = Command::new("bash");
        let shell = shell.args(["-c", &script, "-", name]).args(arguments).current_dir(path);
        text(&shell.output().unwrap().stderr)
    };
    let said = called("f3", &train);
    assert!(said.contains("`f3 resume run"), "{said}");
    let said = called("f3", &["train"]);
    assert!(said.contains("Usage: f3 train"), "{said}");
    let said = called("./my programs/f3", &train);
    assert!(said.contains("`'./my programs/f3' resume run"), "{said}");
}

#[test]
fn tables_go_where_they_can() {
    let folder = folder();
    let path = folder.path();
    assert!(f3_tch(path, &["train", "a.yaml", "--quiet", "--run-dir", "run"]).status.success());
    let row = |seed: usize| -> String {
        (0..64).map(|it| ((it + seed) % 17).to_string()).collect::<Vec<_>>().join(",") + "\n"
    };
    fs::write(path.join("rows.csv"), (0..5000).map(row).collect::<String>()).unwrap();
    let said = fails(path, &["predict", "run", "rows.csv", "-o", "nowhere/out.csv"]);
    assert!(said.contains("nowhere: cannot be written to") && !said.contains(".f3-tch-"), "{said}");
    // A reader that has seen enough.
    let predict = format!("{PROGRAM} predict run rows.csv -o - 2>said; echo $? >code");
    let command = format!("({predict}) | head -n 2; cat said");
    let output = Command::new("sh").args(["-c", &command]).current_dir(path).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.starts_with("class,0,1") && said.lines().count() == 2, "{said}");
    assert_eq!(fs::read_to_string(path.join("code")).unwrap().trim(), "0");
}

#[test]
fn numbers_of_runs_go_on_behind_any_number() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir_all(path.join("runs/a/4294967295")).unwrap();
    let output = f3_tch(path, &["train", "a.yaml", "--quiet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(path.join("runs/a/4294967296/result.json").is_file());
}

#[test]
fn files_of_ones_own_in_a_runs_folder_stay() {
    let folder = folder();
    let path = folder.path();
    assert!(f3_tch(path, &["train", "a.yaml", "--quiet", "--run-dir", "run"]).status.success());
    let own = [".tmp", ".tmpabc", ".tmp-notes.txt", ".f3-tch-notes.tmp"];
    own.iter().for_each(|name| fs::write(path.join("run").join(name), "mine").unwrap());
    fs::write(path.join("run/.f3-tch-a1B2c3.tmp"), "left by a run that was killed").unwrap();
    let output = f3_tch(path, &["resume", "run", "--epochs", "2", "--quiet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(own.iter().all(|name| fs::read(path.join("run").join(name)).unwrap() == b"mine"));
    assert!(!path.join("run/.f3-tch-a1B2c3.tmp").exists());
}

#[test]
fn many_columns_are_found_at_once() {
    let folder = folder();
    let path = folder.path();
    let count = 20_000;
    let names: Vec<String> = (0..count).map(|it| format!("c{it}")).collect();
    let row = |seed: usize| {
        (0..count).map(|it| ((it * 7 + seed) % 10).to_string()).collect::<Vec<_>>().join(",")
    };
    let rows: String = (0..6).map(|seed| row(seed) + "\n").collect();
    fs::write(path.join("wide.csv"), names.join(",") + "\n" + &rows).unwrap();
    let config = SMALL.replace(
        "{name: digits, batch_size: 10}",
        "{name: csv, path: wide.csv, task: regression, targets: c0, batch_size: 2}",
    );
    fs::write(path.join("wide.yaml"), config).unwrap();
    assert!(f3_tch(path, &["train", "wide.yaml", "--quiet", "--run-dir", "wide"]).status.success());
    // A search for each column would go through 200 million names for each row.
    let output = f3_tch(path, &["predict", "wide", "wide.csv", "-o", "out.csv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_loss_that_explodes_is_warned_of() {
    let folder = folder();
    let sets = ["loss=mse", "optimizer.schedule.name=constant"].map(|set| ["--set", set]).concat();
    let short = ["--lr", "3", "--epochs", "2", "--threads", "1"];
    let train = ["train", "digits", "--run-dir", "run", "--quiet"];
    let output = f3_tch(folder.path(), &[&train[..], &short, &sets].concat());
    let said = text(&output.stderr);
    assert!(said.contains("warning: the training loss is"), "{said}");
    assert!(said.contains("an `optimizer.learning_rate` below 3 may be needed"), "{said}");

    // Also one that was small for a while: while the learning rate grows, here.
    let grows = ["name=constant", "warmup_epochs=15", "warmup_start=0.01"];
    let grows: Vec<String> = grows.map(|it| format!("optimizer.schedule.{it}")).into();
    let sets: Vec<&str> = grows.iter().flat_map(|set| ["--set", set]).collect();
    let short = ["--lr", "0.1", "--epochs", "20", "--threads", "1"];
    let train = ["train", "digits", "--run-dir", "later", "--quiet"];
    let said = text(&f3_tch(folder.path(), &[&train[..], &short, &sets].concat()).stderr);
    assert!(said.contains("at its lowest"), "{said}");
    assert!(said.contains("an `optimizer.learning_rate` below 0.1 may be needed"), "{said}");
}
