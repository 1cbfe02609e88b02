//! Compares learning rules from Rust: a sweep is planned and trained, its results are values.
//!
//! `cargo run --release --example compare`

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use f3_tch::data::DataDirectory;
use f3_tch::run::RunResult;
use f3_tch::sweep::{Plan, SweepFile, Work};

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
    let directory = DataDirectory::locate(None);
    let work = Work { jobs: 2, ..Work::new(&directory) };
    let mut accuracies = BTreeMap::<&str, Vec<f64>>::new();
    plan.train(&work, &|_| {});
    // Those that were complete before count, too.
    for run in &plan.runs {
        let result = RunResult::read(&run.folder)?;
        accuracies.entry(&run.row).or_default().extend(result.metrics["test_accuracy"].last);
    }
    for (rule, values) in accuracies {
        println!("{rule}: {values:.2?} % in {}", plan.folder.display());
    }
    Ok(())
}
