//! Agreement with the paper's own program: real data, whole epochs, the tables in `golden/`.

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::{close, root};
use f3_tch::assemble::{DataFrom, assemble};
use f3_tch::config::{Config, Source};
use f3_tch::data::DataDirectory;
use f3_tch::metrics::Evaluation;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

const TOLERANCE: f64 = 1e-4; // relative for losses, MAE and MAPE, absolute for AUROC and F1

type Table = Vec<HashMap<String, String>>;

fn table(name: &str) -> Table {
    let mut reader =
        csv::Reader::from_path(root().join(format!("tests/golden/{name}.csv"))).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

/// The configuration of a golden run, from its settings.
fn configuration(settings: &Value, kernels: &str) -> Value {
    let init = settings["init"].as_str().unwrap();
    let mut feedback_init = json!({"name": init});
    if init == "discrete_uniform" {
        feedback_init["values"] = settings["discrete_values"].clone();
    }
    let algorithm = match settings["mode"].as_str().unwrap() {
        "bp" => json!({"name": "bp"}),
        _ => {
            json!({"name": "f3", "error_info": settings["error_info"], "feedback_init": feedback_init})
        }
    };
    let mut data = match settings["dataset"].as_str().unwrap() {
        "wine_quality_regression" => json!({"name": "wine_quality", "task": "regression"}),
        other => json!({"name": other}),
    };
    data["batch_size"] = settings["batch_size"].clone();
    json!({
        "seed": settings["seed"], "device": "cpu", "threads": 1, "kernels": kernels, "epochs": settings["epochs"],
        "data": data,
        "model": {"hidden_layers": settings["depth"], "width": settings["width"]},
        "algorithm": algorithm,
        "optimizer": {"name": "adam", "learning_rate": settings["lr"]},
    })
}

/// Compares the first four values and the sum of every tensor with the golden ones.
fn check_tensors(when: &str, found: &[(String, Tensor)], golden: &Value, tolerance: f64) {
    let golden = golden.as_object().unwrap();
    assert_eq!(found.len(), golden.len(), "{when}: other tensors than the golden run's");
    for (name, tensor) in found {
        let expected: Vec<f64> = serde_json::from_value(golden[name].clone()).unwrap();
        let flat = tensor.flatten(0, -1).to_kind(Kind::Double);
        let (sum, first) = expected.split_last().unwrap();
        for (index, expected) in first.iter().enumerate() {
            // As the float32 numbers that they are: the reader of JSON may err in the last digit.
            let (found, expected) = (flat.double_value(&[index as i64]) as f32, *expected as f32);
            assert!(
                f64::from((found - expected).abs()) <= tolerance,
                "{when}: {name}[{index}] is {found}, not {expected}"
            );
        }
        let found = flat.sum(Kind::Double).double_value(&[]);
        // Even of equal numbers the sum depends on the order of summation.
        let sum_tolerance = tolerance * (flat.numel() as f64).sqrt() + 1e-9;
        assert!((found - sum).abs() <= sum_tolerance, "{when}: {name} sums to {found}, not {sum}");
    }
}

fn check_row(name: &str, part: &str, found: &Evaluation, golden: &HashMap<String, String>) {
    let expected = |column: &str| golden[&format!("{part}_{column}")].parse::<f64>().unwrap();
    let place = format!("{name}, epoch {}, {part}", golden["epoch"]);
    let loss = expected("loss");
    println!(
        "{place}: loss {} (golden {loss}, off by {:.1e})",
        found.loss,
        found.loss / loss - 1.0
    );
    assert!(close(found.loss, loss, TOLERANCE), "{place}: loss {} is not {loss}", found.loss);
    for (metric, column, absolute, relative) in [
        ("auroc", "AUROC", TOLERANCE, 0.0),
        ("f1", "MultilabelF1", TOLERANCE, 0.0),
        ("accuracy", "accuracy", 0.011, 0.0), // percent: one sample of the test set
        ("mae", "mae", 0.0, TOLERANCE),
        ("mape", "mape", 0.0, TOLERANCE),
    ] {
        let Some(found) = found.metric(metric) else { continue };
        let expected = expected(column);
        let allowed = absolute + relative * expected;
        assert!((found - expected).abs() <= allowed, "{place}: {metric} {found} is not {expected}");
    }
}

fn agrees_with_golden(name: &str) {
    agrees_with_golden_on(name, &DataDirectory::locate(None));
}

fn agrees_with_golden_on(name: &str, directory: &DataDirectory) {
    for kernels in ["aten", "fused"] {
        println!("kernels: {kernels}");
        agrees_with_golden_by(kernels, name, directory);
    }
}

fn agrees_with_golden_by(kernels: &str, name: &str, directory: &DataDirectory) {
    let text = std::fs::read_to_string(root().join(format!("tests/golden/{name}.json"))).unwrap();
    let settings: Value = serde_json::from_str(&text).unwrap();
    let source = Source::parse(name, &configuration(&settings, kernels).to_string()).unwrap();
    let (config, _) = Config::read(&source).unwrap();
    let data = DataFrom::Files(directory, &mut |_| {});
    let (mut experiment, _) = assemble(&config, &source, data).unwrap();

    // The paper's program measures the standardised numbers.
    Arc::get_mut(&mut experiment.data).expect("nobody shares them").preparation = None;

    let initial = experiment.state.trainer.layers().named_tensors();
    check_tensors(&format!("{name}, start"), &initial, &settings["initial"], 0.0);
    experiment.train(&mut ()).unwrap();
    let rows = &experiment.state.history;
    let golden = table(name);
    assert_eq!(golden.len(), 2 * rows.len(), "two rows an epoch");
    for (row, golden) in rows.iter().zip(golden.chunks(2)) {
        assert_eq!(row.processed_samples.to_string(), golden[0]["processed_samples"]);
        check_row(name, "train", row.train.as_ref().unwrap(), &golden[0]);
        check_row(name, "test", row.test.as_ref().unwrap(), &golden[1]);
    }
    let trained = experiment.state.trainer.layers().named_tensors();
    check_tensors(&format!("{name}, end"), &trained, &settings["final"], 1e-4);
}

#[test]
fn f3_error_agrees_with_golden() {
    agrees_with_golden("g1_mnist_f3_error");
}

#[test]
fn backpropagation_agrees_with_golden() {
    agrees_with_golden("g2_mnist_bp");
}

#[test]
fn f3_loss_softmax_with_trinomial_feedback_agrees_with_golden() {
    agrees_with_golden("g6_mnist_d2_loss_softmax_tri");
}

#[test]
fn drtp_agrees_with_golden() {
    agrees_with_golden("g7_mnist_drtp");
}

#[test]
fn f3_error_on_wine_quality_agrees_with_golden() {
    let Some(data) = common::uci("wine_quality") else { return };
    agrees_with_golden_on("g3_wine_f3_error", &data.directory());
}

#[test]
fn drtp_on_wine_quality_agrees_with_golden() {
    let Some(data) = common::uci("wine_quality") else { return };
    agrees_with_golden_on("g4_wine_drtp", &data.directory());
}

#[test]
fn f3_error_on_sgemm_agrees_with_golden() {
    let Some(data) = common::uci("sgemm") else { return };
    agrees_with_golden_on("g5_sgemm_f3_error", &data.directory());
}
