//! What the paper proves, in the setting in which it proves it: linear hidden layers, weights that
//! start at zero, no biases, one sample, a sigmoid output with binary cross-entropy, and the error
//! y* - y.
//!
//! The equations are written with rows, as in the program: x `[1, n_0]`, e `[1, C]`, B_i `[C, n_i]`,
//! b_i = e · B_i `[1, n_i]`, W_i `[n_i, n_{i-1}]`.

mod common;

use f3_tch::Generator;
use f3_tch::data::{Batch, Split};
use f3_tch::diagnostics::{LayerAngles, measure};
use f3_tch::error_info::ErrorInfo;
use f3_tch::feedback::FeedbackInit;
use f3_tch::loss::Loss;
use f3_tch::network::{Activation, Block, Dense, Network};
use f3_tch::optimizer::{OptimizerSettings, SgdSettings};
use f3_tch::trainer::{FeedbackTrainer, Trainer};
use tch::{Device, Kind, Tensor};

const INPUTS: i64 = 6;
const OUTPUTS: i64 = 4;
const LOSS: Loss = Loss::BinaryCrossEntropy;

/// The sample: x `[1, 6]`, and class 2 of 4.
fn sample(generator: &mut Generator) -> Split {
    Split {
        inputs: generator.uniform(&[1, INPUTS], -1.0, 1.0).unwrap().into(),
        targets: Tensor::from_slice(&[0f32, 0.0, 1.0, 0.0]).reshape([1, OUTPUTS]).into(),
    }
}

/// A network with linear hidden layers of 20 and weights that `weight` makes.
fn network(
    hidden: i64,
    generator: &mut Generator,
    weight: fn(&mut Generator, [i64; 2]) -> Tensor,
) -> Network {
    let mut blocks: Vec<Box<dyn Block>> = Vec::new();
    let mut inputs = INPUTS;
    for _ in 0..hidden {
        blocks.push(Box::new(Dense::of(
            weight(generator, [20, inputs]),
            None,
            Activation::Identity,
        )));
        inputs = 20;
    }
    let last = weight(generator, [OUTPUTS, inputs]);
    blocks.push(Box::new(Dense::of(last, None, Activation::Sigmoid)));
    let sgd = SgdSettings {
        learning_rate: 0.2,
        momentum: 0.0,
        nesterov: false,
        classical_momentum: false,
        weight_decay: 0.0,
    };
    let optimizer = OptimizerSettings::Sgd(sgd);
    Network::new(blocks, Some(&FeedbackInit::KaimingUniform), &optimizer, generator).unwrap()
}

fn zeros(_: &mut Generator, shape: [i64; 2]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, Device::Cpu))
}

fn random(generator: &mut Generator, shape: [i64; 2]) -> Tensor {
    generator.uniform(&shape, -0.5, 0.5).unwrap()
}

fn whole(data: &Split) -> Batch {
    data.batches(&Tensor::from_slice(&[0i64]), 1).next().unwrap()
}

fn angles(trainer: &FeedbackTrainer, data: &Split) -> Vec<LayerAngles> {
    measure(trainer, data, LOSS, 1).unwrap()
}

/// The scalar s that makes `matrix` ≈ s · `form`, and what is left over, relative to the matrix.
fn fit(matrix: &Tensor, form: &Tensor) -> (f64, f64) {
    let (matrix, form) = (matrix.to_kind(Kind::Double), form.to_kind(Kind::Double));
    let dot = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
    let scalar = dot(&matrix, &form) / dot(&form, &form);
    let rest = &matrix - &form * scalar;
    (scalar, (dot(&rest, &rest) / dot(&matrix, &matrix)).sqrt())
}

#[test]
fn weights_keep_the_form_of_theorem_2_and_descend_from_step_k_on() {
    for hidden in [1, 2, 4] {
        let layer_count = hidden as usize + 1; // K
        let mut generator = Generator::new(11).unwrap();
        let data = sample(&mut generator);
        let network = network(hidden, &mut generator, zeros);
        let feedback: Vec<Tensor> =
            network.layers().iter().filter_map(|it| Some(it.feedback()?.copy())).collect();
        let mut trainer =
            FeedbackTrainer::new(network, ErrorInfo::DelayedError, LOSS, &data).unwrap();

        // The error of the step before the first is that of the initial network: y = 1/2.
        let batch = whole(&data);
        let first_error = &*data.targets - 0.5;
        trainer.error_store_mut().unwrap().write(&batch.positions, &first_error);
        let b: Vec<Tensor> = feedback.iter().map(|matrix| first_error.mm(matrix)).collect();
        // W_1 = -s_1 b_1ᵀ x, W_i = s_i b_iᵀ b_{i-1}, W_K = -s_K eᵀ b_{K-1}
        let mut forms = vec![-b[0].tr().mm(&data.inputs)];
        for pair in b.windows(2) {
            forms.push(pair[1].tr().mm(&pair[0]));
        }
        forms.push(-first_error.tr().mm(b.last().unwrap()));

        for step in 1..=2 * layer_count {
            trainer.train_batch(&batch).unwrap();
            for (index, layer) in trainer.network().layers().iter().enumerate() {
                let weight = layer.block().as_dense().unwrap().weight();
                if index >= step {
                    // Nothing has reached this layer yet.
                    assert_eq!(weight.abs().max().double_value(&[]), 0.0);
                    continue;
                }
                let (scalar, rest) = fit(weight, &forms[index]);
                assert!(scalar > 0.0, "s_{} is {scalar} at step {step}", index + 1);
                assert!(rest < 1e-5, "W_{} has left its form by {rest}", index + 1);
            }
            // The error keeps its direction, too: e^t = c e^0 with c > 0.
            let y = trainer.network().forward(&data.inputs).unwrap();
            let (scalar, rest) = fit(&(&*data.targets - y), &first_error);
            assert!(scalar > 0.0 && rest < 1e-5, "e turned by {rest} at step {step}");

            // L_i = δh_i · ∂L/∂h_i > 0: the update direction is within 90° of the gradient.
            for (index, angles) in angles(&trainer, &data).iter().enumerate() {
                if step >= layer_count {
                    assert!(angles.delta_mean < 90.0, "layer {}: {angles:?}", index + 1);
                    assert!(angles.parameters < 90.0, "layer {}: {angles:?}", index + 1);
                } else {
                    assert_eq!(angles.delta_mean, 90.0, "the gradient still vanishes");
                }
            }
        }
    }
}

#[test]
fn directions_are_within_90_degrees_from_step_k_on_when_the_store_starts_as_the_targets() {
    for seed in 1..=5 {
        for hidden in [1, 2, 4] {
            let mut generator = Generator::new(seed).unwrap();
            let data = sample(&mut generator);
            let network = network(hidden, &mut generator, zeros);
            let mut trainer =
                FeedbackTrainer::new(network, ErrorInfo::DelayedError, LOSS, &data).unwrap();
            for step in 1..=12 {
                trainer.train_batch(&whole(&data)).unwrap();
                if step > hidden {
                    for angles in angles(&trainer, &data) {
                        assert!(angles.delta_mean < 90.0, "seed {seed}, step {step}: {angles:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn feedback_that_equals_the_product_of_forward_matrices_has_no_angle() {
    let mut generator = Generator::new(3).unwrap();
    let data = sample(&mut generator);
    let network = network(3, &mut generator, random);
    let weights: Vec<&Tensor> =
        network.layers().iter().map(|it| it.block().as_dense().unwrap().weight()).collect();
    let mut product = weights[3].shallow_clone();
    for index in (0..3).rev() {
        // The layers get y* - y where backpropagation has y - y*.
        let mut feedback = network.layers()[index].feedback().unwrap().shallow_clone();
        feedback.copy_(&product.neg());
        product = product.mm(weights[index]);
    }
    let trainer = FeedbackTrainer::new(network, ErrorInfo::CurrentError, LOSS, &data).unwrap();
    for angles in angles(&trainer, &data) {
        assert!(angles.delta_mean < 0.05 && angles.parameters < 0.05, "{angles:?}");
        assert!(angles.weights.unwrap() < 0.05, "{angles:?}");
        assert_eq!(angles.delta_deviation, 0.0, "of one sample");
    }
}
