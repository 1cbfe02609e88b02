//! The fused kernels of transformer blocks against libtorch's operations and autograd, block by block:
//! outputs, gradients, steps and the gradient of the input, for sizes around those of vectors.

mod common;

use common::{experiment, train_epoch};
use f3_tch::Generator;
use f3_tch::data::Task;
use f3_tch::diagnostics::measure;
use f3_tch::engine::{BlockEngine, Engine, FusedTransformer, Signal, Step};
use f3_tch::network::{Activation, Block, TransformerBlock, Vit};
use f3_tch::optimizer::{AdamSettings, OptimizerSettings, SgdSettings};
use tch::{Device, Tensor};

/// The image in patches of 2 x 2 pixels with 2 channels, the tokens' width, how many heads and of which
/// size, and the width of the perceptron.
struct Sizes([i64; 2], i64, i64, i64, i64);

const SIZES: [Sizes; 7] = [
    Sizes([4, 4], 32, 8, 64, 128), // that of `mnist_vit`
    Sizes([2, 2], 5, 1, 3, 7),
    Sizes([3, 3], 16, 2, 8, 17),
    Sizes([1, 1], 8, 3, 4, 8),
    Sizes([4, 4], 24, 2, 5, 9),
    Sizes([5, 7], 33, 1, 17, 31), // more tokens than fit into two vectors
    Sizes([7, 7], 16, 2, 16, 32),
];

const CLASSES: i64 = 3;

fn shape(sizes: &Sizes, activation: Activation) -> Vit {
    let Sizes([rows, columns], token_width, heads, head_size, mlp_width) = *sizes;
    Vit {
        image: [2, 2 * rows, 2 * columns],
        patch_size: 2,
        token_width,
        blocks: 2,
        heads,
        head_size,
        mlp_width,
        activation,
        outputs: CLASSES,
        output_activation: Activation::Identity,
    }
}

/// The same block twice, with random numbers in the place of ones and zeros.
fn twins(shape: &Vit, first: bool, seed: u64) -> [TransformerBlock; 2] {
    [(); 2].map(|()| {
        let mut generator = Generator::new(seed).unwrap();
        let block = TransformerBlock::new(shape, first, &mut generator, Device::Cpu).unwrap();
        for (name, parameter) in block.parameters() {
            if name.contains("norm") {
                let drawn = generator.uniform(&parameter.size(), -0.3, 0.3).unwrap();
                let _ = tch::no_grad(|| parameter.shallow_clone().g_add_(&drawn));
            }
        }
        block
    })
}

fn largest(tensor: Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// The largest difference, as a share of the largest number.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    largest(a - b) / largest(b.shallow_clone()).max(1e-6)
}

fn parameters(engine: &dyn Engine) -> Vec<(String, Tensor)> {
    let parameters = engine.block().parameters().into_iter();
    parameters.map(|(name, tensor)| (name.to_string(), tensor.detach().copy())).collect()
}

/// Three steps of both engines on the same batches; every number is compared after each.
fn engines_agree(shape: &Vit, first: bool, batch: i64, optimizer: OptimizerSettings, case: &str) {
    let [one, other] = twins(shape, first, 7);
    let mut fused = FusedTransformer::new(&one, &optimizer).unwrap();
    let mut plain = BlockEngine::new(Box::new(other), &optimizer).unwrap();
    let (inputs, outputs) = match first {
        true => (shape.image.iter().product(), fused.block().outputs()),
        false => (fused.block().outputs(), fused.block().outputs()),
    };
    let mut generator = Generator::new(3).unwrap();
    let mut draw = |shape: &[i64]| generator.uniform(shape, -1.0, 1.0).unwrap();
    let matrix = draw(&[CLASSES, outputs]);
    let _no_grad = tch::no_grad_guard();
    for (turn, taught) in [true, false, true].into_iter().enumerate() {
        let x = draw(&[batch, inputs]);
        let step = Step { learning_rate: 0.01, batch_size: batch, watch: true };
        let rows = draw(&[batch, if taught { CLASSES } else { outputs }]);
        let signal = if taught { Signal::Feedback(&matrix) } else { Signal::Gradient };
        let case = format!("{case}, turn {turn}");
        let before = parameters(&plain);
        let close = |found: &Tensor, expected: &Tensor, what: &str| {
            let found = difference(found, expected);
            assert!(found < 5e-5, "{case}: {what} differs by {found}");
        };
        if turn == 2 {
            let found = fused.learn(&x, &rows, signal, &step).unwrap();
            close(&found, &plain.learn(&x, &rows, signal, &step).unwrap(), "h");
        } else {
            let tapes = [fused.record(&x).unwrap(), plain.record(&x).unwrap()];
            close(&tapes[0].output, &tapes[1].output, "h");
            close(&fused.forward(&x).unwrap(), &tapes[1].output, "h without a tape");
            let found = fused.step(&tapes[0], &rows, signal, &step, !taught).unwrap();
            let expected = plain.step(&tapes[1], &rows, signal, &step, !taught).unwrap();
            match (found, expected) {
                (Some(found), Some(expected)) => {
                    close(&found.rows, &expected.rows, "the input's gradient")
                }
                (found, expected) => assert!(found.is_none() && expected.is_none()),
            }
        }
        let pairs = parameters(&fused).into_iter().zip(parameters(&plain)).zip(before);
        for (((name, found), (_, expected)), (_, before)) in pairs {
            // An update is known no better than the parameter that it was added to.
            let found = largest(&found - &expected);
            let bound = 1e-4 * largest(&expected - before) + 2e-7 * largest(expected);
            assert!(found <= bound, "{case}: {name} differs by {found}, more than {bound}");
        }
        let norms = [fused.gradient_norm().unwrap(), plain.gradient_norm().unwrap()];
        assert!((norms[0] / norms[1] - 1.0).abs() < 1e-5, "{case}: norms {norms:?}");
        // What follows starts from the same numbers.
        for ((_, to), (_, from)) in
            fused.block().parameters().iter().zip(plain.block().parameters())
        {
            to.shallow_clone().copy_(&from.detach());
        }
    }
}

fn sgd(momentum: f64, nesterov: bool, classical_momentum: bool) -> OptimizerSettings {
    let weight_decay = if nesterov { 0.01 } else { 0.0 };
    OptimizerSettings::Sgd(SgdSettings { momentum, nesterov, classical_momentum, weight_decay })
}

#[test]
fn kernels_compute_what_autograd_does_for_every_shape() {
    for (index, sizes) in SIZES.iter().enumerate() {
        for first in [true, false] {
            for batch in [1, 5, 20] {
                let shape = shape(sizes, Activation::Tanh);
                let case = format!("shape {index}, first {first}, batch {batch}");
                engines_agree(&shape, first, batch, sgd(0.0, false, false), &case);
            }
        }
    }
}

#[test]
fn kernels_step_as_every_optimizer_does_with_every_activation() {
    let adam = OptimizerSettings::Adam(AdamSettings { eps: 0.1, ..AdamSettings::default() });
    let optimizers = [adam, sgd(0.9, false, false), sgd(0.9, true, false), sgd(0.9, false, true)];
    for (index, optimizer) in optimizers.into_iter().enumerate() {
        for activation in [Activation::Tanh, Activation::Relu, Activation::Sigmoid] {
            for sizes in [&SIZES[1], &SIZES[4]] {
                let case = format!("optimizer {index}, {activation}");
                engines_agree(&shape(sizes, activation), true, 6, optimizer, &case);
            }
        }
    }
}

#[test]
fn angles_to_backpropagation_can_be_measured_beside_the_kernels() {
    let angles = |kernels: &str| {
        let yaml = format!(
            "{{kernels: {kernels}, loss: cross_entropy, data: {{batch_size: 8}}, algorithm: \
             {{name: f3}}, optimizer: {{learning_rate: 1e-3}}, model: {{name: vit, \
             patch_size: 1, token_width: 6, blocks: 2, heads: 2, head_size: 3, mlp_width: 9}}}}"
        );
        let mut run = experiment(&yaml, Task::Classification);
        train_epoch(&mut run);
        let trainer = run.state.trainer.as_ref();
        let found = measure(trainer, &run.data.train, run.settings.loss, 9).unwrap();
        found.iter().flat_map(|it| [it.delta_mean, it.parameters]).collect::<Vec<f64>>()
    };
    let (found, expected) = (angles("fused"), angles("aten"));
    assert_eq!(found.len(), 6);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-2, "{found} {expected} degrees");
    }
}

/// Runs the tests above in processes of their own, with the kernels for lesser processors.
#[test]
fn kernels_of_every_instruction_set_compute_the_same() {
    for set in &f3_tch::instruction_sets()[1..] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--skip", "instruction_set"])
            .env("F3_INSTRUCTION_SET", set)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("3 passed"), "{set}: {printed}");
    }
}
