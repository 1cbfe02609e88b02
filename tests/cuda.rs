//! The same training on a GPU: in float32, from recorded steps, and on two devices at once. Left out
//! where there is no GPU.

mod common;

use f3_tch::assemble::{DataFrom, assemble};
use f3_tch::config::{Config, Source};
use f3_tch::data::DataDirectory;
use f3_tch::device::DeviceChoice;
use f3_tch::metrics::Evaluation;
use tch::{Device, Kind, Tensor};

fn has_gpu() -> bool {
    match DeviceChoice::Cuda(0).choose() {
        Ok(_) => true,
        Err(error) => {
            eprintln!("left out: {error:#}");
            false
        }
    }
}

/// Weights, feedback and stored errors after three epochs of the digits, and what they are worth.
fn outcome(sets: &str) -> (Vec<Tensor>, Evaluation) {
    let yaml = format!("{{data: {{name: digits, batch_size: 50}}, threads: 1, epochs: 3, {sets}}}");
    let source = Source::parse("test", &yaml).unwrap();
    let (config, _) = Config::read(&source).unwrap();
    let directory = DataDirectory::locate(None);
    let data = DataFrom::Files(&directory, &mut |_| {});
    let (mut run, _) = assemble(&config, &source, data).unwrap();
    run.train(&mut ()).unwrap();
    let test = run.state.history.last().unwrap().test.clone();
    let layers = run.state.trainer.layers();
    let mut tensors: Vec<Tensor> =
        layers.named_tensors().into_iter().map(|(_, tensor)| tensor).collect();
    tensors.extend(run.state.trainer.error_store_mut().map(|it| it.errors().shallow_clone()));
    (tensors.iter().map(|tensor| tensor.to_device(Device::Cpu)).collect(), test.unwrap())
}

/// The largest distance of two numbers at the same place.
fn distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs
        .map(|(a, b)| (a - b).abs().max().to_kind(Kind::Double).double_value(&[]))
        .fold(0.0, f64::max)
}

const MODELS: [&str; 2] = [
    "model: {width: [100, 80]}",
    "model: {name: vit, patch_size: 2, token_width: 8, blocks: 2, heads: 2, head_size: 4, mlp_width: 16}",
];

#[test]
fn gpu_trains_as_the_cpu_does() {
    if !has_gpu() {
        return;
    }
    for model in MODELS {
        for algorithm in ["f3", "bp", "dfa", "drtp"] {
            // SGD, whose steps differ no more than its gradients do.
            let rest = format!(
                "{model}, algorithm: {{name: {algorithm}}}, kernels: aten, \
                 optimizer: {{name: sgd, learning_rate: 1e-3}}"
            );
            let cpu = outcome(&format!("device: cpu, {rest}"));
            let gpu = outcome(&format!("device: cuda, {rest}"));
            let apart = distance(&cpu.0, &gpu.0);
            eprintln!("{algorithm}: apart by {apart:e}, loss {} {}", cpu.1.loss, gpu.1.loss);
            assert!(apart < 1e-4, "{rest}: {apart}");
            assert!(common::close(gpu.1.loss, cpu.1.loss, 1e-4), "{rest}");
        }
    }
}

#[test]
fn recorded_steps_are_those_that_would_be_launched() {
    if !has_gpu() {
        return;
    }
    for model in MODELS {
        for algorithm in ["f3", "bp", "dfa", "llo"] {
            for optimizer in ["adam", "sgd"] {
                let rest = format!(
                    "device: cuda, {model}, algorithm: {{name: {algorithm}}}, \
                     optimizer: {{name: {optimizer}, learning_rate: 1e-3}}"
                );
                let launched = outcome(&rest).0;
                let recorded = outcome(&format!("cuda_graph: true, {rest}")).0;
                let apart = distance(&launched, &recorded);
                // cuBLAS may choose another workspace in a recording.
                assert!(apart < 1e-5, "{rest}: {apart}");
            }
        }
    }
}

#[test]
fn stages_on_two_devices_train_as_on_one() {
    if !has_gpu() {
        return;
    }
    let rest = "device: cpu, kernels: aten, model: {width: [100, 80, 60]}, algorithm: {name: f3}, \
                optimizer: {name: sgd, learning_rate: 1e-3}";
    let one = outcome(rest).0;
    let order = "schedule: {name: pipelined, devices: [cpu, cuda], chunk: 3}";
    let apart = distance(&one, &outcome(&format!("{order}, {rest}")).0);
    assert!(apart < 1e-4, "{apart}");
}
