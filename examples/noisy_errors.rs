//! Does it matter of what kind the mistakes are that errors have? Direct feedback alignment on MNIST, whose
//! present errors e `[b, C]` are disturbed before they teach the hidden layer: δh = (e + noise) B. The noise has
//! the same size, and is drawn
//!
//! - for every sample anew, or
//! - for every class and epoch anew: all samples of a class are then taught wrongly in the same direction for a
//!   whole epoch, as by errors that are an epoch old.
//!
//! docs/prediction.md says what came out. Run it with `cargo run --release --example noisy_errors [epochs]`;
//! it prints the test error in percent after each epoch.

use anyhow::{Context, Result};
use f3_tch::Generator;
use f3_tch::config::{Config, Source};
use f3_tch::data::{Batch, DataDirectory};
use f3_tch::engine::Step;
use f3_tch::layers::Layers;
use f3_tch::loss::Loss;
use f3_tch::run::Run;
use f3_tch::tch::{self, Device, Kind, Tensor};
use f3_tch::trainer::{Parts, Rule, Trainer};

#[derive(Clone, Copy)]
enum Noise {
    OfSamples,
    OfClasses,
}

/// Direct feedback alignment with noise of this kind and root mean square.
#[derive(Clone, Copy)]
struct Disturbed {
    noise: Noise,
    size: f64,
}

struct DisturbedTrainer {
    layers: Layers,
    loss: Loss,
    noise: Noise,
    size: f64,
    generator: Generator,
    feedback: Vec<Tensor>, // B [C, n] of each hidden layer
    of_classes: Tensor,    // [C, C]
    samples: i64,          // of an epoch
    seen: i64,
}

impl Rule for Disturbed {
    fn trainer(&self, Parts { layers, data, loss, .. }: Parts) -> Result<Box<dyn Trainer>> {
        let mut generator = Generator::new(1000)?;
        let classes = data.targets.size()[1];
        let mut feedback = Vec::new();
        for layer in layers.as_slice().iter().rev().skip(1).rev() {
            let width =
                layer.block().as_dense().context("for `model.name: mlp`")?.weight().size()[0];
            let bound = 1.0 / (classes as f64).sqrt();
            feedback.push(generator.uniform(&[classes, width], -bound, bound)?);
        }
        let of_classes = Tensor::zeros([classes, classes], (Kind::Float, Device::Cpu));
        let (Disturbed { noise, size }, samples, seen) = (*self, data.len(), 0);
        let trainer = DisturbedTrainer {
            layers,
            loss,
            noise,
            size,
            generator,
            feedback,
            of_classes,
            samples,
            seen,
        };
        Ok(Box::new(trainer))
    }
}

impl DisturbedTrainer {
    /// Numbers of the wanted size, and of mean 0.
    fn draw(&mut self, shape: &[i64]) -> Result<Tensor> {
        let bound = self.size * 3f64.sqrt();
        self.generator.uniform(shape, -bound, bound)
    }

    fn noise(&mut self, targets: &Tensor) -> Result<Tensor> {
        if self.seen % self.samples == 0 {
            self.of_classes = self.draw(&self.of_classes.size())?;
        }
        self.seen += targets.size()[0];
        match self.noise {
            Noise::OfSamples => self.draw(&targets.size()),
            Noise::OfClasses => Ok(targets.mm(&self.of_classes)),
        }
    }
}

impl Trainer for DisturbedTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let tapes = self.layers.record(&batch.inputs)?;
        let outputs = &tapes.last().context("a network has layers")?.output;
        let of_loss = self.loss.gradient(outputs, &batch.targets);
        let errors = &batch.targets - outputs + self.noise(&batch.targets)?;
        for (index, (layer, tape)) in self.layers.as_mut_slice().iter_mut().zip(&tapes).enumerate()
        {
            let gradient = match self.feedback.get(index) {
                Some(feedback) => errors.mm(feedback) / batch.len() as f64,
                None => of_loss.shallow_clone(),
            };
            let dense = layer.block().as_dense().context("for `model.name: mlp`")?;
            let known = tape.kept.as_ref().unwrap_or(&tape.output);
            let delta = dense.activation().backward(&gradient, known);
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

fn main() -> Result<()> {
    let epochs = std::env::args().nth(1).unwrap_or_else(|| "20".into());
    println!(
        "noise,size,{}",
        (1..=epochs.parse()?).map(|it: u64| it.to_string()).collect::<Vec<_>>().join(",")
    );
    for (name, noise, size) in [
        ("none", Noise::OfSamples, 0.0),
        ("of samples", Noise::OfSamples, 0.044),
        ("of samples", Noise::OfSamples, 0.3),
        ("of classes", Noise::OfClasses, 0.026),
        ("of classes", Noise::OfClasses, 0.044),
    ] {
        let mut source = Source::open("mnist")?;
        source.set(&format!("epochs={epochs}"))?;
        let (config, _) = Config::read(&source)?;
        let directory = DataDirectory::locate(None);
        let data = config.data.set.load(&directory, Device::Cpu, &mut |_| {})?;
        let mut run = Run::with_rule(&config, data, &Disturbed { noise, size })?;
        run.train(&mut ())?;
        let rows = run.state.history.iter().skip(1);
        let errors = rows
            .map(|row| format!("{:.2}", 100.0 - row.value("test_accuracy").unwrap_or(f64::NAN)));
        println!("{name},{size},{}", errors.collect::<Vec<_>>().join(","));
    }
    Ok(())
}
