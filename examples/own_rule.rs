//! A learning rule of your own, trained as a configuration says: all in this file.
//!
//! Sign-symmetry (Liao, Leibo, Poggio 2016) is backpropagation whose way back knows the signs of the forward
//! weights, and not their sizes: δ_i = (δ_{i+1} sign(W_{i+1}) s_{i+1}) ⊙ σ', with s the mean of |W|.
//!
//! Run it with `cargo run --release --example own_rule`.

use anyhow::{Context, Result};
use f3_tch::config::{Config, Source};
use f3_tch::data::{Batch, DataDirectory};
use f3_tch::engine::Step;
use f3_tch::layers::Layers;
use f3_tch::loss::Loss;
use f3_tch::run::Run;
use f3_tch::tch::{self, Device, Kind};
use f3_tch::trainer::{Parts, Rule, Trainer};

/// The rule, with its settings if it has any.
struct SignSymmetry;

impl Rule for SignSymmetry {
    fn trainer(&self, Parts { layers, loss, .. }: Parts) -> Result<Box<dyn Trainer>> {
        Ok(Box::new(SignSymmetryTrainer { layers, loss }))
    }
}

/// What trains the network.
struct SignSymmetryTrainer {
    layers: Layers,
    loss: Loss,
}

impl Trainer for SignSymmetryTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let _no_grad = tch::no_grad_guard(); // these gradients are our own
        let tapes = self.layers.record(&batch.inputs)?; // x [b, m] and h [b, n] of each layer
        let outputs = &tapes.last().context("a network has layers")?.output;
        let mut gradient = self.loss.gradient(outputs, &batch.targets); // ∂L/∂h [b, n]
        for (layer, tape) in self.layers.as_mut_slice().iter_mut().zip(&tapes).rev() {
            let dense = layer.block().as_dense().context("the rule is for `model.name: mlp`")?;
            let known = tape.kept.as_ref().unwrap_or(&tape.output); // z for gelu, else h
            let delta = dense.activation().backward(&gradient, known); // ∂L/∂z [b, n]
            let weight = dense.weight();
            gradient = delta.mm(&(weight.sign() * weight.abs().mean(Kind::Float)));
            let of_weight = delta.tr().mm(&tape.input);
            let of_bias = delta.sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
            layer.apply(&[of_weight, of_bias], step)?;
        }
        Ok(())
    }

    fn layers(&self) -> &Layers {
        &self.layers
    }
}

/// Trains on the digits that the library carries; gives the test accuracy in percent before and after.
pub fn train() -> Result<(f64, f64)> {
    let mut source = Source::open("digits")?;
    source.set("model.hidden_layers=3")?;
    let (config, _) = Config::read(&source)?;
    let directory = DataDirectory::locate(None);
    let data = config.data.set.load(&directory, Device::Cpu, &mut |_| {})?;
    let mut run = Run::with_rule(&config, data, &SignSymmetry)?;
    run.train(&mut ())?;
    let rows = &run.state.history;
    let accuracy = |row: usize| rows[row].value("test_accuracy").unwrap_or(f64::NAN);
    Ok((accuracy(0), accuracy(rows.len() - 1)))
}

fn main() -> Result<()> {
    let (before, after) = train()?;
    println!("test accuracy {before:.1} % before training, {after:.1} % after it");
    Ok(())
}
