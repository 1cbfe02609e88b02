//! Compares learning rules from Rust: a sweep is planned and trained, its results are values.
//!
//! `cargo run --release --example compare`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use f3_tch::data::DataDirectory;
use f3_tch::sweep::{Outcome, Plan, SweepFile, Work};

const SWEEP: &str = "
base: digits
set: {epochs: 10}
vary:
  algorithm.name: [bp, f3, drtp]
  seed: 1..3
";

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("f3-tch-compare");
    let plan = Plan::new(SweepFile::parse("compare", SWEEP)?, Path::new(&folder))?;
    let work = Work {
        jobs: 2,
        shard: None,
        only: None,
        retry_failed: false,
        directory: &DataDirectory::locate(None),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let mut accuracies = BTreeMap::<&str, Vec<f64>>::new();
    for (run, outcome) in plan.train(&work, &|_| {}) {
        if let Outcome::Complete(result) = outcome {
            accuracies.entry(&run.row).or_default().extend(result.metrics["test_accuracy"].last);
        }
    }
    for (rule, values) in accuracies {
        println!("{rule}: {values:.2?} % in {}", plan.folder.display());
    }
    Ok(())
}
