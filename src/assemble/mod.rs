//! From a configuration to a run: the only module that knows both sides.

mod checks;
mod resume;
mod trainer;

use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Result;

use crate::config::{Config, Source};
use crate::data::{DataDirectory, Dataset, Progress, TrainingShape};
use crate::device::DeviceChoice;
use crate::generator::Generator;
use crate::model::{self, Description};
use crate::process::use_threads;
use crate::run::{ConfigText, Run, Settings};
use crate::settings::Refusal;
use crate::trainer::Rule;

/// Where the samples of a run come from.
pub enum DataFrom<'a> {
    /// From files in this folder, onto the device that the configuration says; missing files are
    /// fetched, of which the function is told. Where the configuration says nothing about threads, the
    /// run has as many as the machine has cores.
    Files(&'a DataDirectory, &'a mut dyn FnMut(Progress)),
    /// From the caller, who may share them with other runs; the run is on the device of their tensors.
    /// Where the configuration says nothing about threads, it has as many as the thread that trains it.
    Memory(Arc<Dataset>),
}

/// Chooses the device, loads the data, draws the network: all that can fail before training. Beside the
/// run comes a remark on the device, if there is one.
///
/// `source` is where `config` was read from, to be named in complaints.
///
/// # Errors
/// If the configuration does not go with the data, or there is no memory for the network.
pub fn assemble(config: &Config, source: &Source, data: DataFrom) -> Result<(Run, Option<String>)> {
    put_together(config, data).map_err(|error| placed(error, source))
}

/// Checks without loading anything that a configuration goes with its data, as far as their shape is known
/// beforehand.
///
/// # Errors
/// As [`assemble`].
pub fn check(config: &Config, source: &Source) -> Result<()> {
    let Some(shape) = config.data.set.about().training_shape else { return Ok(()) };
    Plan::new(config, shape).check().map_err(|error| placed(error, source))
}

/// Names the place of what is refused.
fn placed(error: anyhow::Error, source: &Source) -> anyhow::Error {
    match error.downcast() {
        Ok(Refusal { key, found, expected }) => source.refuse(key, found, &expected).into(),
        Err(error) => error,
    }
}

fn put_together(config: &Config, data: DataFrom) -> Result<(Run, Option<String>)> {
    let (directory, progress) = match data {
        DataFrom::Memory(data) => return Ok((Run::new(config, data)?, None)),
        DataFrom::Files(directory, progress) => (directory, progress),
    };
    if let Some(shape) = config.data.set.about().training_shape {
        Plan::new(config, shape).check()?; // before anything is fetched
    }
    let cores = || available_parallelism().map_or(1, usize::from);
    let threads = Some(config.threads.unwrap_or_else(cores));
    let (data, remark) = load(config, threads, directory, progress)?;
    Ok((make(config, &*config.algorithm, data, threads)?, remark))
}

/// The data of a configuration in full, on the device that it says, and a remark on the device, if there
/// is one.
fn load(
    config: &Config,
    threads: Option<usize>,
    directory: &DataDirectory,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Arc<Dataset>, Option<String>)> {
    // The data go where the pipeline begins.
    let chosen = match (config.device, config.schedule.devices.as_deref()) {
        (DeviceChoice::Auto, Some([first, ..])) => first.choose()?,
        (device, _) => device.choose()?,
    };
    let _threads = use_threads(threads);
    let data = config.data.set.load(directory, chosen.device, progress)?;
    Ok((data.into(), chosen.remark))
}

/// The part of the data that runs of a configuration use, for all of them to share.
///
/// # Errors
/// If the data cannot be had, or do not have what the configuration asks for.
pub(crate) fn shared_data(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Arc<Dataset>, Option<String>)> {
    let (data, remark) = load(config, config.threads, directory, progress)?;
    let data = config.data.selection().of(data).map_err(|error| placed(error, source))?;
    Ok((data, remark))
}

impl Run {
    /// A run as a configuration says, on a data set that may be shared with other runs.
    ///
    /// # Errors
    /// As [`assemble`].
    pub fn new(config: &Config, data: impl Into<Arc<Dataset>>) -> Result<Run> {
        make(config, &*config.algorithm, data.into(), config.threads)
    }

    /// A run as a configuration says, but trained by a rule of the caller's own in place of the
    /// configuration's. `examples/own_rule.rs` has one.
    ///
    /// The program cannot resume it, since no configuration names the rule.
    ///
    /// # Errors
    /// As [`assemble`].
    pub fn with_rule(
        config: &Config,
        data: impl Into<Arc<Dataset>>,
        rule: &dyn Rule,
    ) -> Result<Run> {
        Ok(Run { config: None, ..make(config, rule, data.into(), config.threads)? })
    }
}

impl ConfigText {
    /// The text of a configuration.
    pub fn of(config: &Config) -> ConfigText {
        let json = serde_json::to_value(config).expect("settings are plain data");
        ConfigText { yaml: config.to_yaml(), json }
    }
}

/// A configuration, the rule that trains, and the shape of the data that they are to go with.
struct Plan<'a> {
    config: &'a Config,
    rule: &'a dyn Rule,
    shape: TrainingShape,
}

impl Plan<'_> {
    /// With the configuration's own rule.
    fn new(config: &Config, shape: TrainingShape) -> Plan<'_> {
        Plan { config, rule: &*config.algorithm, shape }
    }
}

/// Draws the network, and puts together what the run needs.
fn make(
    config: &Config,
    rule: &dyn Rule,
    data: Arc<Dataset>,
    threads: Option<usize>,
) -> Result<Run> {
    let _threads = use_threads(threads);
    let plan = Plan { config, rule, shape: data.training_shape() };
    plan.check()?;
    let data = config.data.selection().of(data)?;
    let settings = Settings {
        seed: config.seed,
        epochs: config.epochs,
        evaluate_every: config.evaluate_every,
        evaluate_train_every: config.evaluate_train_every,
        batch_size: config.data.batch_size,
        eval_batch_size: config.data.eval_batch_size,
        loss: config.loss,
        learning_rate: config.optimizer.rate(),
        threads,
        precision: config.precision,
        diagnostics: config.diagnostics,
        early_stop: config.early_stop.clone(),
        max_minutes: config.max_minutes,
        on_nan: config.on_nan,
        checkpoint: config.checkpoint.clone(),
    };
    let mut generator = Generator::new(config.seed)?;
    let architecture = plan.architecture(data.train.input_count())?;
    let (trainer, kernels) = plan.trainer(&architecture, &data, &mut generator)?;
    let description = data.preparation.clone().map(|preparation| Description {
        version: model::VERSION,
        architecture,
        loss: config.loss,
        kernels,
        preparation,
        table: config.data.set.about().table_format,
        data: serde_json::to_value(&config.data).ok(),
    });
    Ok(Run {
        name: config.name.clone(),
        description,
        config: Some(ConfigText::of(config)),
        ..Run::from_parts(trainer, generator, data, settings)
    })
}
