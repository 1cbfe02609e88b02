//! From a configuration to the parts of a run: the only file that knows both sides.

use crate::config::{Algorithm, Config, ModelConfig, Source};
use crate::data::{DataDirectory, Dataset, Task};
use crate::device::ChosenDevice;
use crate::error_info::ErrorInfo;
use crate::generator::Generator;
use crate::loss::Loss;
use crate::network::{Activation, Mlp, Network};
use crate::run::Experiment;
use crate::trainer::{BackpropTrainer, FeedbackTrainer, Trainer};
use anyhow::Result;

/// Chooses the device, loads the data, draws the network: all that can fail before training.
///
/// `source` is where `config` was read from, to be named in complaints.
pub fn assemble(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
) -> Result<(Experiment, ChosenDevice)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tch::set_num_threads(config.threads.unwrap_or(cores) as i32);
    let (samples, outputs) = config.data.name.training_shape();
    check_against_data(config, source, samples, outputs)?;
    let chosen = config.device.choose()?;
    let data = config.data.name.load(directory, chosen.device)?;
    Ok((assemble_on(data, config, source)?, chosen))
}

/// As [`assemble`], on a data set that the caller has; the run is on the device of its tensors.
pub fn assemble_on(data: Dataset, config: &Config, source: &Source) -> Result<Experiment> {
    check_against_data(config, source, data.train.len(), data.train.output_count())?;
    let mut generator = Generator::new(config.seed)?;
    let loss = loss(data.task);
    Ok(Experiment {
        trainer: trainer(config, &data, loss, &mut generator)?,
        data,
        loss,
        generator,
        batch_size: config.data.batch_size,
        eval_batch_size: config.data.eval_batch_size,
        epochs: config.epochs,
        learning_rate: config.optimizer.learning_rate(),
    })
}

/// What can only be told about a configuration when N and C are known.
fn check_against_data(config: &Config, source: &Source, samples: i64, outputs: i64) -> Result<()> {
    if config.data.batch_size > samples {
        let expected = format!("at most the {samples} training samples");
        return Err(source.refuse("data.batch_size", config.data.batch_size, &expected).into());
    }
    if let Some(init) = config.algorithm.feedback_init() {
        for width in config.model.hidden_widths() {
            if let Err(error) = init.check(outputs, width) {
                let expected = format!("a width that the feedback allows: {error}");
                return Err(source.refuse("model.width", width, &expected).into());
            }
        }
    }
    Ok(())
}

/// The loss that goes with a task.
fn loss(task: Task) -> Loss {
    match task {
        Task::Classification => Loss::BinaryCrossEntropy,
        Task::Regression => Loss::MeanSquaredError,
    }
}

fn trainer(
    config: &Config,
    data: &Dataset,
    loss: Loss,
    generator: &mut Generator,
) -> Result<Box<dyn Trainer>> {
    let device = data.train.inputs.device();
    let ModelConfig::Mlp { activation, .. } = &config.model;
    let shape = Mlp {
        inputs: data.train.input_count(),
        hidden: config.model.hidden_widths(),
        activation: (*activation).into(),
        outputs: data.train.output_count(),
        output_activation: match data.task {
            Task::Classification => Activation::Sigmoid,
            Task::Regression => Activation::Identity,
        },
    };
    let feedback = config.algorithm.feedback_init();
    let network = Network::mlp(&shape, feedback, &config.optimizer, generator, device)?;
    let taught_with = |network, error_info| -> Result<Box<dyn Trainer>> {
        let trainer = FeedbackTrainer::new(network, error_info, loss, &data.train)?;
        Ok(Box::new(trainer))
    };
    match &config.algorithm {
        Algorithm::F3 { error_info, .. } => taught_with(network, *error_info),
        Algorithm::Dfa { .. } => taught_with(network, ErrorInfo::CurrentError),
        Algorithm::Drtp { .. } => taught_with(network, ErrorInfo::OneHotTarget),
        // Without feedback matrices no hidden layer learns, whatever it would be taught with.
        Algorithm::Llo => taught_with(network, ErrorInfo::Zeros),
        Algorithm::Bp => Ok(Box::new(BackpropTrainer::new(network, loss))),
    }
}
