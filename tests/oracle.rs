//! Parity with an independent program: `python/oracle.py`, written with PyTorch's autograd.
//!
//! Every algorithm × error information × initialiser (and every optimizer, both tasks, several
//! network shapes) is trained here and there from the same seed, and compared after each of 20
//! steps: parameters, feedback, optimizer state, stored errors, loss.

mod common;

use std::collections::HashMap;

use common::{INFOS, experiment, toy};
use f3_tch::data::Task;
use f3_tch::metrics::{macro_auroc, macro_f1, regression};
use f3_tch::run::Experiment;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

const TOLERANCE: f64 = 1e-6;
const EPOCHS: u64 = 5; // of 4 batches
const BATCH_SIZE: i64 = 8; // of 30 samples: the last batch is smaller

fn initialisers() -> Vec<Value> {
    vec![
        json!({"name": "kaiming_uniform"}),
        json!({"name": "discrete_uniform", "scalar": 0.5, "values": [-1.0, 0.0, 1.0]}),
        json!({"name": "identity_repeat_pm"}),
        json!({"name": "identity_repeat", "scalar": 0.3}),
        json!({"name": "identity_fill_zero"}),
        json!({"name": "constant", "scalar": 0.1}),
        json!({"name": "alternate_negative", "scalar": 0.1}),
        json!({"name": "chunked_negative", "scalar": 0.1}),
        json!({"name": "cartesian_product", "scalar": 0.2, "values": [-1.0, 1.0]}),
        json!({"name": "kaiming_uniform_repeat_line"}),
    ]
}

fn optimizers() -> Vec<Value> {
    vec![
        json!({"name": "adam", "learning_rate": 1e-3}),
        json!({"name": "adam", "learning_rate": 1e-3, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.1}),
        json!({"name": "sgd", "learning_rate": 0.05}),
        json!({"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.01}),
        json!({"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": true}),
    ]
}

fn cases() -> Vec<Value> {
    let mut cases = Vec::new();
    let mut add = |algorithm: Value, hidden: &[i64], task: &str, optimizer: &Value| {
        let mut case = json!({
            "id": cases.len(), "seed": cases.len() + 1, "hidden": hidden, "task": task,
            "optimizer": optimizer, "epochs": EPOCHS, "batch_size": BATCH_SIZE,
        });
        let map = case.as_object_mut().unwrap();
        map.insert("algorithm".into(), algorithm["name"].clone());
        for key in ["error_info", "feedback_init"] {
            if !algorithm[key].is_null() {
                map.insert(key.into(), algorithm[key].clone());
            }
        }
        cases.push(case);
    };
    // Width 8 is 2 values over 3 outputs, as `cartesian_product` wants it.
    let networks: [&[i64]; 2] = [&[8], &[8, 8, 8]];
    let adam = &optimizers()[0];
    for init in initialisers() {
        for hidden in networks {
            for info in INFOS {
                let algorithm = json!({"name": "f3", "error_info": info, "feedback_init": init});
                add(algorithm, hidden, "classification", adam);
            }
            for name in ["dfa", "drtp"] {
                let algorithm = json!({"name": name, "feedback_init": init});
                add(algorithm, hidden, "classification", adam);
            }
        }
    }
    let kaiming = &initialisers()[0];
    for optimizer in optimizers() {
        for task in ["classification", "regression"] {
            for hidden in [&[16, 5][..], &[12], &[]] {
                for name in ["dfa", "drtp"] {
                    let algorithm = json!({"name": name, "feedback_init": kaiming});
                    add(algorithm, hidden, task, &optimizer);
                }
                for info in ["delayed_error", "delayed_loss"] {
                    let algorithm =
                        json!({"name": "f3", "error_info": info, "feedback_init": kaiming});
                    add(algorithm, hidden, task, &optimizer);
                }
                add(json!({"name": "llo"}), hidden, task, &optimizer);
                add(json!({"name": "bp"}), hidden, task, &optimizer);
            }
        }
    }
    cases
}

fn task(case: &Value) -> Task {
    match case["task"].as_str().unwrap() {
        "classification" => Task::Classification,
        _ => Task::Regression,
    }
}

/// The configuration of a case; JSON is YAML.
fn build(case: &Value) -> Experiment {
    let mut algorithm = json!({"name": case["algorithm"]});
    for key in ["error_info", "feedback_init"] {
        if let Some(value) = case.get(key) {
            algorithm[key] = value.clone();
        }
    }
    let config = json!({
        "seed": case["seed"], "model": {"width": case["hidden"]}, "algorithm": algorithm,
        "optimizer": case["optimizer"], "data": {"batch_size": BATCH_SIZE},
    });
    experiment(&config.to_string(), task(case))
}

/// What the oracle has after one step: name and tensor.
type Record = HashMap<String, Tensor>;

/// The largest absolute difference to what the oracle has, and where it is.
fn compare(experiment: &mut Experiment, oracle: &Record) -> (f64, String) {
    let mut found = experiment.trainer.network().named_tensors();
    for (index, layer) in experiment.trainer.network().layers().iter().enumerate() {
        for (name, tensor) in layer.optimizer().state() {
            found.push((format!("optimizer.{index}.{name}"), tensor.shallow_clone()));
        }
    }
    match experiment.trainer.error_store_mut() {
        Some(store) => found.push(("errors".into(), store.errors().shallow_clone())),
        // The oracle's errors stay the targets where the algorithm stores none.
        None => found.push(("errors".into(), experiment.data.train.targets.shallow_clone())),
    }
    let data = &experiment.data.train;
    let output = tch::no_grad(|| experiment.trainer.network().forward(&data.inputs));
    // Summed in double precision, as by the oracle: this is about the network, not the sum.
    let (output, targets) = (output.to_kind(Kind::Double), data.targets.to_kind(Kind::Double));
    let loss = experiment.loss.sum(&output, &targets) / data.len() as f64;
    found.push(("loss".into(), loss.reshape([1])));

    assert_eq!(found.len(), oracle.len(), "the oracle has other tensors");
    let mut worst = (0.0, String::new());
    for (name, tensor) in found {
        let expected = &oracle[&name];
        assert_eq!(tensor.size(), expected.size(), "{name}");
        let difference = (tensor.to_kind(Kind::Double) - expected.to_kind(Kind::Double))
            .abs()
            .max()
            .double_value(&[]);
        if difference.is_nan() || difference > worst.0 {
            worst = (difference, name);
        }
    }
    worst
}

#[test]
fn every_step_of_every_algorithm_equals_the_oracle() {
    let Some(python) = common::python() else { return };
    let cases = cases();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("cases.json"), Value::from(cases.clone()).to_string()).unwrap();
    let classification = toy(Task::Classification).train;
    let regression = toy(Task::Regression).train;
    assert_eq!(classification.inputs, regression.inputs);
    let data = [
        ("inputs", &classification.inputs),
        ("targets_classification", &classification.targets),
        ("targets_regression", &regression.targets),
    ];
    Tensor::write_safetensors(&data, file("data.safetensors")).unwrap();
    let arguments = ["cases.json", "data.safetensors", "results.safetensors"].map(file);
    common::run_python(&python, "oracle.py", &arguments.each_ref().map(|path| path.as_path()));
    let mut oracle: HashMap<String, Record> = HashMap::new();
    for (place, tensor) in Tensor::read_safetensors(file("results.safetensors")).unwrap() {
        let (step, name) = place.rsplit_once('/').unwrap();
        oracle.entry(step.to_string()).or_default().insert(name.to_string(), tensor);
    }

    let mut failures = Vec::new();
    let mut worst_of_all: f64 = 0.0;
    for case in &cases {
        let mut experiment = build(case);
        let record = |step: usize| &oracle[&format!("{}/{step}", case["id"])];
        let (initial, place) = compare(&mut experiment, record(0));
        assert!(initial <= 1e-12, "{case}: {place} is drawn differently, by {initial}");
        let mut step = 0;
        let mut check = |experiment: &mut Experiment, step: usize| {
            let (difference, name) = compare(experiment, record(step));
            worst_of_all = worst_of_all.max(difference);
            if difference.is_nan() || difference > TOLERANCE {
                failures.push(format!("{difference:.1e} in {name} after step {step}: {case}"));
            }
        };
        let evaluations = 2; // each draws a number
        for _ in 0..EPOCHS {
            for _ in 0..evaluations {
                experiment.generator.int64().unwrap();
            }
            let samples = experiment.data.train.len();
            let order = experiment.generator.epoch_order(samples).unwrap();
            for start in (0..samples).step_by(BATCH_SIZE as usize) {
                let positions = order.narrow(0, start, BATCH_SIZE.min(samples - start));
                for batch in experiment.data.train.batches(&positions, BATCH_SIZE) {
                    experiment.trainer.train_batch(&batch).unwrap();
                }
                step += 1;
                check(&mut experiment, step);
            }
        }
    }
    println!("{} cases; the largest difference is {worst_of_all:.1e}", cases.len());
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn metrics_equal_torchmetrics() {
    let Some(python) = common::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.safetensors");
    let mut generator = f3_tch::Generator::new(4).unwrap();
    // Rounded to tenths, so that there are many ties; the last class has no positive sample.
    let scores = (generator.uniform(&[200, 5], 0.0, 1.0).unwrap() * 10.0).round() / 10.0;
    let targets = generator.integers(&[200], 4).unwrap().onehot(5);
    let pair = [("scores", &scores), ("targets", &targets.to_kind(Kind::Int64))];
    Tensor::write_safetensors(&pair, &path).unwrap();
    let printed = common::run_python(&python, "metrics.py", &[&path]);
    let expected: Vec<f64> = printed.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let targets = targets.to_kind(Kind::Float);
    let errors = regression(&scores, &targets);
    let found = [macro_auroc(&scores, &targets), macro_f1(&scores, &targets), errors[0], errors[1]];
    assert_eq!(expected.len(), found.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(common::close(*found, *expected, 1e-6), "{found} against {expected}");
    }
}
