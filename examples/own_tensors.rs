//! Training on tensors that the caller has, with a callback for each epoch.
//!
//! Run it with `cargo run --release --example own_tensors`.

use anyhow::Result;
use f3_tch::Generator;
use f3_tch::data::{Dataset, Split, Task};
use f3_tch::error_info::ErrorInfo;
use f3_tch::feedback::FeedbackInit;
use f3_tch::loss::Loss;
use f3_tch::network::{Activation, Mlp, Network};
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
        let targets = radius.gt(0.5).to_kind(Kind::Int64).onehot(2);
        Ok(Split { inputs: inputs.into(), targets: targets.into() })
    };
    let data = Dataset::new("rings", Task::Classification, split(4000)?, split(1000)?);

    let (inputs, hidden, outputs) = (2, vec![100, 100], 2);
    let (activation, output_activation) = (Activation::Tanh, Activation::Sigmoid);
    let shape = Mlp { inputs, hidden, activation, outputs, output_activation };
    let blocks = shape.blocks(&mut generator, Device::Cpu)?;
    let adam = OptimizerSettings::Adam(AdamSettings::new(1e-3));
    let mut network =
        Network::new(blocks, Some(&FeedbackInit::KaimingUniform), &adam, &mut generator)?;
    network.fuse();
    let loss = Loss::BinaryCrossEntropy;
    let trainer = FeedbackTrainer::new(network, ErrorInfo::DelayedError, loss, &data.train)?;

    let settings = Settings::new(loss, 1e-3);
    let mut run = Run::from_parts(Box::new(trainer), generator, data, settings);
    run.train(&mut on_epoch(|row| println!("{:2}: {:.4}", row.epoch, row.test.loss)))?;
    Ok(run.state.history.iter().filter_map(|row| row.test.metric("accuracy")).collect())
}

fn main() -> Result<()> {
    let accuracy = train()?;
    println!("test accuracy {:.1} %", accuracy[accuracy.len() - 1]);
    Ok(())
}
