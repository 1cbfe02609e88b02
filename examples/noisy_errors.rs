//! Does it matter of what kind the mistakes are that errors have? Direct feedback alignment on MNIST, whose
//! present errors e `[b, C]` are disturbed before they teach the hidden layer: δh = (e + noise) B. The noise is
//!
//! - drawn for every sample anew;
//! - drawn for every class and epoch anew: all samples of a class are then taught wrongly in the same direction
//!   for a whole epoch;
//! - the mistake ê - e that another run made in the same epoch at the same sample, where ê is what it taught
//!   with: F³'s stored errors, or predicted ones. It is as it is where errors are an epoch old, but it does not
//!   answer to what this network does;
//! - the same, but that of another sample of the class.
//!
//! docs/prediction.md says what came out.
//!
//!     f3-tch train mnist --seed 2 --epochs 20 --set checkpoint.keep=21 --run-dir /tmp/other
//!     cargo run --release --example noisy_errors 20 /tmp/other
//!
//! prints the test error in percent after each epoch; any number of runs may be given, or none.

use std::path::{Path, PathBuf};

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

#[derive(Clone)]
enum Noise {
    /// Drawn for each sample, of this root mean square.
    Samples(f64),
    /// Drawn for each class and epoch.
    Classes(f64),
    /// Of the run in a folder; of the sample itself or another one of its class.
    Mistakes { folder: PathBuf, exchanged: bool },
}

/// Direct feedback alignment with noise.
struct Disturbed(Noise);

struct DisturbedTrainer {
    layers: Layers,
    loss: Loss,
    noise: Noise,
    generator: Generator,
    feedback: Vec<Tensor>, // B [C, n] of each hidden layer
    targets: Tensor,       // of all samples, [N, C]
    of_epoch: Tensor,      // [C, C], or of a run [N, C]
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
        let of_epoch = Tensor::zeros([classes, classes], (Kind::Float, Device::Cpu));
        let (noise, targets, seen) = (self.0.clone(), data.targets.shallow_clone(), 0);
        let trainer =
            DisturbedTrainer { layers, loss, noise, generator, feedback, targets, of_epoch, seen };
        Ok(Box::new(trainer))
    }
}

/// ê - e `[N, C]` of a run in an epoch, from its checkpoints: (e + ŷ)^{t-1} - (e + ŷ)^t, where ŷ is what its
/// hidden layer has guessed, if it guesses.
fn mistakes(run: &Path, epoch: i64) -> Result<Tensor> {
    let kept = |epoch: i64| -> Result<Tensor> {
        let path = run.join(format!("checkpoints/epoch-{epoch:06}.safetensors"));
        let tensors = Tensor::read_safetensors(&path)
            .with_context(|| format!("{}: is needed (`checkpoint.keep`)", path.display()))?;
        let wanted = |name: &str| name == "errors" || name.ends_with("guesses");
        let wanted = tensors.into_iter().filter(|(name, _)| wanted(name)).map(|(_, it)| it);
        wanted.reduce(|sum, it| sum + it).context("the run has no stored errors")
    };
    Ok(kept(epoch - 1)? - kept(epoch)?)
}

impl DisturbedTrainer {
    /// Numbers of this root mean square, and of mean 0.
    fn draw(&mut self, shape: &[i64], size: f64) -> Result<Tensor> {
        let bound = size * 3f64.sqrt();
        self.generator.uniform(shape, -bound, bound)
    }

    fn begin_epoch(&mut self, epoch: i64) -> Result<()> {
        self.of_epoch = match self.noise.clone() {
            Noise::Samples(_) => return Ok(()),
            Noise::Classes(size) => self.draw(&self.of_epoch.size(), size)?,
            // In the first epoch F³ is taught with y* alone.
            Noise::Mistakes { .. } if epoch == 1 => self.targets.zeros_like(),
            Noise::Mistakes { folder, exchanged } => {
                let mistakes = mistakes(&folder, epoch)?;
                match exchanged {
                    true => mistakes.index_select(0, &self.others()?),
                    false => mistakes,
                }
            }
        };
        Ok(())
    }

    /// For each sample another one of its class, int64 `[N]`.
    fn others(&mut self) -> Result<Tensor> {
        let mut others = self.targets.argmax(1, false);
        for class in 0..self.targets.size()[1] {
            let positions = self.targets.select(1, class).nonzero().squeeze_dim(1);
            let order = self.draw(&positions.size(), 1.0)?.argsort(0, false);
            let _ = others.index_copy_(0, &positions, &positions.index_select(0, &order));
        }
        Ok(others)
    }

    fn noise(&mut self, batch: &Batch) -> Result<Tensor> {
        let samples = self.targets.size()[0];
        if self.seen % samples == 0 {
            self.begin_epoch(self.seen / samples + 1)?;
        }
        self.seen += batch.len();
        match self.noise {
            Noise::Samples(size) => self.draw(&batch.targets.size(), size),
            Noise::Classes(_) => Ok(batch.targets.mm(&self.of_epoch)),
            Noise::Mistakes { .. } => Ok(self.of_epoch.index_select(0, &batch.positions)),
        }
    }
}

impl Trainer for DisturbedTrainer {
    fn train_batch(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let tapes = self.layers.record(&batch.inputs)?;
        let outputs = &tapes.last().context("a network has layers")?.output;
        let of_loss = self.loss.gradient(outputs, &batch.targets);
        let errors = &batch.targets - outputs + self.noise(batch)?;
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
    let mut arguments = std::env::args().skip(1);
    let epochs: u64 = arguments.next().map_or(Ok(20), |it| it.parse())?;
    let mut noises = vec![("none".to_string(), Noise::Samples(0.0))];
    for size in [0.044, 0.3] {
        noises.push((format!("of samples {size}"), Noise::Samples(size)));
    }
    for size in [0.001, 0.006, 0.026, 0.044] {
        noises.push((format!("of classes {size}"), Noise::Classes(size)));
    }
    for run in arguments {
        for (exchanged, shown) in [(false, "of"), (true, "exchanged in classes of")] {
            let noise = Noise::Mistakes { folder: PathBuf::from(&run), exchanged };
            noises.push((format!("{shown} {run}"), noise));
        }
    }
    println!("noise,{}", (1..=epochs).map(|it| it.to_string()).collect::<Vec<_>>().join(","));
    for (name, noise) in noises {
        let mut source = Source::open("mnist")?;
        source.set(&format!("epochs={epochs}"))?;
        let (config, _) = Config::read(&source)?;
        let directory = DataDirectory::locate(None);
        let data = config.data.set.load(&directory, Device::Cpu, &mut |_| {})?;
        let mut run = Run::with_rule(&config, data, &Disturbed(noise))?;
        run.train(&mut ())?;
        let rows = run.state.history.iter().skip(1);
        let errors = rows
            .map(|row| format!("{:.2}", 100.0 - row.value("test_accuracy").unwrap_or(f64::NAN)));
        println!("{name},{}", errors.collect::<Vec<_>>().join(","));
    }
    Ok(())
}
