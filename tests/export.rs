//! Exported networks: what onnxruntime and plain PyTorch make of them is what the program makes of them.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_f3-tch"));
    command.args(arguments).current_dir(folder);
    static PYTHON: LazyLock<Option<String>> = LazyLock::new(common::python);
    if let Some(python) = &*PYTHON {
        command.env("F3_PYTHON", python);
    }
    command.output().unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

/// A table with numbers of different sizes, some missing, and a column of names.
fn table(path: &Path) {
    let mut text = "size,weight,trade,pay\n".to_string();
    for index in 0..80 {
        let trade = ["smith", "baker", "poet"][index % 3];
        let weight = if index % 7 == 3 {
            "?".to_string()
        } else {
            format!("{}", 0.01 * (index % 11) as f64)
        };
        let pay = 1000 + 37 * index + 100 * (index % 3);
        text += &format!("{},{weight},{trade},{pay}\n", 100_000 + 13 * (index * index % 97));
    }
    fs::write(path, text).unwrap();
}

/// Name, data, model, and what more there is.
const RUNS: [[&str; 4]; 6] = [
    ["mlp", "name: digits", "{hidden_layers: 2, width: 20}", ""],
    ["cnn", "name: digits", "{name: cnn, topology: 4C3-pool-6C3-10FC, activation: relu}", ""],
    [
        "vit",
        "name: digits",
        "{name: vit, patch_size: 4, token_width: 8, blocks: 2, heads: 2, head_size: 5, mlp_width: 7, activation: gelu}",
        "",
    ],
    [
        "numbers",
        "name: csv, path: people.csv, task: regression, targets: pay, ignore: [trade], missing: '?', impute: median",
        "{width: 9, activation: sigmoid}",
        "",
    ],
    [
        "names",
        "name: csv, path: people.csv, task: classification, targets: trade, missing: ['', '?'], impute: mean",
        "{width: 9}",
        "loss: cross_entropy\n",
    ],
    [
        "mixed",
        "name: csv, path: people.csv, task: regression, targets: [pay, size], categorical: [trade], \
         encoding: one_hot, unseen: own_place, missing: '?', impute: mean",
        "{width: 9}",
        "",
    ],
];

#[test]
fn exported_networks_answer_as_the_program_does() {
    let Some(python) = common::python() else { return };
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    table(&path.join("people.csv"));
    for [name, data, model, more] in RUNS {
        let text = format!(
            "data: {{{data}, batch_size: 10}}\nmodel: {model}\nalgorithm: {{name: f3}}\n\
             optimizer: {{learning_rate: 3e-3}}\nepochs: 2\nthreads: 1\n{more}"
        );
        fs::write(path.join(format!("{name}.yaml")), text).unwrap();
        succeeds(path, &["train", &format!("{name}.yaml"), "--quiet", "--run-dir", name]);
        // Python takes half a minute for a program.
        let endings = if name == "vit" { vec!["onnx", "py", "pt2"] } else { vec!["onnx", "py"] };
        for ending in endings {
            let said =
                succeeds(path, &["export", name, "-o", &format!("{name}_{ending}.{ending}")]);
            assert!(said.contains("in: ") && said.contains("[N, "), "{said}");
        }
        if data.contains("people") {
            succeeds(path, &["predict", name, "people.csv", "-o", &format!("{name}.csv")]);
        }
    }
    let script = common::root().join("tests/python/export.py");
    let package = common::root().join("python");
    let output =
        Command::new(&python).arg(&script).arg(&package).current_dir(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // The best epoch, and a checkpoint of which the network alone is taken.
    succeeds(
        path,
        &[
            "train",
            "mlp.yaml",
            "--quiet",
            "--run-dir",
            "best",
            "--set",
            "checkpoint.best=test_loss",
        ],
    );
    succeeds(path, &["export", "best", "--at", "best", "-o", "best.py"]);
    let names = |file: &str| {
        let mut names: Vec<String> = tch::Tensor::read_safetensors(path.join(file))
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("best.safetensors"), names("best/model.safetensors"));

    // Nothing is written over, and what cannot be done is said.
    for (arguments, reason) in [
        (["export", "mlp", "-o", "mlp_onnx.onnx"], "mlp_onnx.onnx: exists already"),
        (["export", "mlp", "-o", "mlp_py.py"], "mlp_py.py: exists already"),
        (["export", "mlp", "-o", "vit_pt2.pt2"], "vit_pt2.pt2: exists already"),
        (["export", "mlp", "-o", "mlp.txt"], "expected a name that ends in .onnx, .py or .pt2"),
        (["export", "nothing", "-o", "a.onnx"], "nothing: cannot be"),
    ] {
        let said = fails(path, &arguments);
        assert!(said.contains(reason), "{said}");
    }
    let said = fails(path, &["export", "mlp", "--at", "best", "-o", "b.onnx"]);
    assert!(
        said.contains("a run keeps its best epoch if `checkpoint.best` names a metric"),
        "{said}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_f3-tch"));
    let command = command.args(["export", "mlp", "-o", "c.pt2"]).current_dir(path);
    for (other, reason) in [("/nowhere/python", "cannot be started"), ("false", "could not export")]
    {
        let output = command.env("F3_PYTHON", other).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(reason) && said.contains("F3_PYTHON"), "{said}");
        assert!(!path.join("c.pt2").exists());
    }
}
