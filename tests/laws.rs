//! Laws that the algorithms obey, whatever the numbers.

mod common;

use common::{INFOS, everything, experiment, experiment_on, snapshot, toy, train_epoch};
use f3_tch::Generator;
use f3_tch::data::{DataDirectory, DataSet, Digits, Task};
use f3_tch::diagnostics::measure;
use f3_tch::engine::Step;
use f3_tch::error_info::ErrorInfo;
use f3_tch::error_store::ErrorStore;
use f3_tch::loss::Loss;
use f3_tch::network::{Activation, Block, Dense};
use f3_tch::run::EpochRow;
use tch::{Device, Kind, Tensor};

/// All algorithms, f3 with all error information, on a network of three hidden layers.
fn algorithms() -> Vec<String> {
    let mut algorithms: Vec<String> = ["dfa", "drtp", "llo", "bp", "fa", "pepita"]
        .map(|name| format!("{{name: {name}}}"))
        .to_vec();
    algorithms.extend(INFOS.map(|info| format!("{{name: f3, error_info: {info}}}")));
    algorithms.push("{name: f3, error_info: delayed_error_predicted}".into());
    algorithms
}

fn yaml(algorithm: &str) -> String {
    format!(
        "{{model: {{width: [8, 5, 7]}}, data: {{batch_size: 8}}, algorithm: {algorithm}, \
         optimizer: {{learning_rate: 1e-2}}}}"
    )
}

/// What the network holds after some epochs.
fn trained(algorithm: &str, epochs: usize) -> Vec<(String, Tensor)> {
    let mut experiment = experiment(&yaml(algorithm), Task::Classification);
    for _ in 0..epochs {
        train_epoch(&mut experiment);
    }
    snapshot(&experiment)
}

fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = (found - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "differ by {difference}");
}

#[test]
fn dense_closed_form_matches_autograd() {
    use Activation::{Gelu, Identity, Relu, Sigmoid, Tanh};
    for activation in [Tanh, Relu, Sigmoid, Gelu, Identity] {
        let mut generator = Generator::new(5).unwrap();
        let dense = Dense::new(6, 4, activation, &mut generator, Device::Cpu).unwrap();
        let input = generator.uniform(&[9, 6], -1.0, 1.0).unwrap();
        let cotangent = generator.uniform(&[9, 4], -1.0, 1.0).unwrap();
        let found = dense.gradients(&dense.record(&input), &cotangent, true);

        let parameters: Vec<Tensor> =
            dense.parameters().iter().map(|(_, p)| p.copy().set_requires_grad(true)).collect();
        let leaf = input.copy().set_requires_grad(true);
        let z = leaf.mm(&parameters[0].tr()) + &parameters[1];
        let output = match activation {
            Tanh => z.tanh(),
            Relu => z.relu(),
            Sigmoid => z.sigmoid(),
            Gelu => z.gelu("none"),
            Identity => z,
        };
        assert_close(&dense.forward(&input), &output, 1e-6);
        (output * &cotangent).sum(Kind::Float).backward();
        for (found, parameter) in found.parameters.iter().zip(&parameters) {
            assert_close(found, &parameter.grad(), 1e-6);
        }
        assert_close(&found.input.unwrap(), &leaf.grad(), 1e-6);
    }
}

#[test]
fn saturated_outputs_have_gradient_zero() {
    let z = Tensor::from_slice(&[200f32, -200.0, 0.0]).reshape([1, 3]).set_requires_grad(true);
    let targets = Tensor::from_slice(&[0f32, 1.0, 1.0]).reshape([1, 3]);
    let y = z.sigmoid();
    let loss = y.binary_cross_entropy(&targets, None::<Tensor>, tch::Reduction::Mean);
    loss.backward();

    let y = y.detach();
    let gradient = Loss::BinaryCrossEntropy.gradient(&y, &targets);
    let through_sigmoid = Tensor::sigmoid_backward(&gradient, &y);
    assert_eq!(through_sigmoid, z.grad());
    assert_eq!(Vec::<Vec<f64>>::try_from(through_sigmoid).unwrap()[0][..2], [0.0, 0.0]);
}

#[test]
fn f3_with_target_equals_drtp() {
    assert_eq!(trained("{name: f3, error_info: one_hot_target}", 3), trained("{name: drtp}", 3));
}

#[test]
fn f3_with_current_error_equals_dfa() {
    assert_eq!(trained("{name: f3, error_info: current_error}", 3), trained("{name: dfa}", 3));
}

#[test]
fn first_epoch_of_delayed_error_equals_drtp_and_the_second_does_not() {
    let delayed = "{name: f3, error_info: delayed_error}";
    assert_eq!(trained(delayed, 1), trained("{name: drtp}", 1));
    assert_ne!(trained(delayed, 2), trained("{name: drtp}", 2));
}

#[test]
fn predicted_errors_that_do_not_learn_are_those_of_f3() {
    let predicted = |prediction: &str| {
        format!("{{name: f3, error_info: delayed_error_predicted, prediction: {prediction}}}")
    };
    let f3 = trained("{name: f3, error_info: delayed_error}", 4);
    let same = trained(&predicted("{local_rate: 0}"), 4);
    assert_eq!(f3.len(), same.len());
    for ((name, expected), (_, found)) in f3.iter().zip(&same) {
        assert_eq!(found, expected, "{name}");
    }
    for learns in ["{block: 1}", "{block: 1, stored: false}"] {
        let other = trained(&predicted(learns), 4);
        assert!(f3.iter().zip(&other).any(|((_, a), (_, b))| a != b), "{learns}");
    }
}

#[test]
fn predicted_errors_are_nearer_to_the_present_ones_in_the_first_epochs() {
    for local in ["input", "output"] {
        let digits = Digits {}.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {});
        let yaml = format!(
            "{{model: {{hidden_layers: 2, width: 50}}, data: {{batch_size: 10}}, optimizer: \
             {{learning_rate: 2e-3}}, diagnostics: {{every: 1}}, algorithm: {{name: f3, error_info: \
             delayed_error_predicted, prediction: {{local: {local}}}}}}}"
        );
        let mut run = experiment_on(digits.unwrap(), &yaml);
        let before = measure(run.state.trainer.as_ref(), &run.data.train, run.settings.loss, 50);
        assert!(before.unwrap().iter().all(|layer| layer.drift.is_none()));
        (0..4).for_each(|_| train_epoch(&mut run));
        let after = measure(run.state.trainer.as_ref(), &run.data.train, run.settings.loss, 50);
        for layer in after.unwrap() {
            let drift = layer.drift.unwrap();
            assert!(drift.left < 0.9 * drift.stored, "{local}: {drift:?}");
        }
    }
}

#[test]
fn dfa_in_one_pass_equals_dfa_with_a_second_forward_pass() {
    let one_pass = trained("{name: dfa}", 2);

    // The textbook's way: a pass for the error, then a pass in which the layers learn. DRTP's
    // trainer makes that second pass, if it is given the error in the place of the targets.
    let mut two_passes = experiment(&yaml("{name: drtp}"), Task::Classification);
    let mut output_layer = experiment(&yaml("{name: llo}"), Task::Classification);
    let data = toy(Task::Classification).train;
    for _ in 0..2 {
        let order = two_passes.state.generator.epoch_order(data.len()).unwrap();
        for mut batch in data.batches(&order, 8) {
            let _no_grad = tch::no_grad_guard();
            let hidden: Vec<Tensor> = snapshot(&two_passes).into_iter().map(|(_, t)| t).collect();
            // The network whose last layer alone learns gets the hidden layers as they are now.
            let layers = output_layer.state.trainer.layers().as_slice();
            for (index, layer) in layers[..3].iter().enumerate() {
                for (place, (_, parameter)) in layer.block().parameters().iter().enumerate() {
                    parameter.shallow_clone().copy_(&hidden[3 * index + place]);
                }
            }
            let y = output_layer.state.trainer.layers().forward(&batch.inputs).unwrap();
            let error = &batch.targets - y;
            let step = Step { learning_rate: 1e-2, batch_size: 8, watch: false };
            output_layer.state.trainer.train_batch(&batch, &step).unwrap();
            batch.targets = error;
            two_passes.state.trainer.train_batch(&batch, &step).unwrap();
        }
    }
    let hidden = snapshot(&two_passes);
    assert_eq!(hidden[..9], one_pass[..9]);
    let output = snapshot(&output_layer);
    let tensors = |named: &[(String, Tensor)]| {
        named.iter().map(|(_, tensor)| tensor.copy()).collect::<Vec<_>>()
    };
    assert_eq!(tensors(&output[6..]), tensors(&one_pass[9..]));
}

#[test]
fn last_layer_only_leaves_hidden_layers_bit_identical() {
    let before = trained("{name: llo}", 0);
    let after = trained("{name: llo}", 3);
    assert_eq!(before[..6], after[..6]);
    assert_ne!(before[6..], after[6..]);
}

#[test]
fn feedback_matrices_never_change() {
    let feedback = |named: Vec<(String, Tensor)>| {
        let fixed = |name: &str| name.contains("feedback") || name.contains("backward");
        named.into_iter().filter(|(name, _)| fixed(name)).collect::<Vec<_>>()
    };
    for algorithm in algorithms() {
        let before = feedback(trained(&algorithm, 0));
        let without = ["llo", "bp", "pepita"].iter().any(|it| algorithm.contains(it));
        let expected = if without { 0 } else { 3 };
        assert_eq!(before.len(), expected, "{algorithm}");
        assert_eq!(before, feedback(trained(&algorithm, 3)), "{algorithm}");
    }
}

#[test]
fn every_layer_that_should_move_moves() {
    for algorithm in algorithms() {
        let untaught = algorithm.contains("llo") || algorithm.contains("zeros");
        let before = trained(&algorithm, 0);
        let after = trained(&algorithm, 1);
        let trained = |name: &str| !name.contains("feedback") && !name.contains("backward");
        let parameters = before.iter().zip(&after).filter(|((name, _), _)| trained(name));
        for (index, ((name, before), (_, after))) in parameters.enumerate() {
            let hidden = index < 6;
            assert_eq!(before == after, untaught && hidden, "{algorithm}: {name}");
        }
    }
}

#[test]
fn same_seed_same_bits() {
    for algorithm in algorithms() {
        assert_eq!(trained(&algorithm, 2), trained(&algorithm, 2), "{algorithm}");
    }
    let other_seed = yaml("{name: bp}").replacen('{', "{seed: 2, ", 1);
    assert_ne!(snapshot(&experiment(&other_seed, Task::Classification)), trained("{name: bp}", 0));
}

#[test]
fn results_do_not_depend_on_which_epochs_are_evaluated() {
    for (algorithm, more) in [
        ("f3", ", diagnostics: {every: 2, samples: 9}"),
        ("f3", ", schedule: {name: pipelined, stages: 2}"),
        ("dfa", ""),
        ("bp", ""),
        ("pepita", ""),
    ] {
        let trained = |every: u64, train_every: u64| {
            let yaml = yaml(&format!("{{name: {algorithm}}}{more}"));
            let start = format!(
                "{{epochs: 7, evaluate_every: {every}, evaluate_train_every: {train_every}, "
            );
            let yaml = yaml.replacen('{', &start, 1);
            let mut run = experiment(&yaml, Task::Classification);
            run.train(&mut ()).unwrap();
            run
        };
        let mut each = trained(1, 1);
        let all = each.state.history.clone();
        assert!(all.iter().all(|row| row.is_evaluated() && row.train.is_some()));
        for (every, train_every, expected, expected_train) in [
            (2, 1, &[0, 2, 4, 6, 7][..], &[0, 2, 4, 6, 7][..]),
            (3, 1, &[0, 3, 6, 7], &[0, 3, 6, 7]),
            (7, 1, &[0, 7], &[0, 7]),
            (50, 1, &[0, 7], &[0, 7]),
            (1, 3, &[0, 1, 2, 3, 4, 5, 6, 7], &[0, 3, 6, 7]),
            (2, 3, &[0, 2, 4, 6, 7], &[0, 6, 7]),
            (3, 50, &[0, 3, 6, 7], &[0, 7]),
        ] {
            let some = trained(every, train_every);
            let epochs = |is_there: fn(&EpochRow) -> bool| {
                let rows = some.state.history.iter().filter(|row| is_there(row));
                rows.map(|row| row.epoch).collect::<Vec<_>>()
            };
            assert_eq!(epochs(EpochRow::is_evaluated), expected, "{every}, {train_every}");
            assert_eq!(epochs(|row| row.train.is_some()), expected_train, "{every}, {train_every}");
            // What is left out is all that differs.
            each.state.history = all.clone();
            for row in &mut each.state.history {
                row.train.take_if(|_| !expected_train.contains(&row.epoch));
                row.validation.take_if(|_| !expected.contains(&row.epoch));
                row.test.take_if(|_| !expected.contains(&row.epoch));
            }
            for ((name, found), (_, expected)) in everything(&some).iter().zip(everything(&each)) {
                let which = format!("{algorithm}{more}, every {every} and {train_every}");
                assert_eq!(*found, expected, "{which}: {name}");
            }
            assert_eq!(everything(&some).len(), everything(&each).len());
        }
    }
}

#[test]
fn shuffling_never_parts_a_sample_from_its_error() {
    let yaml =
        yaml("{name: f3, error_info: delayed_error}").replace("batch_size: 8", "batch_size: 30");
    let mut experiment = experiment(&yaml, Task::Classification);
    let data = toy(Task::Classification).train;
    let expected = tch::no_grad(|| {
        &*data.targets - experiment.state.trainer.layers().forward(&data.inputs).unwrap()
    });
    train_epoch(&mut experiment); // one batch: all errors are of the network before its step
    let store = experiment.state.trainer.error_store_mut().unwrap();
    assert_close(store.errors(), &expected, 1e-6);
}

#[test]
fn error_store_reads_what_was_written_at_a_position() {
    let targets = Tensor::eye(5, (Kind::Float, Device::Cpu));
    let mut store = ErrorStore::new(&targets).unwrap();
    assert_eq!(store.errors(), &targets);
    let positions = Tensor::from_slice(&[4i64, 0, 2]);
    let errors = Tensor::arange(15, (Kind::Float, Device::Cpu)).reshape([3, 5]);
    store.write(&positions, &errors);
    assert_eq!(store.read(&positions), errors);
    assert_eq!(store.read(&Tensor::from_slice(&[2i64])), errors.narrow(0, 2, 1));
    assert_eq!(
        store.read(&Tensor::from_slice(&[1i64, 3])),
        targets.index_select(0, &Tensor::from_slice(&[1i64, 3]))
    );
    assert_eq!(targets, Tensor::eye(5, (Kind::Float, Device::Cpu)), "the targets stay");
}

#[test]
fn error_statistics_compare_with_the_epoch_before() {
    let targets = Tensor::from_slice(&[1f32, 0.0, 0.0, 1.0]).reshape([2, 2]);
    let mut store = ErrorStore::new(&targets).unwrap();
    let positions = Tensor::from_slice(&[0i64, 1]);
    store.write(&positions, &(&targets * 0.5));
    let statistics = store.end_epoch();
    assert!((statistics.mean_absolute - 0.25).abs() < 1e-7);
    assert!((statistics.cosine_with_previous - 1.0).abs() < 1e-7);
    assert_eq!(statistics.sign_flips, 0.0);
    store.write(&positions, &(&targets * -0.5));
    let statistics = store.end_epoch();
    assert!((statistics.cosine_with_previous + 1.0).abs() < 1e-7);
    assert_eq!(statistics.sign_flips, 0.5, "two elements of four are zero");
}

#[test]
fn error_information_has_its_sign_and_scale() {
    let y = Tensor::from_slice(&[0.25f32, 0.75]).reshape([1, 2]);
    let targets = Tensor::from_slice(&[0f32, 1.0]).reshape([1, 2]);
    let observe = |info: ErrorInfo| -> Vec<f64> {
        let observed = info.observe(&y, &targets, Loss::BinaryCrossEntropy);
        Vec::try_from(observed.flatten(0, -1)).unwrap()
    };
    // y* - y, with no factor
    assert_eq!(observe(ErrorInfo::DelayedError), [-0.25, 0.25]);
    // -∂L/∂y of the mean over two elements: -1/2 (y - y*) / (y (1 - y))
    let expected = 0.25 / (0.25 * 0.75) / 2.0;
    for (found, expected) in observe(ErrorInfo::DelayedLoss).iter().zip([-expected, expected]) {
        assert!((found - expected).abs() < 1e-6);
    }
}

/// Models whose blocks have their gradients from autograd, for the toy images of 1 x 2 x 3.
const AUTOGRAD_MODELS: [&str; 2] = [
    "{name: cnn, topology: 3C3-4C1-pool-5FC}",
    "{name: vit, patch_size: 1, token_width: 4, blocks: 2, heads: 2, head_size: 3, mlp_width: 5}",
];

#[test]
fn laws_hold_for_blocks_with_autograd_too() {
    for model in AUTOGRAD_MODELS {
        let trained = |algorithm: &str, epochs: usize| {
            let yaml = yaml(algorithm).replace("{width: [8, 5, 7]}", model).replacen(
                '{',
                "{loss: bce, ",
                1,
            );
            let mut experiment = experiment(&yaml, Task::Classification);
            for _ in 0..epochs {
                train_epoch(&mut experiment);
            }
            snapshot(&experiment)
        };
        for algorithm in algorithms() {
            if algorithm.contains("name: fa}") || algorithm.contains("pepita") {
                continue; // for fully connected networks only
            }
            let (before, after) = (trained(&algorithm, 0), trained(&algorithm, 2));
            assert_eq!(after, trained(&algorithm, 2), "{algorithm} on {model}: same seed");
            let layers = before.len();
            for (index, ((name, before), (_, after))) in before.iter().zip(&after).enumerate() {
                let fixed = name.contains("feedback")
                    || algorithm.contains("llo") && index < layers - 2
                    || algorithm.contains("zeros") && index < layers - 2;
                assert_eq!(before == after, fixed, "{algorithm} on {model}: {name}");
            }
        }
        let delayed = "{name: f3, error_info: delayed_error}";
        assert_eq!(trained(delayed, 1), trained("{name: drtp}", 1), "{model}");
        assert_ne!(trained(delayed, 2), trained("{name: drtp}", 2), "{model}");
        assert_eq!(
            trained("{name: f3, error_info: current_error}", 2),
            trained("{name: dfa}", 2),
            "{model}"
        );
    }
}

#[test]
fn dfa_teaches_logits_with_their_softmax() {
    let trained = |algorithm: &str| {
        let yaml = yaml(algorithm).replacen('{', "{loss: cross_entropy, ", 1);
        let mut experiment = experiment(&yaml, Task::Classification);
        train_epoch(&mut experiment);
        snapshot(&experiment)
    };
    assert_eq!(trained("{name: dfa}"), trained("{name: f3, error_info: current_error_softmax}"));
    assert_ne!(trained("{name: dfa}"), trained("{name: f3, error_info: current_error}"));
    assert_eq!(trained("{name: f3}"), trained("{name: f3, error_info: delayed_error_softmax}"));
}

#[test]
fn a_hundred_layers_train() {
    for algorithm in ["bp", "fa", "dfa", "drtp", "llo", "f3", "pepita"] {
        let yaml = yaml(&format!("{{name: {algorithm}}}"))
            .replace("{width: [8, 5, 7]}", "{hidden_layers: 100, width: 12}");
        let mut experiment = experiment(&yaml, Task::Classification);
        assert_eq!(experiment.state.trainer.layers().as_slice().len(), 101);
        let before = snapshot(&experiment);
        train_epoch(&mut experiment);
        let after = snapshot(&experiment);
        let output = |named: &[(String, Tensor)]| {
            let is_weight = |name: &str| name.ends_with(".weight");
            named.iter().rev().find(|(name, _)| is_weight(name)).unwrap().1.copy()
        };
        assert_ne!(output(&before), output(&after), "{algorithm}: the output layer moves");
        if ["f3", "dfa", "drtp"].contains(&algorithm) {
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert_eq!(moved.count(), 2 * 101, "{algorithm}: every weight and bias moves");
        }
        let finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) == 1;
        assert!(after.iter().all(|(_, tensor)| finite(tensor)), "{algorithm}");
    }
}

#[test]
fn alignment_through_the_weights_themselves_is_backpropagation() {
    let mut aligned = experiment(&yaml("{name: fa}"), Task::Classification);
    let mut exact = experiment(&yaml("{name: bp}"), Task::Classification);
    let data = toy(Task::Classification).train;
    let order = Tensor::arange(data.len(), (Kind::Int64, Device::Cpu));
    let mut differed = false;
    for batch in data.batches(&order, 8) {
        differed |= snapshot(&aligned).iter().any(|(name, matrix)| {
            let weight = name.replace("backward_weight", "weight");
            let other = snapshot(&exact).into_iter().find(|(name, _)| *name == weight).unwrap().1;
            name.contains("backward") && *matrix != other
        });
        for layer in aligned.state.trainer.layers().as_slice() {
            for (_, matrix) in layer.block().buffers() {
                let weight = layer.block().as_dense().unwrap().weight();
                matrix.shallow_clone().copy_(weight);
            }
        }
        let step = Step { learning_rate: 1e-2, batch_size: 8, watch: false };
        aligned.state.trainer.train_batch(&batch, &step).unwrap();
        exact.state.trainer.train_batch(&batch, &step).unwrap();
        let weights = |named: Vec<(String, Tensor)>| -> Vec<(String, Tensor)> {
            named.into_iter().filter(|(name, _)| !name.contains("backward")).collect()
        };
        assert_eq!(weights(snapshot(&aligned)), weights(snapshot(&exact)));
    }
    assert!(differed, "the fixed matrices were others before");
}

#[test]
fn classical_momentum_is_pytorchs_while_the_step_size_stays() {
    let trained = |classical: bool, schedule: &str| {
        let sgd = format!(
            "optimizer: {{name: sgd, learning_rate: 0.01, momentum: 0.9, \
             classical_momentum: {classical}, schedule: {schedule}}}"
        );
        let yaml = yaml("{name: bp}").replace("optimizer: {learning_rate: 1e-2}", &sgd);
        let mut experiment = experiment(&yaml, Task::Classification);
        experiment.settings.epochs = 3;
        experiment.train(&mut ()).unwrap();
        snapshot(&experiment)
    };
    let difference = |schedule: &str| {
        let pairs = trained(true, schedule).into_iter().zip(trained(false, schedule));
        let differences = pairs.map(|((_, a), (_, b))| (a - b).abs().max().double_value(&[]));
        differences.fold(0.0, f64::max)
    };
    assert!(difference("{name: constant}") < 1e-6);
    assert!(difference("{name: multi_step, milestones: [1]}") > 1e-3);
}
