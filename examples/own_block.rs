//! A block of your own, trained with F³ beside those of the library: all in this file.
//!
//! Run it with `cargo run --release --example own_block`.

use anyhow::Result;
use f3_tch::Generator;
use f3_tch::data::{DataDirectory, DataSet, Digits};
use f3_tch::engine::EngineSettings;
use f3_tch::error_info::ErrorInfo;
use f3_tch::feedback::FeedbackInit;
use f3_tch::layers::Layers;
use f3_tch::loss::Loss;
use f3_tch::network::{Activation, Block, Dense, trainable};
use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
use f3_tch::run::{Run, Settings};
use f3_tch::trainer::FeedbackTrainer;
use tch::{Device, Tensor};

/// A gated linear unit: h = (x Wᵀ) ⊙ sigmoid(x Gᵀ), with x `[b, m]`, W and G `[n, m]`, h `[b, n]`.
struct Gated {
    weight: Tensor,
    gate: Tensor,
}

impl Gated {
    fn new(inputs: i64, outputs: i64, generator: &mut Generator) -> Result<Gated> {
        let bound = 1.0 / (inputs as f64).sqrt();
        Ok(Gated {
            weight: trainable(generator.uniform(&[outputs, inputs], -bound, bound)?),
            gate: trainable(generator.uniform(&[outputs, inputs], -bound, bound)?),
        })
    }
}

// What it puts out, what is trained, how it computes: gradients come from autograd.
impl Block for Gated {
    fn outputs(&self) -> i64 {
        self.weight.size()[0]
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        vec![("weight", &self.weight), ("gate", &self.gate)]
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        input.mm(&self.weight.tr()) * input.mm(&self.gate.tr()).sigmoid()
    }
}

/// Trains on the digits that the library carries; gives the accuracy in percent before and after.
pub fn train() -> Result<(f64, f64)> {
    let data = Digits {}.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})?;
    let mut generator = Generator::new(1)?;
    let blocks: Vec<Box<dyn Block>> = vec![
        Box::new(Gated::new(64, 100, &mut generator)?),
        Box::new(Gated::new(100, 100, &mut generator)?),
        Box::new(Dense::new(100, 10, Activation::Sigmoid, &mut generator, Device::Cpu)?),
    ];

    let learning_rate = 1e-3;
    let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
    let feedback = FeedbackInit::KaimingUniform;
    let layers = Layers::new(blocks, Some(&feedback), &adam, &mut generator)?;
    let loss = Loss::BinaryCrossEntropy;
    let trainer = FeedbackTrainer::new(layers, ErrorInfo::DelayedError, loss, &data.train)?;

    let settings = Settings { batch_size: 10, ..Settings::new(loss, learning_rate) };
    let mut run = Run::from_parts(Box::new(trainer), generator, data, settings);
    run.train(&mut ())?;
    let rows = run.state.history;
    let accuracy = |row: usize| rows[row].value("test_accuracy").unwrap_or(f64::NAN);
    Ok((accuracy(0), accuracy(rows.len() - 1)))
}

fn main() -> Result<()> {
    let (before, after) = train()?;
    println!("test accuracy {before:.1} % before training, {after:.1} % after 10 epochs");
    Ok(())
}
