//! Training on tensors that the caller has, with a callback for each epoch.
//!
//! Run it with `cargo run --release --example own_tensors`.

use anyhow::Result;
use f3_tch::Generator;
use f3_tch::data::{Dataset, Split, Task};
use f3_tch::engine::{EngineSettings, Kernels};
use f3_tch::error_info::ErrorInfo;
use f3_tch::feedback::FeedbackInit;
use f3_tch::layers::Layers;
use f3_tch::loss::Loss;
use f3_tch::network::{Activation, Mlp, Shape};
use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
use f3_tch::run::{Run, Settings, on_epoch};
use f3_tch::trainer::FeedbackTrainer;
use tch::{Device, Kind};

/// Which of two rings is a point on? Gives the accuracy in percent, epoch by epoch.
pub fn train() -> Result<Vec<f64>> {
    let mut generator = Generator::new(1)?;
    let mut split = |samples: i64| -> Result<Split> {
        let inputs = generator.uniform(&[samples, 2], -1.0, 1.0)?;
        let radius = inputs.square().sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
        Ok(Split::new(inputs, radius.gt(0.5).to_kind(Kind::Int64).onehot(2)))
    };
    let data = Dataset::new("rings", Task::Classification, split(4000)?, split(1000)?);

    let (inputs, hidden, outputs) = (2, vec![100, 100], 2);
    let (activation, output_activation) = (Activation::Tanh, Activation::Sigmoid);
    let shape = Mlp { inputs, hidden, activation, outputs, output_activation, bias: true };
    let blocks = shape.blocks(&mut generator, Device::Cpu).collect::<Result<_>>()?;
    let adam = OptimizerSettings::Adam(AdamSettings::default());
    let settings = EngineSettings::new(adam).with_kernels(Kernels::Auto);
    let layers =
        Layers::new(blocks, Some(&FeedbackInit::KaimingUniform), &settings, &mut generator)?;
    let loss = Loss::BinaryCrossEntropy;
    let trainer = FeedbackTrainer::new(layers, ErrorInfo::DelayedError, loss, &data.train)?;

    let settings = Settings::new(loss, 1e-3);
    let mut run = Run::from_parts(Box::new(trainer), generator, data, settings);
    run.train(&mut on_epoch(|row| {
        if let Some(loss) = row.value("test_loss") {
            println!("{:2}: {loss:.4}", row.epoch);
        }
    }))?;
    Ok(run.state.history.iter().filter_map(|row| row.value("test_accuracy")).collect())
}

fn main() -> Result<()> {
    let accuracy = train()?;
    println!("test accuracy {:.1} %", accuracy[accuracy.len() - 1]);
    Ok(())
}
