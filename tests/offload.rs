//! A network that does not fit into memory trains, and gives the numbers of one that does.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Memory that a process may take for its own, in MiB. Files that it maps do not count: their pages
/// are the system's, which takes them back when it needs them.
const LIMIT: usize = 160;

/// 15 layers of 2,000: 56 million parameters and two Adam moments of each, 680 MB.
const NETWORK: [&str; 2] = ["model.width=2000", "model.hidden_layers=15"];

fn train(folder: &Path, run: &str, limit: Option<usize>, sets: &[&str]) -> Output {
    let shell = match limit {
        Some(mib) => format!("ulimit -d {} && exec \"$@\"", mib << 10),
        None => "exec \"$@\"".to_string(),
    };
    let mut command = Command::new("sh");
    command.args(["-c", &shell, "sh", env!("CARGO_BIN_EXE_f3-tch"), "train", "digits", "--quiet"]);
    command.args(["--run-dir", run]).current_dir(folder);
    let common = ["device=cpu", "threads=2", "epochs=2", "data.train_samples=300"];
    for set in NETWORK.iter().chain(&common).chain(sets) {
        command.args(["--set", set]);
    }
    command.output().unwrap()
}

/// `metrics.csv` without the seconds, which are never the same.
fn metrics(run: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let timed: Vec<bool> =
        reader.headers().unwrap().iter().map(|name| name.ends_with("_seconds")).collect();
    let row = |row: csv::StringRecord| {
        row.iter().zip(&timed).filter(|(_, timed)| !**timed).map(|(cell, _)| cell.into()).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// The bytes of all tensors of a run's model, without the header, in which the configuration stands.
fn parameters(run: &Path) -> Vec<u8> {
    let mut bytes = fs::read(run.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    bytes.split_off(8 + header as usize)
}

#[test]
fn network_larger_than_memory_trains_with_the_numbers_of_one_that_fits() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();

    let inside = train(path, "inside", None, &["schedule.name=layer_major"]);
    assert!(inside.status.success(), "{inside:?}");
    let expected = parameters(&path.join("inside"));
    assert!(3 * expected.len() > 4 * (LIMIT << 20), "the network is not large enough");

    // The limit is one: without files, memory is not enough.
    let refused = train(path, "refused", Some(LIMIT), &["schedule.name=layer_major"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.starts_with("error: ") && error.contains("memory"), "{error}");

    let sets = ["schedule.name=layer_major", "schedule.offload=files"];
    let outside = train(path, "outside", Some(LIMIT), &sets);
    assert!(outside.status.success(), "{outside:?}");
    assert!(parameters(&path.join("outside")) == expected, "other weights");
    assert_eq!(metrics(&path.join("outside")), metrics(&path.join("inside")));
    assert_eq!(fs::read_dir(path.join("files")).unwrap().count(), 0, "files are left behind");

    // With libtorch's kernels as well.
    let aten = ["kernels=aten", "epochs=1"];
    let inside =
        train(path, "inside_aten", None, &[&["schedule.name=layer_major"], &aten[..]].concat());
    assert!(inside.status.success(), "{inside:?}");
    let outside = train(path, "outside_aten", Some(2 * LIMIT), &[&sets[..], &aten].concat());
    assert!(outside.status.success(), "{outside:?}");
    assert_eq!(metrics(&path.join("outside_aten")), metrics(&path.join("inside_aten")));
}

#[test]
fn evaluation_in_batches_gives_the_same_digits() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let small = ["model.width=30", "model.hidden_layers=3", "data.eval_batch_size=64"];
    for kernels in ["kernels=fused", "kernels=aten"] {
        let common = [&small[..], &["schedule.name=layer_major", kernels]].concat();
        let (inside, outside) = (format!("inside_{kernels}"), format!("outside_{kernels}"));
        let found = train(path, &inside, None, &common);
        assert!(found.status.success(), "{found:?}");
        let found =
            train(path, &outside, None, &[&common[..], &["schedule.offload=files"]].concat());
        assert!(found.status.success(), "{found:?}");
        assert_eq!(metrics(&path.join(outside)), metrics(&path.join(inside)), "{kernels}");
    }
}
