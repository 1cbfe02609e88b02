//! Models that travel: evaluated, asked for predictions, loaded by PyTorch, trained further.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flate2::read::GzDecoder;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
    error
}

/// A table's header and rows.
fn table(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let cells = |record: &csv::StringRecord| record.iter().map(str::to_string).collect();
    let header = cells(reader.headers().unwrap());
    (header, reader.records().map(|row| cells(&row.unwrap())).collect())
}

/// The last row of `metrics.csv`, by column.
fn last_metrics(run: &Path) -> impl Fn(&str) -> f64 + use<> {
    let (header, rows) = table(&run.join("metrics.csv"));
    let last = rows.last().unwrap().clone();
    move |name| {
        let column = header.iter().position(|column| column == name).unwrap();
        last[column].parse().unwrap()
    }
}

fn unzipped(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::copy(&mut GzDecoder::new(fs::File::open(path).unwrap()), &mut bytes).unwrap();
    bytes
}

/// A table of people: what they earn follows from their age and trade.
fn people(count: usize, columns: [&str; 4]) -> String {
    let trades = [("smith", 900.0), ("baker", 400.0), ("poet", 10.0)];
    let rows = (0..count).map(|index| {
        let (trade, base) = trades[index % 3];
        let age = 20 + index * 7 % 40;
        let cell = |name: &&str| match *name {
            "age" => age.to_string(),
            "trade" => trade.to_string(),
            "note" => format!("\"no, {index}\""),
            "pay" => (base + 25.0 * age as f64).to_string(),
            other => panic!("no column {other}"),
        };
        columns.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
    });
    columns.join(",") + "\n" + &rows.collect::<String>()
}

const PEOPLE: &str = "
name: people
data: {name: csv, path: people.csv, task: regression, targets: pay, categorical: [trade], encoding: one_hot, ignore: [note], comment: '#',
  standardize: true, batch_size: 20}
model: {width: 40}
algorithm: {name: bp}
optimizer: {name: adam, learning_rate: 3e-3}
epochs: 60
threads: 1
";

fn data_dir() -> PathBuf {
    std::env::var_os("F3_DATA_DIR").map_or_else(|| common::root().join("data"), PathBuf::from)
}

#[test]
fn evaluation_of_a_saved_network_is_that_of_its_last_epoch() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let cnn = ["model.name=cnn", "model.topology=4C3-pool-20FC"];
    let vit = ["model.name=vit", "model.patch_size=4"];
    let sgd = ["optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.classical_momentum=true"];
    let others: [&[&str]; 3] = [&["algorithm.name=pepita"], &["algorithm.name=fa"], &sgd];
    let all: Vec<&[&str]> = [&[&[][..], &cnn, &vit][..], &others].concat();
    for (number, sets) in all.into_iter().enumerate() {
        let run = format!("run{number}");
        let mut arguments = vec!["train", "digits", "--quiet", "--run-dir", &run];
        let tail = ["epochs=1", "threads=1", "data.train_samples=400"];
        sets.iter().chain(&tail).for_each(|set| arguments.extend(["--set", set]));
        succeeds(path, &arguments);
        let out = format!("{run}.csv");
        let printed = succeeds(path, &["evaluate", &run, "-o", &out]);
        let (header, rows) = table(&path.join(&out));
        assert_eq!(header, ["part", "samples", "loss", "accuracy", "auroc", "f1"]);
        let last = last_metrics(&path.join(&run));
        assert_eq!(rows[1][..2], ["test", "359"]);
        for (name, cell) in header.iter().zip(&rows[1]).skip(2) {
            assert_eq!(
                cell.parse::<f64>().unwrap(),
                last(&format!("test_{name}")),
                "{run}: {name}"
            );
            let line = printed.lines().find(|line| line.starts_with(name.as_str())).unwrap();
            let shown: f64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
            let exact: f64 = cell.parse().unwrap(); // six digits are shown
            assert!((shown - exact).abs() <= 1e-5 * exact.abs().max(1.0), "{cell} in {printed}");
        }
        assert_eq!(rows[0][..2], ["train", "400"]);
        for (name, cell) in header.iter().zip(&rows[0]).skip(2) {
            assert_eq!(
                cell.parse::<f64>().unwrap(),
                last(&format!("train_{name}")),
                "{run}: {name}"
            );
        }
        // A checkpoint is a model, too.
        let checkpoint = format!("{run}/checkpoints/epoch-000001.safetensors");
        assert_eq!(succeeds(path, &["evaluate", &checkpoint]), printed);
    }
    let error = fails(path, &["evaluate", "run0", "-o", "run0.csv"]);
    assert!(error.contains("run0.csv: exists already"), "{error}");
    fs::write(path.join("people.csv"), people(100, ["age", "trade", "note", "pay"])).unwrap();
    fs::write(path.join("people.yaml"), PEOPLE).unwrap();
    let error = fails(path, &["evaluate", "run0", "--data", "people.yaml"]);
    assert!(error.contains("images and rows of tables"), "{error}");
}

/// Other rows are prepared with the constants and categories that the network has learned with.
#[test]
fn evaluation_on_other_data_agrees_with_predictions() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("people.yaml"), PEOPLE).unwrap();
    fs::write(path.join("people.csv"), people(600, ["age", "trade", "note", "pay"])).unwrap();
    succeeds(path, &["train", "people.yaml", "--quiet", "--run-dir", "run"]);
    // Old smiths and poets alone, and the columns in another order.
    let rows = people(300, ["trade", "age", "pay", "note"]);
    let kept = |line: &&str| {
        let old = line
            .split(',')
            .nth(1)
            .and_then(|age| age.parse::<u32>().ok())
            .is_none_or(|age| age > 45);
        old && !line.starts_with("baker")
    };
    let rows: Vec<&str> = rows.lines().filter(kept).collect();
    assert!(rows.len() > 50);
    fs::write(path.join("old.csv"), rows.join("\n")).unwrap();
    let config = PEOPLE.replace("path: people.csv", "train: old.csv, test: old.csv");
    fs::write(path.join("old.yaml"), config).unwrap();
    succeeds(path, &["evaluate", "run", "--data", "old.yaml", "-o", "found.csv"]);
    succeeds(path, &["predict", "run", "old.csv", "-o", "predicted.csv"]);
    let (header, found) = table(&path.join("found.csv"));
    let mae = header.iter().position(|name| name == "mae").unwrap();
    let predicted = table(&path.join("predicted.csv")).1;
    let apart = predicted.iter().zip(&rows[1..]).map(|(row, line)| {
        let pay: f64 = line.split(',').nth(2).unwrap().parse().unwrap();
        (row.last().unwrap().parse::<f64>().unwrap() - pay).abs()
    });
    let expected = apart.sum::<f64>() / predicted.len() as f64;
    assert!(common::close(found[1][mae].parse().unwrap(), expected, 1e-4), "{found:?} {expected}");

    fs::write(
        path.join("old.csv"),
        people(60, ["age", "trade", "note", "pay"]).replace("poet", "thief"),
    )
    .unwrap();
    let error = fails(path, &["evaluate", "run", "--data", "old.yaml"]);
    assert!(error.contains("column `trade`: the network does not know `thief`"), "{error}");
}

#[test]
fn images_are_predicted_as_they_were_evaluated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    succeeds(path, &["train", "digits", "--quiet", "--run-dir", "run", "--set", "epochs=5"]);
    let images = common::root().join("src/data/digits/images-idx3-ubyte.gz");
    let labels = unzipped(&common::root().join("src/data/digits/labels-idx1-ubyte.gz"));
    let images = images.to_str().unwrap();
    succeeds(path, &["predict", "run", images, "-o", "out.csv", "--batch-size", "500"]);
    let (header, rows) = table(&path.join("out.csv"));
    let digits = (0..10).map(|digit: u8| digit.to_string());
    assert_eq!(header, [vec!["class".to_string()], digits.collect()].concat());
    assert_eq!(rows.len(), 1797);
    let (mut right, mut all) = (0, 0);
    for (index, row) in rows.iter().enumerate().filter(|(index, _)| index % 5 == 4) {
        let scores: Vec<f64> = row[1..].iter().map(|cell| cell.parse().unwrap()).collect();
        let best = scores.iter().cloned().fold(f64::MIN, f64::max);
        let class: usize = row[0].parse().unwrap();
        assert_eq!(scores[class], best);
        right += usize::from(class == usize::from(labels[8 + index]));
        all += 1;
    }
    let accuracy = 100.0 * right as f64 / all as f64;
    assert!(accuracy > 70.0, "{accuracy}");
    assert!(common::close(accuracy, last_metrics(&path.join("run"))("test_accuracy"), 1e-6));

    let error = fails(path, &["predict", "run", images, "-o", "out.csv"]);
    assert!(error.contains("out.csv: exists already"), "{error}");
    // The same pixels as rows of a table.
    let pixels = unzipped(Path::new(images));
    let text: String = pixels[16..].chunks(64).fold(String::new(), |text, image| {
        text + &image.iter().map(u8::to_string).collect::<Vec<_>>().join(",") + "\n"
    });
    fs::write(path.join("pixels.csv"), text).unwrap();
    succeeds(path, &["predict", "run", "pixels.csv", "-o", "from_table.csv"]);
    let same =
        |a: &str, b: &str| fs::read(path.join(a)).unwrap() == fs::read(path.join(b)).unwrap();
    assert!(same("out.csv", "from_table.csv"));
}

#[test]
fn rows_of_a_table_are_predicted_in_their_own_units() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("people.yaml"), PEOPLE).unwrap();
    fs::write(path.join("people.csv"), people(600, ["age", "trade", "note", "pay"])).unwrap();
    succeeds(path, &["train", "people.yaml", "--quiet", "--run-dir", "run"]);
    // Other columns' places, a column that is of no use, and none of the answers.
    fs::write(
        path.join("new.csv"),
        people(30, ["note", "trade", "note", "age"]).replacen("note,trade,note", "a,trade,b", 1),
    )
    .unwrap();
    succeeds(path, &["predict", "run", "new.csv", "-o", "out.csv"]);
    let (header, rows) = table(&path.join("out.csv"));
    assert_eq!(header, ["a", "b", "pay"]);
    assert_eq!(rows.len(), 30);
    fs::write(path.join("known.csv"), people(30, ["age", "trade", "note", "pay"])).unwrap();
    let (_, known) = table(&path.join("known.csv"));
    for (row, known) in rows.iter().zip(known) {
        let (found, pay): (f64, f64) = (row[2].parse().unwrap(), known[3].parse().unwrap());
        assert!((found - pay).abs() < 100.0, "{found} in place of {pay}");
    }
    succeeds(path, &["predict", "run", "known.csv", "-o", "other.csv"]);
    let (header, other) = table(&path.join("other.csv"));
    assert_eq!(header, ["note", "pay", "predicted_pay"]);
    let answers = |rows: &[Vec<String>]| rows.iter().map(|row| row[2].clone()).collect::<Vec<_>>();
    assert_eq!(answers(&other), answers(&rows));

    fs::write(path.join("new.csv"), "age,trade\n30,baker\n31,thief\n").unwrap();
    let error = fails(path, &["predict", "run", "new.csv", "-o", "none.csv", "--strict"]);
    assert!(error.contains("new.csv, line 3, column `trade`: is `thief`"), "{error}");
    assert!(!path.join("none.csv").exists());
    // Comments are what they were in the training set.
    fs::write(path.join("new.csv"), "# now\nage,trade\n# young\n30,baker\n").unwrap();
    succeeds(path, &["predict", "run", "new.csv", "-o", "one.csv"]);
    assert_eq!(table(&path.join("one.csv")).1.len(), 1);
    // A run of one's own data goes on, too; not on others.
    succeeds(path, &["resume", "run", "--epochs", "61"]);
    assert_eq!(last_metrics(&path.join("run"))("epoch"), 61.0);
    fs::write(path.join("people.csv"), people(601, ["age", "trade", "note", "pay"])).unwrap();
    let error = fails(path, &["resume", "run", "--epochs", "62"]);
    assert!(error.contains("trained on other data than those that people.csv has now"), "{error}");
}

#[test]
fn columns_without_names_are_told_by_their_places() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let config = PEOPLE.replace(
        "categorical: [trade], encoding: one_hot, ignore: [note]",
        "header: false, ignore: ['3']",
    );
    let config = config.replace("targets: pay", "targets: '0'").replace("people", "unnamed");
    fs::write(path.join("unnamed.yaml"), config).unwrap();
    // Numbers that float32 cannot tell from their neighbours are read as they were in training.
    let row = |at: usize| {
        let (a, time) = (at % 7, 1_700_000_000 + 60 * at);
        format!("{},{a},{time},note\n", 2 * a + at % 5)
    };
    fs::write(path.join("unnamed.csv"), (0..200).map(row).collect::<String>()).unwrap();
    succeeds(path, &["train", "unnamed.yaml", "--quiet", "--run-dir", "run"]);
    succeeds(path, &["predict", "run", "unnamed.csv", "-o", "out.csv"]);
    succeeds(path, &["evaluate", "run", "-o", "metrics.csv"]);
    let (_, metrics) = table(&path.join("metrics.csv"));
    // The split's two parts together are the file.
    let number = |part: usize, column: usize| metrics[part][column].parse::<f64>().unwrap();
    let expected = (0..2).map(|part| number(part, 1) * number(part, 3)).sum::<f64>();
    let (header, predicted) = table(&path.join("out.csv"));
    assert_eq!(header, ["0", "3", "predicted_0"], "columns that are no inputs are kept");
    assert_eq!(predicted[9][..2], ["8", "note"]);
    let found = predicted.iter().enumerate().map(|(at, cells)| {
        let target = (2 * (at % 7) + at % 5) as f64;
        (cells[2].parse::<f64>().unwrap() - target).abs()
    });
    let found: f64 = found.sum();
    assert!(common::close(found, expected, 1e-5), "{found} in place of {expected}");

    fs::write(path.join("inputs.csv"), "1,1700000000,note\n").unwrap();
    let error = fails(path, &["predict", "run", "inputs.csv", "-o", "none.csv"]);
    assert!(error.contains("inputs.csv: has 3 column(s); without names"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn rows_can_be_piped_in_and_an_interrupted_prediction_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("people.yaml"), PEOPLE).unwrap();
    fs::write(path.join("people.csv"), people(600, ["age", "trade", "note", "pay"])).unwrap();
    let train = ["train", "people.yaml", "--quiet", "--run-dir", "run", "--set", "epochs=1"];
    succeeds(path, &train);
    succeeds(path, &["predict", "run", "people.csv", "-o", "out.csv"]);
    let (_, expected) = table(&path.join("out.csv"));
    let piped = |output: &str| {
        let arguments = ["predict", "run", "/dev/stdin", "--batch-size", "1", "-o", output];
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(path).stdin(Stdio::piped()).spawn().unwrap()
    };
    let text = fs::read(path.join("people.csv")).unwrap();
    assert!(text.len() > 1 << 13, "is more than is read at once");
    let mut child = piped("piped.csv");
    child.stdin.take().unwrap().write_all(&text).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(table(&path.join("piped.csv")).1, expected);

    let names = || -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let before = names().len();
    let mut child = piped("never.csv");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&text).unwrap(); // and more to come
    while names().len() == before {
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names().len(), before, "{:?}", names());
}

#[test]
#[cfg(target_os = "linux")]
fn predicting_takes_memory_for_some_rows_not_for_all() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("people.yaml"), PEOPLE).unwrap();
    fs::write(path.join("people.csv"), people(600, ["age", "trade", "note", "pay"])).unwrap();
    succeeds(path, &["train", "people.yaml", "--quiet", "--run-dir", "run", "--set", "epochs=1"]);
    let mut peaks = Vec::new();
    for count in [10_000, 1_000_000] {
        let (input, output) = (format!("{count}.csv"), format!("{count}.out.csv"));
        fs::write(path.join(&input), people(count, ["age", "trade", "note", "pay"])).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["predict", "run", &input, "-o", &output]).current_dir(path);
        peaks.push(common::peak_memory(&mut command));
        let lines = fs::read_to_string(path.join(&output)).unwrap().lines().count();
        assert_eq!(lines, count + 1);
    }
    let text = fs::metadata(path.join("1000000.csv")).unwrap().len();
    println!("{peaks:?} bytes for 10,000 and 1,000,000 rows, {text} bytes of text");
    assert!(peaks[1] < peaks[0] + text / 4, "{peaks:?} bytes");
}

/// Runs the documentation's Python on a network of MNIST, and pictures through both programs.
#[test]
fn documented_snippet_gives_the_same_outputs_in_pytorch() {
    let Some(python) = common::python() else { return };
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let run = "runs/mnist/001";
    let sets = ["epochs=1"];
    let directory = data_dir();
    let mut arguments = vec!["train", "mnist", "--quiet", "--run-dir", run, "--data-dir"];
    arguments.push(directory.to_str().unwrap());
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    fs::create_dir_all(path.join("runs/mnist")).unwrap();
    succeeds(path, &arguments);

    // Some test images, as an IDX file and as pictures.
    let found = ["t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"]
        .iter()
        .flat_map(|name| ["", "mnist"].map(|folder| directory.join(folder).join(name)))
        .find(|path| path.is_file())
        .expect("MNIST's test images");
    let all = match found.extension() {
        Some(_) => unzipped(&found),
        None => fs::read(&found).unwrap(),
    };
    let count = 300;
    let mut some = all[..16 + count * 784].to_vec();
    some[4..8].copy_from_slice(&(count as u32).to_be_bytes());
    fs::write(path.join("some.idx"), &some).unwrap();
    fs::create_dir(path.join("pictures")).unwrap();
    for (index, pixels) in some[16..].chunks(784).enumerate() {
        let picture = image::GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap();
        picture.save(path.join(format!("pictures/{index:04}.png"))).unwrap();
    }
    succeeds(path, &["predict", run, "some.idx", "-o", "predicted.csv"]);
    succeeds(path, &["predict", run, "pictures", "-o", "pictures.csv"]);
    let (_, pictures) = table(&path.join("pictures.csv"));
    let (_, images) = table(&path.join("predicted.csv"));
    let answers: Vec<&[String]> = pictures.iter().map(|row| &row[1..]).collect();
    assert_eq!(answers, images);
    assert_eq!(pictures[7][0], "0007.png");
    succeeds(path, &["predict", run, "pictures/0007.png", "-o", "one.csv"]);
    assert_eq!(table(&path.join("one.csv")).1[0], pictures[7]);

    let page = fs::read_to_string(common::root().join("docs/models.md")).unwrap();
    let snippet = page
        .split("```python\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .find(|code| code.contains("safe_open"))
        .unwrap();
    let check = "
import csv
rows = list(csv.DictReader(open('predicted.csv')))
theirs = torch.tensor([[float(row[name]) for name in classes] for row in rows], dtype=torch.float64)
pixels = torch.frombuffer(bytearray(open('some.idx', 'rb').read())[16:], dtype=torch.uint8).reshape(-1, 28, 28)
with torch.no_grad():
    ours = network(prepare(pixels)).double()
    scripted = torch.jit.script(network)(prepare(pixels)).double()
    exported = torch.export.export(network, (prepare(pixels),)).module()(prepare(pixels)).double()
assert ours.shape == theirs.shape == (300, 10)
for other in (theirs, scripted, exported):
    assert (ours - other).abs().max() < 1e-6, (ours - other).abs().max()
assert [classes[i] for i in ours.argmax(1)] == [row['class'] for row in rows]
assert ours.std() > 0.05
";
    fs::write(path.join("snippet.py"), format!("{snippet}{check}")).unwrap();
    let output = Command::new(python).arg("snippet.py").current_dir(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn training_starts_from_given_weights() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let train = |run: &str, sets: &[&str]| {
        let mut arguments = vec!["train", "digits", "--quiet", "--run-dir", run];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        f3_tch(path, &arguments)
    };
    assert!(train("first", &["epochs=3"]).status.success());
    let loss = last_metrics(&path.join("first"))("test_loss");
    let from = "init_from=first/model.safetensors";
    // With the same algorithm, another one, and another seed, whose feedback is replaced too.
    for (run, sets) in [
        ("same", &[from, "epochs=1"][..]),
        ("bp", &[from, "epochs=1", "algorithm.name=bp"]),
        ("seed", &[from, "epochs=1", "seed=77"]),
        ("fa", &[from, "epochs=1", "algorithm.name=fa"]),
        ("folder", &["init_from=first", "epochs=1"]),
        ("checkpoint", &["init_from=first/checkpoints/epoch-000003.safetensors", "epochs=1"]),
        ("dfa", &["init_from=fa/model.safetensors", "epochs=1", "algorithm.name=dfa"]),
    ] {
        let output = train(run, sets);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (header, rows) = table(&path.join(run).join("metrics.csv"));
        let column = header.iter().position(|name| name == "test_loss").unwrap();
        let expected =
            if run == "dfa" { last_metrics(&path.join("fa"))("test_loss") } else { loss };
        assert!(common::close(rows[0][column].parse().unwrap(), expected, 1e-6), "{run}");
    }
    for (sets, signs) in [
        (
            &[from, "model.width=50"][..],
            &["`layers.0.1.weight` is F32 [100, 64]; F32 [50, 64] is needed"][..],
        ),
        (
            &[from, "model.hidden_layers=3"],
            &["the network has, but the file has not: block 4 bias, block 4 weight"],
        ),
        (
            &[from, "model.hidden_layers=1"],
            &["the file has, but the network has not: block 3 bias, block 3 weight"],
        ),
        (&["init_from=nothing.safetensors"], &["nothing.safetensors: cannot be opened"]),
        (&["init_from=first/metrics.csv"], &["metrics.csv: is no safetensors file"]),
    ] {
        let output = train("none", sets);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        signs.iter().for_each(|sign| assert!(error.contains(sign), "{sign} in {error}"));
        assert!(!path.join("none").exists());
    }
}

#[path = "../examples/own_tensors.rs"]
#[allow(dead_code)] // its `main`
mod own_tensors;

#[test]
fn tensors_of_ones_own_are_learned() {
    let accuracy = own_tensors::train().unwrap();
    assert!(accuracy.last().unwrap() > &90.0, "{accuracy:?}");
    assert_eq!(accuracy.len(), 11);
}
