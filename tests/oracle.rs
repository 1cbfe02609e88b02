//! Parity with an independent program: `python/oracle.py`, written with PyTorch's autograd.
//!
//! Every algorithm × error information × initialiser (and every optimizer, loss and activation, both
//! tasks, several network shapes, convolutional blocks and transformers) is trained here and there
//! from the same seed, and compared after each of 20 steps: parameters, feedback, optimizer state,
//! stored errors, loss.

mod common;

use std::collections::HashMap;

use common::{INFOS, experiment_on, toy};
use f3_tch::data::{Dataset, Split, Task};
use f3_tch::engine::Step;
use f3_tch::metrics::{macro_auroc, macro_f1, mean_absolute_error, mean_percentage_error};
use f3_tch::run::Run;
use f3_tch::trainer::Epoch;
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

/// A case: a configuration in which everything is said, and the data that it is for.
fn cases() -> Vec<Value> {
    let mut cases = Vec::new();
    let mut add = |algorithm: Value, model: Value, task: &str, loss: &str, optimizer: Value| {
        let id = cases.len();
        let config = json!({
            // libtorch's kernels, bit for bit PyTorch's; the fused ones are held against them in
            // tests/schedules.rs, since Adam makes much of a gradient's last bit where it vanishes.
            "kernels": "aten",
            "seed": id + 1, "epochs": EPOCHS, "data": {"batch_size": BATCH_SIZE}, "model": model,
            "loss": loss, "algorithm": algorithm, "optimizer": optimizer,
        });
        cases.push(json!({"id": id, "task": task, "config": config}));
    };
    let mlp = |hidden: &[i64], activation: &str| json!({"name": "mlp", "width": hidden, "activation": activation});
    let adam = &optimizers()[0];
    let kaiming = &initialisers()[0];
    let f3 =
        |info: &str, init: &Value| json!({"name": "f3", "error_info": info, "feedback_init": init});
    let with_feedback = |name: &str, init: &Value| json!({"name": name, "feedback_init": init});

    // Width 8 is 2 values over 3 outputs, as `cartesian_product` wants it.
    for init in initialisers() {
        for hidden in [&[8][..], &[8, 8, 8]] {
            let model = mlp(hidden, "tanh");
            for info in INFOS {
                add(f3(info, &init), model.clone(), "classification", "bce", adam.clone());
            }
            for name in ["dfa", "drtp"] {
                let algorithm = with_feedback(name, &init);
                add(algorithm, model.clone(), "classification", "bce", adam.clone());
            }
        }
    }
    // The rules that differ in kind, with each of the other settings.
    let rules = [
        json!({"name": "bp"}),
        json!({"name": "llo"}),
        with_feedback("fa", kaiming),
        with_feedback("dfa", kaiming),
        with_feedback("drtp", kaiming),
        f3("delayed_error", kaiming),
        f3("delayed_loss", kaiming),
    ];
    for optimizer in optimizers() {
        for (task, loss) in [("classification", "bce"), ("regression", "mse")] {
            for hidden in [&[16, 5][..], &[12], &[]] {
                for rule in &rules {
                    add(rule.clone(), mlp(hidden, "tanh"), task, loss, optimizer.clone());
                }
            }
        }
    }
    for loss in ["bce", "mse", "cross_entropy"] {
        for activation in ["tanh", "relu", "sigmoid", "gelu", "identity"] {
            for rule in &rules {
                let model = mlp(&[7, 6], activation);
                add(rule.clone(), model, "classification", loss, adam.clone());
            }
        }
        for info in INFOS {
            let model = mlp(&[7, 6], "tanh");
            add(f3(info, kaiming), model, "classification", loss, adam.clone());
        }
    }
    let schedule = json!({"name": "multi_step", "milestones": [2, 3], "gamma": 0.3});
    let momentum = |classical: bool| {
        json!({"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.01,
               "classical_momentum": classical, "schedule": schedule})
    };
    for (hidden, dropout) in [(&[9][..], 0.0), (&[9], 0.1), (&[9, 7, 8], 0.3), (&[], 0.5)] {
        for classical in [false, true] {
            let rule = json!({"name": "pepita", "projection_scale": 0.5, "dropout": dropout});
            let model = mlp(hidden, "relu");
            add(rule, model, "classification", "cross_entropy", momentum(classical));
        }
    }
    for classical in [false, true] {
        for rule in &rules {
            let model = mlp(&[7, 6], "tanh");
            add(rule.clone(), model, "classification", "bce", momentum(classical));
        }
    }
    // Blocks whose gradients are autograd's.
    // Feedback of this size makes gradients of size one, whose float32 digits go beyond 1e-6.
    let small = json!({"name": "discrete_uniform", "scalar": 0.05, "values": [-1.0, 0.0, 1.0]});
    let slow = json!({"name": "sgd", "learning_rate": 1e-3, "momentum": 0.9});
    let cnn = |topology: &str, activation: &str| json!({"name": "cnn", "topology": topology, "activation": activation});
    let vit = |activation: &str| {
        json!({"name": "vit", "patch_size": 2, "token_width": 4, "blocks": 2, "heads": 3,
               "head_size": 5, "mlp_width": 7, "activation": activation})
    };
    for model in [cnn("3C3-pool-4C1-6FC", "tanh"), cnn("3C5-2C3", "tanh"), vit("tanh")] {
        for loss in ["bce", "cross_entropy"] {
            for rule in [
                json!({"name": "bp"}),
                json!({"name": "llo"}),
                with_feedback("dfa", &small),
                with_feedback("drtp", &small),
                f3("delayed_error", &small),
                f3("delayed_loss", &small),
                f3("delayed_error_softmax", &small),
            ] {
                add(rule, model.clone(), "images", loss, slow.clone());
            }
        }
    }
    for activation in ["relu", "sigmoid", "gelu", "identity"] {
        for model in [cnn("3C3-pool-4C1-6FC", activation), vit(activation)] {
            for rule in [json!({"name": "bp"}), f3("delayed_error", &small)] {
                add(rule, model.clone(), "images", "bce", slow.clone());
            }
        }
    }
    // Errors that the layers predict, whole epochs at a time.
    for (block, lag, share, stored, local) in [
        (1, 1, 1.0, true, "input"),
        (2, 1, 1.0, true, "output"),
        (2, 2, 0.5, true, "input"),
        (3, 1, 0.4, false, "output"),
        (1, 3, 1.0, false, "input"),
        (20, 1, 1.0, true, "input"),
    ] {
        let rule = json!({
            "name": "f3", "error_info": "delayed_error_predicted", "feedback_init": kaiming,
            "prediction": {"local_rate": 1e-2, "local": local, "block": block, "lag": lag,
                           "share": share, "stored": stored},
        });
        for (task, loss) in
            [("classification", "bce"), ("classification", "cross_entropy"), ("regression", "mse")]
        {
            add(rule.clone(), mlp(&[7, 6], "tanh"), task, loss, optimizers()[2].clone());
        }
    }
    cases
}

/// 30 + 10 random images of two channels and 4 x 6 pixels, in three classes.
fn images() -> Dataset {
    let mut generator = f3_tch::Generator::new(98).unwrap();
    let mut split = |samples: i64| {
        Split::new(
            generator.uniform(&[samples, 48], -2.0, 2.0).unwrap(),
            generator.integers(&[samples], 3).unwrap().onehot(3).to_kind(Kind::Float),
        )
    };
    let (train, test) = (split(30), split(10));
    let image = Some([2, 4, 6]);
    Dataset { image, ..Dataset::new("images", Task::Classification, train, test) }
}

fn data(task: &str) -> Dataset {
    match task {
        "classification" => toy(Task::Classification),
        "regression" => toy(Task::Regression),
        _ => images(),
    }
}

/// The run that a case describes; JSON is YAML.
fn build(case: &Value) -> Run {
    experiment_on(data(case["task"].as_str().unwrap()), &case["config"].to_string())
}

/// What the oracle has after one step: name and tensor.
type Record = HashMap<String, Tensor>;

/// The largest difference to what the oracle has, and where it is; of what is drawn, or of
/// what is computed too.
fn compare(experiment: &mut Run, oracle: &Record, computed: bool) -> (f64, String) {
    let mut found = experiment.state.trainer.layers().named_tensors();
    for (index, layer) in experiment.state.trainer.layers().as_slice().iter().enumerate() {
        for (name, tensor) in layer.optimizer().state() {
            found.push((format!("optimizer.{index}.{name}"), tensor.shallow_clone()));
        }
    }
    let state = experiment.state.trainer.state().into_iter();
    // Guesses, maps and the maps' optimizers.
    found.extend(state.filter(|(name, _)| name.starts_with("prediction.")));
    match experiment.state.trainer.error_store_mut() {
        Some(store) => found.push(("errors".into(), store.errors().shallow_clone())),
        // The oracle's errors stay the targets where the algorithm stores none.
        None => found.push(("errors".into(), experiment.data.train.targets.shallow_clone())),
    }
    let data = &experiment.data.train;
    let output = tch::no_grad(|| experiment.state.trainer.layers().forward(&data.inputs).unwrap());
    // Summed in double precision, as by the oracle: this is about the network, not the sum.
    let (output, targets) = (output.to_kind(Kind::Double), data.targets.to_kind(Kind::Double));
    let loss = experiment.settings.loss.sum(&output, &targets) / data.len() as f64;
    found.push(("loss".into(), loss.reshape([1])));

    assert_eq!(found.len(), oracle.len(), "the oracle has other tensors");
    let mut worst = (0.0, String::new());
    for (name, tensor) in found {
        if name == "loss" && !computed {
            continue;
        }
        let expected = &oracle[&name];
        assert_eq!(tensor.size(), expected.size(), "{name}");
        let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
        let expected = expected.to_kind(Kind::Double);
        let difference = largest(tensor.to_kind(Kind::Double) - expected);
        // Of a momentum buffer, which sums gradients, the difference counts in relation to the
        // largest gradients that go through the block, since float32 rounds in relation to them.
        let scale = match name.split_once("momentum_buffer") {
            Some((layer, _)) => oracle
                .iter()
                .filter(|(other, _)| other.starts_with(&format!("{layer}momentum_buffer")))
                .map(|(_, tensor)| largest(tensor.shallow_clone()))
                .fold(1.0, f64::max),
            None => 1.0,
        };
        let difference = difference / scale;
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
    let mut tensors = Vec::new();
    for task in ["classification", "regression", "images"] {
        let Split { inputs, targets } = data(task).train;
        tensors.push((format!("inputs_{task}"), inputs.shallow_clone()));
        tensors.push((format!("targets_{task}"), targets.shallow_clone()));
    }
    Tensor::write_safetensors(&tensors, file("data.safetensors")).unwrap();
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
        let (initial, place) = compare(&mut experiment, record(0), false);
        assert!(initial <= 1e-12, "{case}: {place} is drawn differently, by {initial}");
        let mut step = 0;
        let mut check = |experiment: &mut Run, step: usize| {
            let (difference, name) = compare(experiment, record(step), true);
            worst_of_all = worst_of_all.max(difference);
            if difference.is_nan() || difference > TOLERANCE {
                failures.push(format!("{difference:.1e} in {name} after step {step}: {case}"));
            }
        };
        let evaluations = 2; // each draws a number
        for epoch in 1..=EPOCHS {
            let learning_rate = experiment.settings.learning_rate.at(epoch);
            for _ in 0..evaluations {
                experiment.state.generator.int64().unwrap();
            }
            let samples = experiment.data.train.len();
            let order = experiment.state.generator.epoch_order(samples).unwrap();
            if case["config"]["algorithm"]["prediction"].is_object() {
                let Run { state, data, .. } = &mut experiment;
                let data = &data.train;
                let (order, batch_size, diagnosed) = (&order, BATCH_SIZE, false);
                let epoch = Epoch { data, order, batch_size, learning_rate, diagnosed };
                state.trainer.train_epoch(&epoch, &mut |_| {}).unwrap();
                step += (samples as usize).div_ceil(BATCH_SIZE as usize);
                check(&mut experiment, step);
                continue;
            }
            for start in (0..samples).step_by(BATCH_SIZE as usize) {
                let positions = order.narrow(0, start, BATCH_SIZE.min(samples - start));
                for batch in experiment.data.train.batches(&positions, BATCH_SIZE) {
                    let step = Step { learning_rate, batch_size: batch.len(), watch: false };
                    experiment.state.trainer.train_batch(&batch, &step).unwrap();
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
    let errors = [mean_absolute_error(&scores, &targets), mean_percentage_error(&scores, &targets)];
    let found = [macro_auroc(&scores, &targets), macro_f1(&scores, &targets), errors[0], errors[1]];
    assert_eq!(expected.len(), found.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(common::close(*found, *expected, 1e-6), "{found} against {expected}");
    }
}

#[test]
fn step_sizes_equal_pytorchs_schedulers() {
    let Some(python) = common::python() else { return };
    const EPOCHS: u64 = 30;
    let mut cases = Vec::new();
    for schedule in [
        json!({"name": "constant"}),
        json!({"name": "step", "step_size": 4, "gamma": 0.5}),
        json!({"name": "multi_step", "milestones": [3, 4, 11], "gamma": 0.1}),
        json!({"name": "exponential", "gamma": 0.93}),
        json!({"name": "cosine", "t_max": 10, "minimum": 0.001}),
        json!({"name": "cosine", "t_max": 25, "minimum": 0.0}),
    ] {
        for (warmup_epochs, warmup_start) in [(0, 0.5), (1, 0.1), (5, 0.2), (40, 1.0 / 3.0)] {
            let mut schedule = schedule.clone();
            schedule["warmup_epochs"] = warmup_epochs.into();
            schedule["warmup_start"] = warmup_start.into();
            cases.push(json!({"schedule": schedule, "rate": 0.07, "epochs": EPOCHS}));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.json");
    std::fs::write(&path, Value::from(cases.clone()).to_string()).unwrap();
    let printed = common::run_python(&python, "schedules.py", &[&path]);
    let expected: Vec<Vec<f64>> = serde_json::from_str(&printed).unwrap();
    for (case, expected) in cases.iter().zip(expected) {
        let config = json!({
            "algorithm": {"name": "bp"}, "epochs": EPOCHS, "model": {"width": [4]},
            "data": {"batch_size": 8},
            "optimizer": {"name": "sgd", "learning_rate": 0.07, "schedule": case["schedule"]},
        });
        let experiment = experiment_on(toy(Task::Classification), &config.to_string());
        for (epoch, expected) in (1..).zip(expected) {
            let found = experiment.settings.learning_rate.at(epoch);
            // PyTorch goes from one step size to the next, and adds up roundings on the way.
            let close = (found - expected).abs() <= 1e-12 + 1e-9 * expected;
            assert!(close, "{case}: epoch {epoch} has {found}, not {expected}");
        }
    }
}
