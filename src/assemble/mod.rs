//! From a configuration to a run: the only module that knows both sides.

mod checks;
mod resume;
mod trainer;

pub use resume::{DataFrom, Resumed, config_of, resume};

use std::sync::Arc;

use anyhow::Result;

use crate::config::{Config, Source};
use crate::data::{DataDirectory, Dataset, Progress, SelectionError};
use crate::device::{ChosenDevice, DeviceChoice};
use crate::diagnostics::Diagnostics;
use crate::generator::Generator;
use crate::model::Description;
use crate::process::use_threads;
use crate::run::{ConfigText, Run, Settings, State};
use checks::{architecture, check_against_data, refuse_selection};
use trainer::trainer;

/// Chooses the device, loads the data, draws the network: all that can fail before training. Where the
/// configuration says nothing about threads, the run has as many as the machine has cores.
///
/// `source` is where `config` was read from, to be named in complaints. `progress` is told when files
/// of the data set are fetched.
pub fn assemble(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Run, ChosenDevice)> {
    let (data, chosen) = load(config, source, directory, progress)?;
    Ok((make(data, config, source, threads_of(config))?, chosen))
}

/// As [`assemble`], on a data set that the caller has and may share with other runs; the run is on the
/// device of its tensors. Where the configuration says nothing about threads, the run has as many as the
/// thread that trains it.
pub fn assemble_on(data: impl Into<Arc<Dataset>>, config: &Config, source: &Source) -> Result<Run> {
    make(data.into(), config, source, config.threads)
}

impl Run {
    /// A run as a configuration says, on a data set that may be shared with other runs.
    ///
    /// # Errors
    /// If the configuration does not go with the data, or there is no memory for the network.
    pub fn new(config: &Config, data: impl Into<Arc<Dataset>>) -> Result<Run> {
        let source = Source::parse("the configuration", &config.to_yaml())?;
        assemble_on(data, config, &source)
    }
}

impl ConfigText {
    /// The text of a configuration.
    pub fn of(config: &Config) -> ConfigText {
        let json = serde_json::to_value(config).expect("settings are plain data");
        ConfigText { yaml: config.to_yaml(), json }
    }
}

/// As many threads as the configuration says, or as the machine has cores.
fn threads_of(config: &Config) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Some(config.threads.unwrap_or_else(cores))
}

/// Chooses the device, and loads the data onto it.
fn load(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Arc<Dataset>, ChosenDevice)> {
    if let Some(shape) = config.data.set.about().training_shape {
        check_against_data(config, source, &shape)?; // before anything is fetched
    }
    // The data go where the pipeline begins.
    let first = config.schedule.devices.as_ref().and_then(|devices| devices.first().copied());
    let chosen = match (config.device, first) {
        (DeviceChoice::Auto, Some(first)) => first.choose()?,
        (device, _) => device.choose()?,
    };
    let _threads = use_threads(threads_of(config));
    Ok((config.data.set.load(directory, chosen.device, progress)?.into(), chosen))
}

/// Draws the network, and puts together what the run needs.
fn make(
    data: Arc<Dataset>,
    config: &Config,
    source: &Source,
    threads: Option<usize>,
) -> Result<Run> {
    let _threads = use_threads(threads);
    let shape = data.training_shape();
    check_against_data(config, source, &shape)?;
    let data = config.data.selection().of(data).map_err(|error| {
        match error.downcast::<SelectionError>() {
            Ok(error) => refuse_selection(source, error).into(),
            Err(error) => error,
        }
    })?;
    let longest = data.parts().map(|(_, split)| split.len()).max().unwrap_or(0);
    let settings = Settings {
        seed: config.seed,
        epochs: config.epochs,
        batch_size: config.data.batch_size,
        // A network that lives in files is gone through once.
        eval_batch_size: match config.schedule.offload {
            Some(_) => longest,
            None => config.data.eval_batch_size,
        },
        loss: config.loss,
        learning_rate: config.optimizer.rate(),
        threads,
        precision: config.precision,
        diagnostics: config
            .diagnostics
            .every
            .map(|every| Diagnostics { every: every as u64, samples: config.diagnostics.samples }),
        early_stop: config.early_stop.clone(),
        max_minutes: config.max_minutes,
        on_nan: config.on_nan,
        checkpoint: config.checkpoint.clone(),
    };
    let mut generator = Generator::new(config.seed)?;
    let architecture = architecture(config, source, data.train.input_count(), &shape)?;
    let (trainer, kernels) = trainer(config, source, &architecture, &data, &mut generator)?;
    let description = data.preparation.clone().map(|preparation| {
        let table = config.data.set.about().table_format;
        let section = serde_json::to_value(&config.data).ok();
        Description::new(architecture, config.loss, kernels, preparation, table, section)
    });
    Ok(Run {
        name: config.name.clone(),
        settings,
        state: State { trainer, generator, history: Vec::new() },
        description,
        config: Some(ConfigText::of(config)),
        data,
        stop: Arc::default(),
    })
}
