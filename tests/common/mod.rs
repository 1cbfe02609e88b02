//! What several tests need: small data sets, runs from a few lines of YAML, and Python.
#![allow(dead_code)] // every test program uses a part

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use f3_tch::Generator;
use f3_tch::assemble::{DataFrom, assemble};
use f3_tch::config::{Config, Source};
use f3_tch::data::{DataDirectory, Dataset, Split, Task};
use f3_tch::run::{CheckpointSettings, Checkpoints, EpochRow, Run};
use f3_tch::trainer::Epoch;
use tch::{Kind, Tensor};
use tempfile::TempDir;

/// All error information by name.
pub const INFOS: [&str; 11] = [
    "one_hot_target",
    "current_error",
    "current_error_softmax",
    "delayed_error",
    "delayed_loss",
    "delayed_error_one_hot",
    "delayed_loss_one_hot",
    "delayed_error_softmax",
    "delayed_loss_softmax",
    "delayed_error_sigmoid",
    "zeros",
];

/// 30 + 10 random samples with 6 inputs and 3 outputs.
pub fn toy(task: Task) -> Dataset {
    toy_of(task, 3)
}

/// 30 + 10 random samples with 6 inputs and so many outputs.
pub fn toy_of(task: Task, outputs: i64) -> Dataset {
    let mut generator = Generator::new(99).unwrap();
    let mut split = |samples: i64| {
        let inputs = generator.uniform(&[samples, 6], -2.0, 2.0).unwrap();
        let targets = match task {
            Task::Classification => {
                let classes = generator.integers(&[samples], outputs).unwrap();
                classes.onehot(outputs).to_kind(Kind::Float)
            }
            Task::Regression => generator.uniform(&[samples, outputs], -1.0, 1.0).unwrap(),
        };
        Split::new(inputs, targets)
    };
    let (train, test) = (split(30), split(10));
    Dataset { image: Some([1, 2, 3]), ..Dataset::new("toy", task, train, test) }
}

/// The run that some lines of YAML describe, on the toy data.
pub fn experiment(yaml: &str, task: Task) -> Run {
    experiment_on(toy(task), yaml)
}

/// The run that some lines of YAML describe, on this data set.
pub fn experiment_on(data: Dataset, yaml: &str) -> Run {
    let mut source = Source::parse("test", yaml).unwrap();
    // Must be there, and be for the same task; the given data take its place.
    source
        .set(match data.task {
            Task::Classification => "data.name=digits",
            Task::Regression => "data.name=sgemm",
        })
        .unwrap();
    let (config, _) = Config::read(&source).unwrap();
    assemble(&config, &source, DataFrom::Memory(data.into())).unwrap().0
}

/// Trains one more epoch, in the order that the run's generator gives.
pub fn train_epoch(run: &mut Run) {
    let order = run.state.generator.epoch_order(run.data.train.len()).unwrap();
    let epoch = Epoch {
        data: &run.data.train,
        order: &order,
        batch_size: run.settings.batch_size,
        learning_rate: run.settings.learning_rate.base,
        diagnosed: run.settings.diagnostics.every.is_some(),
    };
    run.state.trainer.train_epoch(&epoch, &mut |_| {}).unwrap();
}

/// Copies of everything that the network holds, by name.
pub fn snapshot(run: &Run) -> Vec<(String, Tensor)> {
    let tensors = run.state.trainer.layers().named_tensors();
    tensors.into_iter().map(|(name, tensor)| (name, tensor.copy())).collect()
}

/// Every bit that the coming epochs depend on, and what was reported but for the times.
pub fn everything(run: &Run) -> Vec<(String, Vec<u8>)> {
    let mut state = run.state.trainer.state();
    state.push(("generator".into(), run.state.generator.state().unwrap()));
    let bytes = |tensor: &Tensor| {
        let flat = tensor.detach().flatten(0, -1).contiguous();
        let mut bytes = vec![0u8; flat.numel() * flat.kind().elt_size_in_bytes()];
        flat.copy_data_u8(&mut bytes, flat.numel());
        bytes
    };
    let mut found: Vec<(String, Vec<u8>)> =
        state.iter().map(|(name, tensor)| (name.clone(), bytes(tensor))).collect();
    for row in &run.state.history {
        let row = EpochRow { train_seconds: 0.0, eval_seconds: 0.0, wall_time: 0.0, ..row.clone() };
        found.push((format!("row {}", row.epoch), format!("{row:?}").into_bytes()));
    }
    found
}

/// The folder of this project.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that has PyTorch and the other packages of `scripts/requirements.txt`; none if the
/// tests that need it are to be left out (`F3_PYTHON=none`).
pub fn python() -> Option<String> {
    if std::env::var("F3_PYTHON").is_ok_and(|python| python == "none") {
        eprintln!("left out: F3_PYTHON=none says that there is no Python with PyTorch");
        return None;
    }
    let output = Command::new(root().join("scripts/python")).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}or leave these tests out with F3_PYTHON=none");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_string())
}

/// Runs a Python program of the tests, and gives what it prints.
pub fn run_python(python: &str, script: &str, arguments: &[&Path]) -> String {
    let output = Command::new(python)
        .arg(root().join("tests/python").join(script))
        .args(arguments)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

/// The most memory in bytes that a command had while it ran, with success.
#[cfg(target_os = "linux")]
pub fn peak_memory(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0u64;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) {
            peak = line.split_whitespace().nth(1).unwrap().parse().unwrap(); // in KiB
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak * 1024
}

/// The rows of `metrics.csv`, and tensors by name.
pub type LeftBehind = (Vec<Vec<String>>, Vec<(String, Vec<f64>)>);

/// `metrics.csv` without the times, and the tensors of the newest checkpoint.
pub fn left_behind(run: &Path) -> LeftBehind {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let times: Vec<bool> =
        reader.headers().unwrap().iter().map(|name| name.ends_with("_seconds")).collect();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let cells = row.iter().zip(&times).filter(|(_, time)| !**time);
        cells.map(|(cell, _)| cell.to_string()).collect()
    });
    let rows = rows.collect();
    let settings = CheckpointSettings { every: Some(1), keep: 1, best: None };
    let checkpoints = Checkpoints::new(&run.join("checkpoints"), settings);
    let newest = checkpoints.newest().unwrap().unwrap();
    let mut tensors: Vec<(String, Vec<f64>)> = Tensor::read_safetensors(newest)
        .unwrap()
        .into_iter()
        .filter(|(name, _)| name != "row") // with the times
        .map(|(name, tensor)| {
            let flat = tensor.flatten(0, -1).to_kind(Kind::Double);
            (name, Vec::<f64>::try_from(flat).unwrap())
        })
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    (rows, tensors)
}

/// Runs shell commands where file systems may be mounted that nobody else sees; none if the system does
/// not let us.
#[cfg(target_os = "linux")]
pub fn where_mounting_is_allowed(
    program: &str,
    script: &str,
    folder: &Path,
) -> Option<std::process::Output> {
    let allowed = |options: &str| {
        let script = "mount -t tmpfs none /mnt";
        let mut command = Command::new("unshare");
        let status = command.args([options, "sh", "-c", script]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let Some(options) = ["-m", "-Urm"].into_iter().find(|options| allowed(options)) else {
        eprintln!("left out: file systems cannot be mounted here");
        return None;
    };
    let mut command = Command::new("unshare");
    command.args([options, "sh", "-c", &format!("set -e\nf3_tch='{program}'\n{script}")]);
    Some(command.current_dir(folder).output().unwrap())
}

/// A safetensors file of ours with other texts in its metadata, and the checksums that go with what it
/// holds then; as it is, if it cannot be read.
pub fn with_texts(
    bytes: &[u8],
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> Vec<u8> {
    const CHECKSUMS: &str = "f3_tch_crc32";
    let attempt = || -> Option<Vec<u8>> {
        let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let start = usize::try_from(length).ok()?.checked_add(8)?;
        let mut header: serde_json::Value = serde_json::from_slice(bytes.get(8..start)?).ok()?;
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum()
        };
        let mut sums = serde_json::Map::new();
        for (name, info) in header.as_object()? {
            let offset = |at: usize| Some(info["data_offsets"].get(at)?.as_u64()? as usize);
            if let (Some(from), Some(to)) = (offset(0), offset(1)) {
                let data = bytes.get(start.checked_add(from)?..start.checked_add(to)?)?;
                sums.insert(name.clone(), crc(data).into());
            }
        }
        let texts = header.get_mut("__metadata__")?.as_object_mut()?;
        change(texts);
        for (key, text) in texts.iter().filter(|(key, _)| *key != CHECKSUMS) {
            sums.insert(format!("metadata {key}"), crc(text.as_str()?.as_bytes()).into());
        }
        texts.insert(CHECKSUMS.into(), serde_json::Value::Object(sums).to_string().into());
        let header = header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        Some([&length[..], header.as_bytes(), &bytes[start..]].concat())
    };
    attempt().unwrap_or_else(|| bytes.to_vec())
}

/// Whether two numbers differ by at most this much, relative to the second.
pub fn close(found: f64, expected: f64, relative: f64) -> bool {
    (found - expected).abs() <= relative * expected.abs()
}

/// A folder of data for the time of a test.
pub struct DataFolder(TempDir);

impl DataFolder {
    /// The folder as the program's data directory.
    pub fn directory(&self) -> DataDirectory {
        DataDirectory::locate(Some(self.0.path()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The files of `wine_quality` or `sgemm`, which no package registry carries: from `shared/data`
/// beside the checkout, or from the data directory. None, with a word why, where they are not.
pub fn uci(name: &str) -> Option<DataFolder> {
    // Any of these lists of files is enough.
    let choices: &[&[&str]] = match name {
        "wine_quality" => &[&["winequality-red.csv", "winequality-white.csv"]],
        _ => &[&["sgemm_product_dataset.zip"], &["sgemm_product.csv"]],
    };
    let data = std::env::var_os("F3_DATA_DIR").map_or(root().join("data"), PathBuf::from);
    let places = [root().join("../shared/data"), data.join(name)];
    let found = places.iter().find_map(|place| {
        let there = |files: &&&[&str]| files.iter().all(|file| place.join(file).is_file());
        Some((place, choices.iter().find(there)?))
    });
    let Some((place, files)) = found else {
        eprintln!(
            "left out: the files of {name} are not in {} and not in {}",
            places[0].display(),
            places[1].display()
        );
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(name)).unwrap();
    for file in *files {
        std::fs::copy(place.join(file), folder.path().join(name).join(file)).unwrap();
    }
    Some(DataFolder(folder))
}
