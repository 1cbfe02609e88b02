//! Schedules and kernels: every order computes the same numbers, and the fused kernels those of
//! libtorch.

mod common;

use common::{experiment, experiment_on, toy, toy_of, train_epoch};
use f3_tch::Generator;
use f3_tch::data::{Dataset, Split, Task};
use f3_tch::engine::{EngineSettings, Kernels};
use f3_tch::error_info::ErrorInfo;
use f3_tch::feedback::FeedbackInit;
use f3_tch::layers::Layers;
use f3_tch::loss::Loss;
use f3_tch::metrics::evaluate;
use f3_tch::network::{Activation, Block, Dense, Mlp, Shape};
use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
use f3_tch::prediction::Prediction;
use f3_tch::run::Run;
use f3_tch::schedule::{Chunk, Epoch, LayerMajor, Learn, Link, Pipelined, Schedule, Stage};
use f3_tch::trainer::{self, FeedbackTrainer, RecordedTrainer, Trainer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::{Device, Kind, Tensor};

/// Everything that a run holds, and what it reports.
fn outcome(mut experiment: Run, epochs: usize) -> Vec<(String, Vec<f64>)> {
    for _ in 0..epochs {
        train_epoch(&mut experiment);
    }
    let numbers = |tensor: &Tensor| {
        Vec::<f64>::try_from(tensor.detach().flatten(0, -1).to_kind(Kind::Double)).unwrap()
    };
    let mut found = Vec::new();
    for (name, tensor) in experiment.state.trainer.layers().named_tensors() {
        found.push((name, numbers(&tensor)));
    }
    for (index, layer) in experiment.state.trainer.layers().as_slice().iter().enumerate() {
        for (name, tensor) in layer.optimizer().state() {
            found.push((format!("optimizer {index} {name}"), numbers(tensor)));
        }
        let norm = layer.gradient_norm().unwrap_or(-1.0);
        found.push((format!("gradient {index}"), vec![norm]));
    }
    for (name, tensor) in experiment.state.trainer.state() {
        if name.starts_with("prediction.") {
            found.push((name, numbers(&tensor)));
        }
    }
    if let Some(store) = experiment.state.trainer.error_store_mut() {
        found.push(("errors".into(), numbers(store.errors())));
    }
    let (layers, data) = (experiment.state.trainer.layers(), &experiment.data);
    let loss = experiment.settings.loss;
    let found_metrics =
        evaluate(|batches| layers.forward_all(batches), &data.test, &data.measured_by(loss), 7)
            .unwrap();
    found.push(("loss".into(), vec![found_metrics.loss]));
    found
        .extend(found_metrics.metrics.iter().map(|(name, value)| (name.to_string(), vec![*value])));
    found
}

fn assert_equal(found: &[(String, Vec<f64>)], expected: &[(String, Vec<f64>)], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let bits = |list: &[f64]| list.iter().map(|it| it.to_bits()).collect::<Vec<u64>>();
        assert_eq!(bits(found), bits(expected), "{case}: {name}");
    }
}

const ORDERS: [&str; 8] = [
    "{name: auto}",
    "{name: layer_major}",
    "{name: layer_major, chunk: 3}",
    "{name: pipelined, stages: 1}",
    "{name: pipelined, stages: 2, chunk: 1}",
    "{name: pipelined, stages: 2, chunk: 2}",
    "{name: pipelined, stages: 5, chunk: 3}",
    "{name: pipelined, devices: [cpu], chunk: 2}",
];

/// Each network under all schedules; 30 samples in batches of 8 or 7, so that the last one is ragged.
fn schedules_agree(model: &str, rest: &str, task: Task, seeds: std::ops::Range<u64>) {
    schedules_agree_on(&|| toy(task), model, rest, seeds);
}

fn schedules_agree_on(
    data: &dyn Fn() -> Dataset,
    model: &str,
    rest: &str,
    seeds: std::ops::Range<u64>,
) {
    tch::set_num_threads(1);
    for seed in seeds {
        let of = |order: &str| {
            let yaml = format!("{{seed: {seed}, schedule: {order}, model: {model}, {rest}}}");
            outcome(experiment_on(data(), &yaml), 3)
        };
        let expected = of("{name: sequential}");
        for order in ORDERS {
            assert_equal(&of(order), &expected, &format!("{model}, {rest}, {order}"));
        }
    }
}

#[test]
fn all_schedules_give_the_same_bits_for_every_depth_and_width() {
    let settings = "data: {batch_size: 8}, algorithm: {name: f3}, optimizer: {learning_rate: 1e-2}";
    for kernels in ["aten", "fused"] {
        for layers in [0, 1, 2, 3, 7, 20] {
            for width in [5, 83] {
                let model = format!("{{hidden_layers: {layers}, width: {width}}}");
                let rest = format!("kernels: {kernels}, {settings}");
                schedules_agree(&model, &rest, Task::Classification, 0..2);
            }
        }
        let rest = format!("kernels: {kernels}, {settings}");
        schedules_agree("{width: [700, 3, 150]}", &rest, Task::Classification, 0..1);
    }
}

#[test]
fn all_schedules_give_the_same_bits_for_every_algorithm_that_learns_forward() {
    for kernels in ["aten", "fused"] {
        for algorithm in [
            "{name: drtp}",
            "{name: llo}",
            "{name: f3, error_info: delayed_loss}",
            "{name: f3, error_info: delayed_error_one_hot}",
            "{name: f3, error_info: delayed_loss_softmax}",
            "{name: f3, error_info: zeros}",
            "{name: f3, error_info: delayed_error_predicted, prediction: {block: 2}}",
            "{name: f3, error_info: delayed_error_predicted, prediction: {block: 1, lag: 4}}",
            "{name: f3, error_info: delayed_error_predicted, \
             prediction: {block: 3, lag: 2, share: 0.5, local: output}}",
        ] {
            for (task, loss) in [
                (Task::Classification, "bce"),
                (Task::Classification, "cross_entropy"),
                (Task::Regression, "mse"),
            ] {
                let rest = format!(
                    "kernels: {kernels}, loss: {loss}, data: {{batch_size: 7}}, algorithm: \
                     {algorithm}, optimizer: {{name: sgd, momentum: 0.5, learning_rate: 1e-2}}"
                );
                let model = "{width: [8, 5, 20, 7], activation: sigmoid}";
                schedules_agree(model, &rest, task, 4..5);
            }
        }
    }
}

/// More outputs than a vector has places, and no multiple of them.
#[test]
fn all_schedules_predict_the_errors_of_many_classes_with_the_same_bits() {
    for kernels in ["aten", "fused"] {
        for (outputs, loss) in [(17, "cross_entropy"), (37, "cross_entropy"), (37, "bce")] {
            let rest = format!(
                "kernels: {kernels}, loss: {loss}, data: {{batch_size: 7}}, algorithm: {{name: f3, \
                 error_info: delayed_error_predicted, prediction: {{block: 2}}}}, \
                 optimizer: {{learning_rate: 1e-2}}"
            );
            let data = || toy_of(Task::Classification, outputs);
            schedules_agree_on(&data, "{width: [8, 5, 20]}", &rest, 4..5);
        }
    }
}

#[test]
fn recording_refuses_what_is_not_batch_by_batch() {
    let yaml = "{optimizer: {learning_rate: 1e-3}, data: {batch_size: 7}, algorithm: {name: f3, error_info: \
                delayed_error_predicted}}";
    let trainer = experiment(yaml, Task::Classification).state.trainer;
    let error = RecordedTrainer::new(trainer).err().unwrap().to_string();
    assert!(error.contains("batches belong together"), "{error}");
}

#[test]
fn bfloat16_gives_the_same_bits_under_all_schedules_and_nearly_the_numbers_of_float32() {
    if !f3_tch::has_bfloat16() {
        eprintln!("left out: this processor does not multiply bfloat16");
        return;
    }
    // SGD, whose steps are as wrong as its gradients; Adam's may differ where gradients vanish.
    let rest = "data: {batch_size: 7}, algorithm: {name: f3}, \
                optimizer: {name: sgd, momentum: 0.5, learning_rate: 3e-2}";
    for model in ["{width: [83, 5]}", "{width: [16, 200, 33, 7], activation: relu}"] {
        schedules_agree(model, &format!("precision: bf16, {rest}"), Task::Classification, 0..2);
        let weights = |precision: &str, epochs| {
            let yaml =
                format!("{{kernels: fused, precision: {precision}, model: {model}, {rest}}}");
            let found = outcome(experiment(&yaml, Task::Classification), epochs);
            let weights = found.into_iter().filter(|(name, _)| name.starts_with("layers"));
            weights.flat_map(|(_, values)| values).collect::<Vec<f64>>()
        };
        let distance = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        let (start, single) = (weights("float32", 0), weights("float32", 3));
        let way = distance(&single, &start);
        let apart = distance(&weights("bf16", 3), &single);
        // A product of two numbers of 8 bits each is off by up to 2^-8.
        assert!(apart > 1e-5 * way && apart < way / 100.0, "{model}: {apart} after {way}");
    }
}

#[test]
fn all_schedules_give_the_same_bits_for_transformers_and_convolutions() {
    let rest = "data: {batch_size: 8}, algorithm: {name: f3}, optimizer: {learning_rate: 1e-2}";
    let vit = "{name: vit, patch_size: 1, token_width: 6, blocks: 3, heads: 2, head_size: 3, \
               mlp_width: 9}";
    for kernels in ["aten", "fused"] {
        let rest = format!("kernels: {kernels}, {rest}");
        schedules_agree(vit, &rest, Task::Classification, 0..2);
        schedules_agree("{name: cnn, topology: 4C1-6C3-9FC}", &rest, Task::Classification, 0..2);
    }
    for local in ["input", "output"] {
        let rest = format!(
            "data: {{batch_size: 7}}, optimizer: {{learning_rate: 1e-2}}, algorithm: {{name: f3, error_info: \
             delayed_error_predicted, prediction: {{block: 2, local: {local}}}}}"
        );
        for kernels in ["aten", "fused"] {
            let rest = format!("kernels: {kernels}, {rest}");
            schedules_agree(vit, &rest, Task::Classification, 0..1);
            schedules_agree(
                "{name: cnn, topology: 4C1-6C3-9FC}",
                &rest,
                Task::Classification,
                0..1,
            );
        }
    }
    let gelu = "{width: [8, 5, 20], activation: gelu}";
    schedules_agree(gelu, rest, Task::Classification, 0..2);
}

#[test]
fn two_threads_per_operation_give_the_same_bits_under_all_schedules() {
    let rest = "kernels: aten, data: {batch_size: 8}, algorithm: {name: f3}, \
                optimizer: {learning_rate: 1e-2}";
    let vit = "{name: vit, patch_size: 1, token_width: 64, blocks: 3, heads: 4, head_size: 32, \
               mlp_width: 128}";
    for model in ["{width: [900, 700, 800]}", vit] {
        let of = |order: &str, threads: i32| {
            tch::set_num_threads(threads);
            let yaml = format!("{{schedule: {order}, model: {model}, {rest}}}");
            let found = outcome(experiment(&yaml, Task::Classification), 2);
            tch::set_num_threads(1);
            found
        };
        let expected = of("{name: sequential}", 2);
        // Stages share the threads.
        for (order, threads) in [
            ("{name: layer_major, chunk: 3}", 2),
            ("{name: pipelined, stages: 1, chunk: 2}", 2),
            ("{name: pipelined, stages: 2, chunk: 1}", 4),
        ] {
            assert_equal(&of(order, threads), &expected, &format!("{model}, {order}"));
        }
    }
}

#[test]
fn fused_numbers_do_not_depend_on_the_number_of_threads() {
    let vit = "{name: vit, patch_size: 1, token_width: 64, blocks: 2, heads: 4, head_size: 32, \
               mlp_width: 128}";
    // The strips of the second network are larger than a core's own cache on one thread, and not on two.
    for model in ["{width: [300, 211]}", "{width: [500, 400]}", vit] {
        for algorithm in ["f3", "bp", "dfa"] {
            let of = |threads: i32| {
                tch::set_num_threads(threads);
                let yaml = format!(
                    "{{kernels: fused, model: {model}, data: {{batch_size: 16}}, \
                     algorithm: {{name: {algorithm}}}, optimizer: {{learning_rate: 1e-2}}}}"
                );
                outcome(experiment(&yaml, Task::Classification), 2)
            };
            let expected = of(1);
            for threads in [2, 3] {
                assert_equal(&of(threads), &expected, &format!("{algorithm}, {threads} threads"));
            }
            tch::set_num_threads(1);
        }
    }
}

/// A data set of other sizes than the toy's.
fn data(inputs: i64, outputs: i64) -> f3_tch::data::Dataset {
    let mut generator = Generator::new(7).unwrap();
    let mut split = |samples: i64| {
        let classes = generator.integers(&[samples], outputs).unwrap();
        let inputs = generator.uniform(&[samples, inputs], -1.0, 1.0).unwrap();
        Split::new(inputs, classes.onehot(outputs).to_kind(Kind::Float))
    };
    f3_tch::data::Dataset { train: split(53), test: split(9), ..toy(Task::Classification) }
}

#[test]
fn fused_kernels_agree_with_libtorchs() {
    println!("with {}", f3_tch::instruction_set());
    let compare = |yaml: &str, inputs: i64, outputs: i64| {
        let of = |kernels: &str| {
            let yaml = format!("{{kernels: {kernels}, {yaml}}}");
            outcome(experiment_on(data(inputs, outputs), &yaml), 3)
        };
        let (found, expected) = (of("fused"), of("aten"));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            for (found, expected) in found.iter().zip(expected) {
                // Sums of up to 800 products in another order, over 3 x 6 steps.
                let bound = 2e-5 * expected.abs().max(0.1);
                assert!((found - expected).abs() <= bound, "{yaml}: {name} {found} {expected}");
            }
        }
    };
    // Sizes around those of the kernels' tiles and vectors, up to 32 inputs and more; the last network has,
    // on one or two threads, strips larger than a core's own cache.
    for (inputs, width, outputs, batch) in [
        (1, 1, 2, 1),
        (4, 5, 3, 5),
        (15, 16, 10, 8),
        (16, 17, 2, 9),
        (17, 4, 5, 10),
        (31, 33, 4, 4),
    ]
    .into_iter()
    .chain([(64, 80, 10, 20), (65, 81, 11, 53), (80, 64, 7, 50), (129, 47, 2, 26)])
    .chain([(784, 100, 10, 25), (32, 610, 3, 25)])
    {
        for (algorithm, loss) in
            [("f3", "bce"), ("f3", "mse"), ("f3", "cross_entropy"), ("bp", "bce"), ("dfa", "bce")]
        {
            let yaml = format!(
                "model: {{width: [{width}, {width}]}}, data: {{batch_size: {batch}}}, loss: {loss}, \
                 algorithm: {{name: {algorithm}}}, optimizer: {{name: sgd, learning_rate: 5e-2}}"
            );
            compare(&yaml, inputs, outputs);
        }
    }
    for algorithm in ["f3", "drtp", "llo", "bp", "dfa", "fa", "pepita"] {
        for optimizer in [
            "{name: adam, learning_rate: 1e-3, eps: 1e-3}",
            "{name: adam, learning_rate: 1e-3, eps: 1e-3, weight_decay: 0.1, betas: [0.7, 0.9]}",
            "{name: sgd, learning_rate: 1e-2, momentum: 0.9, classical_momentum: false}",
            "{name: sgd, learning_rate: 1e-2, momentum: 0.9, classical_momentum: true}",
            "{name: sgd, learning_rate: 1e-2, momentum: 0.5, nesterov: true, weight_decay: 0.1}",
        ] {
            // PEPITA has no biases.
            for activation in ["tanh", "relu", "sigmoid", "identity"] {
                let yaml = format!(
                    "model: {{width: [22, 35], activation: {activation}}}, data: {{batch_size: \
                     10}}, algorithm: {{name: {algorithm}}}, optimizer: {optimizer}"
                );
                compare(&yaml, 19, 3);
            }
        }
    }
}

#[test]
fn layers_of_convolutional_networks_are_fused_where_they_can_be() {
    let of = |kernels: &str, algorithm: &str, threads: i32| {
        tch::set_num_threads(threads);
        let yaml = format!(
            "{{kernels: {kernels}, model: {{name: cnn, topology: 4C1-6C3-40FC-30FC}}, data: \
             {{batch_size: 8}}, algorithm: {{name: {algorithm}}}, optimizer: {{name: sgd, learning_rate: \
             5e-2}}}}"
        );
        let run = experiment(&yaml, Task::Classification);
        let layers = run.state.trainer.layers().as_slice();
        let on_one_pool = layers.iter().all(|layer| !layer.has_threads_of_its_own());
        let found = outcome(run, 3);
        tch::set_num_threads(1);
        (found, on_one_pool)
    };
    for algorithm in ["f3", "drtp", "bp", "dfa"] {
        for threads in [1, 2] {
            let (expected, _) = of("aten", algorithm, threads);
            let (found, on_one_pool) = of("fused", algorithm, threads);
            assert!(on_one_pool, "threads of two kinds would stand in each other's way");
            let mut differs = false;
            for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                for (found, expected) in found.iter().zip(expected) {
                    let bound = 2e-5 * expected.abs().max(0.1);
                    assert!(
                        (found - expected).abs() <= bound,
                        "{algorithm}: {name} {found} {expected}"
                    );
                    differs |= found != expected;
                }
            }
            assert!(differs, "{algorithm}: nothing has been fused");
        }
    }
}

/// Runs the test above in processes of their own, with the kernels for lesser processors.
#[test]
fn fused_kernels_of_every_instruction_set_agree_with_libtorchs() {
    let sets = f3_tch::instruction_sets();
    assert!(sets.contains(&f3_tch::instruction_set()) && sets.contains(&"portable"), "{sets:?}");
    for set in &sets[1..] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fused_kernels_agree_with_libtorchs", "--nocapture"])
            .env("F3_INSTRUCTION_SET", set)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{set}: {printed}");
        assert!(
            printed.contains(&format!("with {set}")) && printed.contains("1 passed"),
            "{printed}"
        );
    }
}

/// A dense block that does as it is told when it has been used a number of times.
struct Failing {
    inner: Dense,
    left: AtomicUsize,
}

impl Block for Failing {
    fn outputs(&self) -> i64 {
        self.inner.outputs()
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        self.inner.parameters()
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        assert!(self.left.fetch_sub(1, Ordering::SeqCst) > 0, "no memory for the fourth batch");
        self.inner.forward(input)
    }
}

/// 6 inputs, so many hidden layers of 5, 3 outputs.
fn blocks(hidden: usize, generator: &mut Generator) -> Vec<Box<dyn Block>> {
    let mlp = Mlp {
        inputs: 6,
        hidden: vec![5; hidden],
        activation: Activation::Tanh,
        outputs: 3,
        output_activation: Activation::Sigmoid,
        bias: true,
    };
    mlp.blocks(generator, Device::Cpu).collect::<anyhow::Result<_>>().unwrap()
}

#[test]
fn a_worker_that_fails_ends_the_epoch_with_the_cause_and_leaves_the_errors_alone() {
    let predicting = [None, Some(Prediction { block: 1, lag: 2, ..Prediction::default() })];
    for (place, prediction) in (0..5).flat_map(|place| predicting.map(|it| (place, it))) {
        for stages in [1, 2, 3, 5] {
            let data = data(6, 3);
            let mut generator = Generator::new(1).unwrap();
            let mut blocks = blocks(4, &mut generator);
            let (tanh, sigmoid) = (Activation::Tanh, Activation::Sigmoid);
            let (inputs, outputs, activation) = match place {
                0 => (6, 5, tanh),
                4 => (5, 3, sigmoid),
                _ => (5, 5, tanh),
            };
            let inner =
                Dense::new(inputs, outputs, activation, &mut generator, Device::Cpu).unwrap();
            let leaf = Dense::of(
                f3_tch::network::trainable(inner.weight().copy()),
                inner.bias().map(|bias| f3_tch::network::trainable(bias.copy())),
                activation,
            );
            blocks[place] = Box::new(Failing { inner: leaf, left: AtomicUsize::new(3) });
            let feedback = FeedbackInit::KaimingUniform;
            let settings = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
            let layers = Layers::new(blocks, Some(&feedback), &settings, &mut generator).unwrap();
            let loss = Loss::BinaryCrossEntropy;
            let trainer = match prediction {
                None => FeedbackTrainer::new(layers, ErrorInfo::DelayedError, loss, &data.train),
                Some(it) => FeedbackTrainer::predicting(layers, it, loss, &data.train),
            };
            let mut trainer = trainer.unwrap();
            trainer.set_schedule(Box::new(Pipelined::new(stages, 1, 1))).unwrap();
            let order = generator.epoch_order(data.train.len()).unwrap();
            let mut done = 0;
            let epoch = trainer::Epoch {
                data: &data.train,
                order: &order,
                batch_size: 8,
                learning_rate: 1e-3,
                diagnosed: false,
            };
            let outcome = trainer.train_epoch(&epoch, &mut |samples| done = samples);
            let error = format!("{:#}", outcome.unwrap_err());
            assert!(error.contains("no memory for the fourth batch"), "{error}");
            assert!(done <= 24, "{done}");
            let store = trainer.error_store_mut().unwrap();
            assert_eq!(store.errors(), &*data.train.targets);
        }
    }
}

#[test]
fn stages_on_devices_of_their_own_give_the_same_bits() {
    tch::set_num_threads(1);
    let rest = "model: {width: [9, 8, 7]}, data: {batch_size: 7}, algorithm: {name: f3}, \
                optimizer: {learning_rate: 1e-2}, diagnostics: {every: 1}";
    let of = |order: &str| {
        let yaml = format!("{{device: cpu, schedule: {order}, {rest}}}");
        outcome(experiment(&yaml, Task::Classification), 3)
    };
    let expected = of("{name: sequential}");
    for devices in ["[cpu, cpu]", "[cpu, cpu, cpu, cpu]"] {
        let order = format!("{{name: pipelined, devices: {devices}}}");
        assert_equal(&of(&order), &expected, &order);
    }
}

/// What is recorded on CUDA is the step of one batch, and the loop around it is this one.
#[test]
fn recorded_trainer_trains_as_the_one_inside() {
    tch::set_num_threads(1);
    for algorithm in ["f3", "drtp", "llo", "dfa", "bp", "fa"] {
        for batch in [1, 7, 10, 30] {
            let yaml = format!(
                "{{kernels: aten, model: {{width: [9, 8]}}, data: {{batch_size: {batch}}}, \
                 algorithm: {{name: {algorithm}}}, optimizer: {{learning_rate: 1e-2}}}}"
            );
            let expected = outcome(experiment(&yaml, Task::Classification), 3);
            let mut recorded = experiment(&yaml, Task::Classification);
            recorded.state.trainer =
                Box::new(RecordedTrainer::new(recorded.state.trainer).unwrap());
            let found = outcome(recorded, 3);
            assert_equal(&found, &expected, &format!("{algorithm}, batches of {batch}"));
        }
    }
}

/// Stages that take turns in one thread, with a queue between each two: as much as a schedule of one's
/// own needs.
struct TakingTurns;

/// The ends of a stage in [`TakingTurns`]: what has come, and what goes on.
#[derive(Default)]
struct Queues {
    waiting: VecDeque<Chunk>,
    done: Vec<Chunk>,
}

impl Link for Queues {
    fn receive(&mut self) -> anyhow::Result<Option<Chunk>> {
        Ok(self.waiting.pop_front())
    }

    fn send(&mut self, chunk: Chunk) -> anyhow::Result<()> {
        self.done.push(chunk);
        Ok(())
    }
}

impl Schedule for TakingTurns {
    fn chunk(&self) -> usize {
        2
    }

    fn run(&self, network: Stage, learn: Learn, mut epoch: Epoch) -> anyhow::Result<()> {
        let Stage { layers, announced, head } = network;
        let mut stages: Vec<Stage> =
            layers.chunks_mut(1).map(|layers| Stage { announced, layers, head: None }).collect();
        stages.push(Stage { announced, layers: &mut [], head });
        let mut queues = Queues::default();
        queues.waiting.extend(epoch.chunks.by_ref());
        for stage in &mut stages {
            stage.run(learn, &mut queues)?;
            queues.waiting.extend(queues.done.drain(..));
        }
        queues.waiting.into_iter().try_for_each(|chunk| epoch.send(chunk))
    }
}

#[test]
fn a_schedule_and_a_link_of_ones_own_give_the_same_bits() {
    tch::set_num_threads(1);
    let data = data(6, 3);
    let trained = |schedule: Box<dyn Schedule>| {
        let mut generator = Generator::new(1).unwrap();
        let blocks = blocks(3, &mut generator);
        let settings = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
        let feedback = FeedbackInit::KaimingUniform;
        let layers = Layers::new(blocks, Some(&feedback), &settings, &mut generator).unwrap();
        let (info, loss) = (ErrorInfo::DelayedLoss, Loss::BinaryCrossEntropy);
        let mut trainer = FeedbackTrainer::new(layers, info, loss, &data.train).unwrap();
        trainer.set_schedule(schedule).unwrap();
        for _ in 0..3 {
            let order = generator.epoch_order(data.train.len()).unwrap();
            let epoch = trainer::Epoch {
                data: &data.train,
                order: &order,
                batch_size: 8,
                learning_rate: 1e-2,
                diagnosed: false,
            };
            trainer.train_epoch(&epoch, &mut |_| {}).unwrap();
        }
        trainer.state()
    };
    assert_eq!(trained(Box::new(TakingTurns)), trained(Box::new(LayerMajor::sequential())));
}

#[test]
fn a_layer_that_cannot_be_fused_says_why() {
    let reason = |blocks: Vec<Box<dyn Block>>| {
        let optimizer = OptimizerSettings::Adam(AdamSettings::default());
        let settings = EngineSettings::new(optimizer).with_kernels(Kernels::Fused);
        let mut generator = Generator::new(1).unwrap();
        let made = Layers::new(blocks, None, &settings, &mut generator);
        format!("{:#}", made.err().unwrap())
    };
    let mut generator = Generator::new(1).unwrap();
    let mut with = |block: Box<dyn Block>| {
        let mut blocks = blocks(2, &mut generator);
        blocks[1] = block;
        blocks
    };
    let dense = |activation| {
        Dense::new(5, 5, activation, &mut Generator::new(2).unwrap(), Device::Cpu).unwrap()
    };
    let gelu = reason(with(Box::new(dense(Activation::Gelu))));
    assert!(gelu.contains("layer 2 cannot be fused") && gelu.contains("gelu"), "{gelu}");
}

#[test]
fn a_block_of_ones_own_stands_beside_fused_layers() {
    let optimizer = OptimizerSettings::Adam(AdamSettings::default());
    let settings = EngineSettings::new(optimizer).with_kernels(Kernels::Fused);
    let mut generator = Generator::new(1).unwrap();
    let mut blocks = blocks(2, &mut generator);
    let inner = Dense::new(5, 5, Activation::Tanh, &mut generator, Device::Cpu).unwrap();
    blocks[1] = Box::new(Failing { inner, left: AtomicUsize::new(usize::MAX) });
    let layers = Layers::new(blocks, None, &settings, &mut generator).unwrap();
    assert!(layers.as_slice().iter().all(|layer| !layer.has_threads_of_its_own()));
}

#[test]
fn dfa_cannot_be_re_ordered() {
    let data = toy(Task::Classification);
    let layers = || {
        let mut generator = Generator::new(1).unwrap();
        let blocks = blocks(1, &mut generator);
        let settings = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
        Layers::new(blocks, Some(&FeedbackInit::KaimingUniform), &settings, &mut generator).unwrap()
    };
    let schedule = || -> Box<dyn Schedule> { Box::new(LayerMajor::new(2)) };
    let trainer =
        |info| FeedbackTrainer::new(layers(), info, Loss::BinaryCrossEntropy, &data.train).unwrap();
    assert!(trainer(ErrorInfo::CurrentError).set_schedule(schedule()).is_err());
    assert!(trainer(ErrorInfo::DelayedError).set_schedule(schedule()).is_ok());
}
