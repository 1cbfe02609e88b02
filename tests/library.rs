//! The library in programs of others: a crate of its own, a rule, a data set in memory.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

#[path = "../examples/own_images.rs"]
#[allow(dead_code)] // its `main`
mod own_images;

#[path = "../examples/own_rule.rs"]
#[allow(dead_code)] // its `main`
mod own_rule;

#[test]
fn a_rule_of_ones_own_learns() {
    let (before, after) = own_rule::train().unwrap();
    assert!(before < 30.0 && after > 90.0, "{before} % before, {after} % after");
}

#[test]
fn images_of_ones_own_are_learned() {
    let (before, after) = own_images::train().unwrap();
    assert!(before < 60.0 && after > 90.0, "{before} % before, {after} % after");
}

/// The path to libtorch that this checkout's builds are told of, if it is told by a file.
fn libtorch() -> Option<String> {
    let text = fs::read_to_string(common::root().join(".cargo/config.toml")).ok()?;
    let line = text.lines().find(|line| line.trim_start().starts_with("LIBTORCH "))?;
    Some(line.split('"').nth(1)?.to_string())
}

#[test]
fn a_crate_of_its_own_builds_and_starts() {
    let elsewhere = TempDir::new().unwrap(); // where the checkout's settings of cargo do not count
    let crate_of_its_own = common::root().join("examples/own_crate/Cargo.toml");
    let program = Path::new(env!("CARGO_BIN_EXE_f3-tch"));
    let target = program.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet", "--manifest-path"]).arg(&crate_of_its_own);
    cargo.arg("--target-dir").arg(target).current_dir(elsewhere.path());
    // As from a shell: told what `cargo test` says of this package, the build script of `ring`, and so all
    // that uses it, would be built anew, here and at the next `cargo test`.
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"];
    for (name, _) in std::env::vars() {
        if of_package.iter().any(|start| name.starts_with(start)) {
            cargo.env_remove(&name);
        }
    }
    if let Some(path) = libtorch() {
        cargo.env("LIBTORCH", path);
    }
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut program = Command::new(target.join("release/own_crate"));
    let program = program.env_remove("LD_LIBRARY_PATH").current_dir(elsewhere.path());
    let output = program.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.lines().count() == 4 && said.contains("3: test accuracy"), "{said}");
}
