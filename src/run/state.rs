//! A run as a value: its settings, its state, its data.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use tch::Tensor;

use super::history::EpochRow;
use super::settings::Settings;
use crate::data::Dataset;
use crate::generator::Generator;
use crate::model::Description;
use crate::trainer::{self, Trainer};

/// Everything that a run needs, ready to start or to continue.
///
/// It can be sent to another thread; runs on different threads may share their data set.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::config::{Config, Source};
/// use f3_tch::data::DataDirectory;
/// use f3_tch::run::{Run, on_epoch};
/// use f3_tch::tch::Device;
///
/// let (config, _) = Config::read(&Source::open("digits")?)?;
/// let data = config.data.set.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})?;
/// let mut run = Run::new(&config, data)?;
/// run.train(&mut on_epoch(|row| println!("{}: {:?}", row.epoch, row.value("test_loss"))))?;
/// # Ok(())
/// # }
/// ```
pub struct Run {
    /// What it is called in its results.
    pub name: String,
    /// How it trains, and for how long.
    pub settings: Settings,
    /// What training changes.
    pub state: State,
    /// The samples, on the same device as the network.
    pub data: Arc<Dataset>,
    /// The configuration that it was made from, if there was one.
    pub config: Option<ConfigText>,
    /// What goes into files with the network, where the data's preparation is known.
    pub description: Option<Description>,
    /// When somebody sets this, the current epoch is the last one, and is evaluated. An epoch that has
    /// ended without being evaluated ([`Settings::evaluate_every`]) is not: the next one is.
    pub stop: Arc<AtomicBool>,
}

/// What a run has come to: exactly what a checkpoint holds.
pub struct State {
    /// The learning rule with its network.
    pub trainer: Box<dyn Trainer>,
    /// The run's random numbers, from where the network's initialisation left them.
    pub generator: Generator,
    /// What is known of the epochs that are done, epoch 0 (before training) first.
    pub history: Vec<EpochRow>,
}

/// A configuration as plain data: a run writes it into its folder and its checkpoints as it is, and does
/// not know how it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigText {
    /// In full, with comments.
    pub yaml: String,
    /// The same values.
    pub json: serde_json::Value,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Run>();
};

impl Run {
    /// A run of parts that the caller has made; [`Run::new`] makes one from a configuration.
    ///
    /// `generator` is where the network's initialisation left it, and orders the samples.
    pub fn from_parts(
        trainer: Box<dyn Trainer>,
        generator: Generator,
        data: impl Into<Arc<Dataset>>,
        settings: Settings,
    ) -> Run {
        let data = data.into();
        Run {
            name: data.name.clone(),
            settings,
            state: State { trainer, generator, history: Vec::new() },
            data,
            config: None,
            description: None,
            stop: Arc::default(),
        }
    }

    /// An epoch's training, without evaluating; `on_samples` is told how many samples are done.
    pub(super) fn train_only(&mut self, epoch: u64, on_samples: &mut dyn FnMut(i64)) -> Result<()> {
        let epoch = trainer::Epoch {
            order: &self.epoch_order()?,
            data: &self.data.train,
            batch_size: self.settings.batch_size,
            learning_rate: self.settings.learning_rate.at(epoch),
            diagnosed: self.settings.diagnostics.are_due(epoch),
        };
        self.state.trainer.train_epoch(&epoch, on_samples)
    }

    /// Draws the order in which the next epoch takes the samples.
    pub(super) fn epoch_order(&mut self) -> Result<Tensor> {
        let order = self.state.generator.epoch_order(self.data.train.len())?;
        Ok(order.to_device(self.data.train.inputs.device()))
    }
}

impl State {
    /// The last epoch that is done; none before training was evaluated.
    pub fn epoch(&self) -> Option<u64> {
        self.history.last().map(|row| row.epoch)
    }

    /// Time of training and evaluating so far.
    pub fn seconds(&self) -> f64 {
        self.history.iter().map(|row| row.train_seconds + row.eval_seconds).sum()
    }

    /// Every tensor that the coming epochs depend on, by name. Those of the networks, optimizers and
    /// the error store are the ones in use: to write to them is to set them. Those of generators are
    /// copies, see [`Generator::set_state`].
    pub(super) fn tensors(&mut self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = self.trainer.state();
        for (name, generator) in self.generators_mut() {
            tensors.push((name.to_string(), generator.state()?));
        }
        Ok(tensors)
    }

    /// The run's random numbers, and those of its learning rule, by name.
    pub(super) fn generators_mut(&mut self) -> Vec<(&'static str, &mut Generator)> {
        let mut generators = vec![("generator", &mut self.generator)];
        generators.extend(self.trainer.generators_mut());
        generators
    }
}
