//! Data sets: those of the paper as they come out of their published files, and CSV files of any
//! kind.

mod common;

use std::fs;
use std::path::Path;

use f3_tch::assemble::{DataFrom, assemble};
use f3_tch::config::{Config, Source};
use f3_tch::data::{DataDirectory, Dataset, Task};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// Loads what a section `data` describes, from a data directory.
fn load(data: &Value, directory: &Path) -> anyhow::Result<Dataset> {
    let config = json!({
        "data": data, "algorithm": {"name": "bp"}, "optimizer": {"learning_rate": 1e-3},
    });
    let source = Source::parse("test", &config.to_string()).unwrap();
    let (config, _) = Config::read(&source)?;
    let directory = DataDirectory::locate(Some(directory));
    config.data.set.load(&directory, Device::Cpu, &mut |_| {})
}

fn means(columns: &Tensor) -> Vec<f64> {
    columns.mean_dim([0i64].as_slice(), false, Kind::Double).try_into().unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    tensor.to_kind(Kind::Double).try_into().unwrap()
}

fn assert_means(found: &[f64], expected: &[f64]) {
    for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(common::close(*found, *expected, 1e-6), "column {column}: {found}, not {expected}");
    }
}

#[test]
fn wine_quality_is_split_and_ordered_as_in_the_paper() {
    let Some(folder) = common::uci("wine_quality") else { return };
    let raw = json!({"name": "wine_quality", "standardize": false});
    let data = load(&raw, folder.path()).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.train.input_count()), (5197, 1300, 12));
    let expected = [
        7.21883779,
        0.34061478,
        0.31793534,
        5.40712911,
        0.0563923417,
        30.5420435,
        115.370887,
        0.994694994,
        3.21878584,
        0.532499519,
        10.4969412,
    ];
    assert_means(&means(&data.train.inputs), &expected);
    assert_means(&means(&data.train.targets), &[5.825476]);
    let quality = data.train.targets.to_kind(Kind::Double).std(true).double_value(&[]);
    assert!((quality - 0.878131).abs() < 1e-6, "{quality}");

    let classes = json!({"name": "wine_quality", "task": "classification"});
    let data_of_classes = load(&classes, folder.path()).unwrap();
    assert_eq!(data_of_classes.train.targets.size(), [5197, 11]);
    let labels = data_of_classes.train.targets.argmax(-1, true).to_kind(Kind::Float);
    assert_eq!(labels, *data.train.targets, "class k is quality k");
    // Standardised inputs have mean 0 and deviation 1 over the training rows.
    let inputs = &data_of_classes.train.inputs;
    assert!(means(inputs).iter().all(|mean| mean.abs() < 1e-5));
    let deviations = inputs.to_kind(Kind::Double).std_dim([0i64].as_slice(), true, false);
    assert!((deviations - 1.0).abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn sgemm_stacks_the_four_runs_after_the_split() {
    let Some(folder) = common::uci("sgemm") else { return };
    let data = load(&json!({"name": "sgemm", "standardize": false}), folder.path()).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (773_120, 193_280));
    let expected = [80.45099338, 80.33145695, 25.52218543, 13.93956954];
    assert_means(&means(&data.train.inputs), &expected);
    assert_means(&means(&data.train.targets), &[217.83147]);
    let deviation = data.train.targets.to_kind(Kind::Double).std(true).double_value(&[]);
    assert!(common::close(deviation, 369.30340, 1e-7), "{deviation}");
    // Rows of the second run follow all rows of the first.
    let quarter = 773_120 / 4;
    let first = data.train.inputs.narrow(0, 0, quarter);
    assert_eq!(first, data.train.inputs.narrow(0, quarter, quarter));
    assert_ne!(data.train.targets.narrow(0, 0, 9), data.train.targets.narrow(0, quarter, 9));
}

#[test]
fn census_income_trains_from_its_two_files() {
    // The carried configuration, on made-up lines in the format of adult.data and adult.test.
    let folder = TempDir::new().unwrap();
    let line = |age: usize, work: &str, class: &str| {
        format!(
            "{age}, {work}, {}, Bachelors, 13, Never-married, Sales, Husband, White, Male, {}, 0, \
             40, United-States, {class}\n",
            77_000 + 31 * age,
            age * 100
        )
    };
    let class = |age: usize| if age > 40 { ">50K" } else { "<=50K" };
    let mut train = String::new();
    for age in 20..80 {
        train += &line(age, ["Private", "State-gov"][age % 2], class(age));
    }
    train += &line(50, "?", ">50K"); // a missing value: the row is left out
    train += "\n";
    let mut test = "|1x3 Cross validator\n".to_string();
    for age in 20..30 {
        test += &line(age, "Private", &format!("{}.", class(age)));
    }
    fs::write(folder.path().join("adult.data"), train).unwrap();
    fs::write(folder.path().join("adult.test"), test).unwrap();

    let mut source = Source::open("census_income").unwrap();
    source.set("epochs=30").unwrap();
    source.set("data.batch_size=10").unwrap();
    source.set("optimizer.learning_rate=1e-3").unwrap();
    let (config, _) = Config::read(&source).unwrap();
    let directory = DataDirectory::locate(Some(folder.path()));
    let data = DataFrom::Files(&directory, &mut |_| {});
    let (mut experiment, _) = assemble(&config, &source, data).unwrap();
    let data = &experiment.data;
    assert_eq!((data.train.len(), data.test.len()), (60, 10));
    assert_eq!((data.train.input_count(), data.train.output_count()), (14, 2));
    // `<=50K` comes before `>50K`.
    assert_eq!(rows(&data.train.targets)[0], [1.0, 0.0]);
    assert_eq!(rows(&data.train.targets)[59], [0.0, 1.0]);
    experiment.train(&mut ()).unwrap();
    let accuracy = experiment.state.history.last().unwrap().value("train_accuracy").unwrap();
    assert!(accuracy > 95.0, "{accuracy} %");
}

/// Loads CSV text with some settings.
fn csv(text: &str, settings: Value) -> anyhow::Result<Dataset> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.csv");
    fs::write(&path, text).unwrap();
    let mut data = json!({"name": "csv", "path": path, "standardize": false});
    for (key, value) in settings.as_object().unwrap() {
        data[key] = value.clone();
    }
    load(&data, folder.path())
}

#[test]
fn columns_are_taken_encoded_and_split() {
    let mut text = "id;colour;size;class\n".to_string();
    for row in 0..10 {
        let colour = ["red", "green", "blue"][row % 3];
        text += &format!("{row};{colour};{}.5;{}\n", 10 * row, ["1e0", "-2", "10"][row % 3]);
    }
    let settings = |encoding: &str| {
        json!({"delimiter": ";", "task": "classification", "targets": "class", "ignore": "id",
               "categorical": ["colour"], "encoding": encoding, "test_fraction": 0.15})
    };
    let data = csv(&text, settings("ordinal")).unwrap();
    // RandomState(1).permutation(10) is 2 9 6 4 0 3 1 7 8 5; colours sort as blue, green, red; the
    // classes, which are numbers, as -2, 1, 10.
    assert_eq!(rows(&data.test.inputs), [[0.0, 20.5], [2.0, 90.5]]);
    assert_eq!(rows(&data.test.targets), [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);
    assert_eq!(rows(&data.train.inputs)[..3], [[2.0, 60.5], [1.0, 40.5], [2.0, 0.5]]);
    assert_eq!((data.task, data.train.len()), (Task::Classification, 8));

    let data = csv(&text, settings("one_hot")).unwrap();
    assert_eq!(rows(&data.test.inputs), [[1.0, 0.0, 0.0, 20.5], [0.0, 0.0, 1.0, 90.5]]);
}

#[test]
fn columns_without_a_header_are_numbered_and_regression_takes_several_targets() {
    let settings = json!({"header": false, "task": "regression", "targets": [2, 0],
                          "test_fraction": 0.5, "missing": "NA"});
    let data = csv("1,2,3\n4,NA,6\n7,8,9\n", settings).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (1, 1));
    let mut all = rows(&data.train.targets);
    all.extend(rows(&data.test.targets));
    all.sort_by(|a, b| a[0].total_cmp(&b[0]));
    assert_eq!(all, [[3.0, 1.0], [9.0, 7.0]]);
}

#[test]
fn rows_with_missing_cells_are_left_out() {
    for missing in [json!(""), json!(-999), json!("NA")] {
        let text = missing.as_str().map_or(missing.to_string(), str::to_string);
        let settings = json!({"task": "regression", "targets": "y", "missing": missing});
        let data = csv(&format!("x,y\n1,2\n{text},4\n5,{text}\n7,8\n"), settings).unwrap();
        assert_eq!(data.train.len() + data.test.len(), 2, "{text}");
    }
}

#[test]
fn categories_are_texts_and_classes_may_be_numbers() {
    let settings = json!({"task": "classification", "targets": "y", "categorical": "code",
                          "test_fraction": 0.3});
    let data = csv("code,y\n01,1\n1,1.0\n2,0\n2,1e0\n", settings).unwrap();
    let mut codes: Vec<f64> = rows(&data.train.inputs).concat();
    codes.extend(rows(&data.test.inputs).concat());
    codes.sort_by(f64::total_cmp);
    assert_eq!(codes, [0.0, 1.0, 2.0, 2.0], "`01` and `1` are two categories");
    assert_eq!(data.train.output_count(), 2);
}

#[test]
fn compressed_files_are_read_as_they_are() {
    use std::io::Write;
    let folder = TempDir::new().unwrap();
    let file = fs::File::create(folder.path().join("t.csv.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(b"a,b\n1,2\n3,4\n5,6\n").unwrap();
    encoder.finish().unwrap();
    // A file may have several members, as `cat a.gz b.gz` makes them.
    let file = fs::File::options().append(true).open(folder.path().join("t.csv.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(b"7,8\n9,0\n").unwrap();
    encoder.finish().unwrap();
    // Found in the data directory, since it is not in the current folder.
    let data = json!({"name": "csv", "path": "t.csv.gz", "task": "regression", "targets": "b"});
    let data = load(&data, folder.path()).unwrap();
    assert_eq!(data.train.len() + data.test.len(), 5);
}

#[test]
fn malformed_csv_files_are_refused_with_file_row_and_column() {
    let regression = json!({"task": "regression", "targets": "y"});
    let classes = json!({"task": "classification", "targets": "y"});
    let text_of_many_classes: String =
        (0..10_002).fold("x,y\n".to_string(), |text, row| text + &format!("1,c{row}\n"));
    for (text, settings, expected) in [
        ("", &regression, "is empty"),
        ("x,y\n", &regression, "holds no rows"),
        ("x,z\n1,2\n", &regression, "has no column `y`; it has x, z"),
        ("y\n1\n2\n", &regression, "no column is left for the inputs"),
        ("x,y,y\n1,2,3\n", &regression, "has more than one column `y`"),
        ("x,y\n1,2\n3\n", &regression, "line 3: has 1 column(s); 2 were expected"),
        ("x,y\n1,2\n3,4,5\n", &regression, "line 3: has 3 column(s); 2 were expected"),
        ("x,y\n1,2\nabc,4\n", &regression, "line 3, column `x`: is `abc`; expected a finite"),
        ("x,y\n1,2\n3,\n", &regression, "line 3, column `y`: is ``"),
        ("x,y\n1,NaN\n", &regression, "line 2, column `y`: is `NaN`"),
        ("x,y\ninf,1\n", &regression, "line 2, column `x`: is `inf`"),
        ("x,y\n1,2\n", &regression, "1 rows cannot be split"),
        ("x,y\n1,0\n2,nan\n", &classes, "line 3, column `y`: is `nan`; expected a class"),
        ("x,y\n1,a\n2,-inf\n", &classes, "line 3, column `y`: is `-inf`"),
        ("x,y\n1,a\n2,\"b\n3,a\n", &classes, "line 3: a quote is not closed"),
        ("x,y\n1,a\n2,\"b\n3,a\"\n", &classes, "on one line; is a quote not closed?"),
        ("x,y,y2,y2\n1,2,3,4\n", &regression, "has more than one column `y2`"),
        ("x,y\n\"1,5\",2\n", &regression, "is `1,5`; expected a decimal point"),
        ("1,2\n3,4\n", &regression, "line 1: holds numbers where columns are named"),
        ("x,y\n1,a\n2,a\n3,a\n", &classes, "column `y` holds one class only"),
        ("x,y\n1,a\n2,\n3,b\n", &classes, "line 3, column `y`: is ``; expected a value"),
        (&text_of_many_classes, &classes, "line 10002, column `y`: is `c10000`"),
        ("x,y\n\"1,2\n3,4\n", &regression, "line 2: a quote is not closed"),
    ] {
        let error = format!("{:#}", csv(text, settings.clone()).err().expect(expected));
        let shown: String = text.chars().take(30).collect();
        assert!(error.contains("t.csv") || error.contains("column `y`"), "{shown}: {error}");
        assert!(error.contains(expected), "{shown}: no `{expected}` in {error}");
    }
}

#[test]
fn test_files_must_have_the_columns_and_classes_of_the_training_file() {
    for (test, expected) in [
        ("x,y\n1,c\n", "test.csv, line 2, column `y`: is `c`; expected a value that occurs in"),
        ("y,x\na,1\n", "test.csv: has a column `y` where `x` was expected"),
        ("x,y,z\n1,a,1\n", "test.csv: has 3 column(s); 2 were expected"),
        ("x,y\n", "test.csv: holds no rows"),
    ] {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("train.csv"), "x,y\n1,a\n2,b\n").unwrap();
        fs::write(folder.path().join("test.csv"), test).unwrap();
        let data = json!({"name": "csv", "train": "train.csv", "test": "test.csv",
                          "task": "classification", "targets": "y"});
        let error = load(&data, folder.path()).err().unwrap().to_string();
        assert!(error.contains(expected), "no `{expected}` in {error}");
    }
    let folder = TempDir::new().unwrap();
    let data = json!({"name": "csv", "path": "none.csv", "task": "regression", "targets": "y"});
    let error = load(&data, folder.path()).err().unwrap().to_string();
    let expected = format!(
        "none.csv: no such file, neither here nor beside the configuration nor in {}",
        folder.path().display()
    );
    assert!(error.contains(&expected), "{error}");
}

/// The most memory in bytes that a run had while it trained on a file of SUSY's format.
#[cfg(target_os = "linux")]
fn peak_memory(folder: &Path, file: &str) -> u64 {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_f3-tch"));
    command
        .args(["train", "susy", "--quiet", "--run-dir", &format!("run_{file}")])
        .args(["--set", "epochs=1", "--set", "model.width=2"])
        .args(["--set", "threads=1", "--set", &format!("data.path={file}")])
        .args(["--set", "data.batch_size=100"])
        .current_dir(folder);
    common::peak_memory(&mut command)
}

#[test]
#[cfg(target_os = "linux")]
fn large_tables_are_read_in_a_stream() {
    use std::io::Write;
    let folder = TempDir::new().unwrap();
    let cells: String =
        (0..18).map(|column| format!(",{:.18e}", f64::from(column) / 7.0)).collect();
    let block = format!("0.0e+00{cells}\n1.0e+00{cells}\n").repeat(1000);
    for (name, times) in [("small.csv", 1), ("large.csv", 200)] {
        let mut file = fs::File::create(folder.path().join(name)).unwrap();
        for _ in 0..times {
            file.write_all(block.as_bytes()).unwrap();
        }
    }
    let text = fs::metadata(folder.path().join("large.csv")).unwrap().len();
    let more = peak_memory(folder.path(), "large.csv") - peak_memory(folder.path(), "small.csv");
    println!("{} MB of text took {} MB of memory", text >> 20, more >> 20);
    assert!(more < text, "{} MB of text took {} MB of memory", text >> 20, more >> 20);
    let metrics = fs::read_to_string(folder.path().join("run_large.csv/metrics.csv")).unwrap();
    assert!(metrics.lines().nth(2).unwrap().starts_with("1,320000,"), "{metrics}");
}
