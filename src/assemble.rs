//! From a configuration to the parts of a run: the only file that knows both sides.

use crate::config::{Algorithm, Config, ModelConfig, Source};
use crate::data::{DataDirectory, Dataset};
use crate::device::ChosenDevice;
use crate::diagnostics::Diagnostics;
use crate::error_info::ErrorInfo;
use crate::generator::Generator;
use crate::loss::Loss;
use crate::network::{Block, Cnn, Mlp, Network, Topology, Vit, WeightInit};
use crate::run::Experiment;
use crate::trainer::{BackpropTrainer, FeedbackTrainer, PepitaTrainer, Trainer};
use anyhow::{Result, anyhow};

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
    if let Some((samples, outputs)) = config.data.set.training_shape() {
        check_against_data(config, source, samples, outputs)?; // before anything is fetched
    }
    let chosen = config.device.choose()?;
    let data = config.data.set.load(directory, chosen.device)?;
    Ok((assemble_on(data, config, source)?, chosen))
}

/// As [`assemble`], on a data set that the caller has; the run is on the device of its tensors.
pub fn assemble_on(data: Dataset, config: &Config, source: &Source) -> Result<Experiment> {
    check_against_data(config, source, data.train.len(), data.train.output_count())?;
    let mut generator = Generator::new(config.seed)?;
    Ok(Experiment {
        trainer: trainer(config, source, &data, &mut generator)?,
        data,
        loss: config.loss,
        generator,
        batch_size: config.data.batch_size,
        eval_batch_size: config.data.eval_batch_size,
        epochs: config.epochs,
        learning_rate: config.optimizer.settings.learning_rate(),
        schedule: config.optimizer.schedule.clone(),
        diagnostics: config
            .diagnostics
            .every
            .map(|every| Diagnostics { every: every as u64, samples: config.diagnostics.samples }),
    })
}

/// What can only be told about a configuration when N and C are known.
fn check_against_data(config: &Config, source: &Source, samples: i64, outputs: i64) -> Result<()> {
    if config.data.batch_size > samples {
        let expected = format!("at most the {samples} training samples");
        return Err(source.refuse("data.batch_size", config.data.batch_size, &expected).into());
    }
    if let Some(init) = config.algorithm.feedback_init() {
        for width in config.model.hidden_widths().unwrap_or_default() {
            if let Err(error) = init.check(outputs, width) {
                let expected = format!("a width that the feedback allows: {error}");
                return Err(source.refuse("model.width", width, &expected).into());
            }
        }
    }
    Ok(())
}

fn trainer(
    config: &Config,
    source: &Source,
    data: &Dataset,
    generator: &mut Generator,
) -> Result<Box<dyn Trainer>> {
    let loss = config.loss;
    let blocks = blocks(config, source, data, generator)?;
    let feedback = config.algorithm.feedback_init();
    let network = Network::new(blocks, feedback, &config.optimizer.settings, generator)?;
    let taught_with = |network, error_info| -> Result<Box<dyn Trainer>> {
        let trainer = FeedbackTrainer::new(network, error_info, loss, &data.train)?;
        Ok(Box::new(trainer))
    };
    match &config.algorithm {
        Algorithm::F3 { error_info, .. } => taught_with(network, *error_info),
        Algorithm::Dfa { .. } if loss == Loss::CrossEntropy => {
            taught_with(network, ErrorInfo::CurrentErrorSoftmax)
        }
        Algorithm::Dfa { .. } => taught_with(network, ErrorInfo::CurrentError),
        Algorithm::Drtp { .. } => taught_with(network, ErrorInfo::OneHotTarget),
        // Without feedback matrices no hidden layer learns, whatever it would be taught with.
        Algorithm::Llo => taught_with(network, ErrorInfo::Zeros),
        Algorithm::Bp | Algorithm::Fa { .. } => Ok(Box::new(BackpropTrainer::new(network, loss))),
        Algorithm::Pepita { projection_scale, dropout } => {
            let inputs = data.train.input_count();
            let trainer =
                PepitaTrainer::new(network, inputs, *projection_scale, *dropout, generator)?;
            Ok(Box::new(trainer))
        }
    }
}

/// Draws the network's blocks, the output block last.
fn blocks(
    config: &Config,
    source: &Source,
    data: &Dataset,
    generator: &mut Generator,
) -> Result<Vec<Box<dyn Block>>> {
    let device = data.train.inputs.device();
    let outputs = data.train.output_count();
    let output_activation = config.loss.output_activation();
    let image = |name: &str| {
        let expected = "mlp, since the samples of this data set are no images";
        data.image.ok_or_else(|| source.refuse("model.name", name, expected))
    };
    match &config.model {
        ModelConfig::Mlp { activation, .. } => {
            let shape = Mlp {
                inputs: data.train.input_count(),
                hidden: config.model.hidden_widths().expect("this is an mlp"),
                activation: *activation,
                outputs,
                output_activation,
            };
            match &config.algorithm {
                Algorithm::Fa { feedback_init } => {
                    shape.blocks_for_feedback_alignment(feedback_init, generator, device)
                }
                Algorithm::Pepita { .. } => {
                    shape.blocks_without_bias(WeightInit::He, generator, device)
                }
                _ => shape.blocks(generator, device),
            }
        }
        ModelConfig::Cnn { topology, activation } => {
            let shape = Cnn {
                image: image("cnn")?,
                topology: topology.parse::<Topology>().map_err(|reason| anyhow!(reason))?,
                activation: *activation,
                outputs,
                output_activation,
            };
            if let Err(error) = shape.check() {
                let expected = format!("one that the images allow: {error}");
                return Err(source.refuse("model.topology", topology, &expected).into());
            }
            shape.blocks(generator, device)
        }
        &ModelConfig::Vit {
            patch_size,
            token_width,
            blocks,
            heads,
            head_size,
            mlp_width,
            activation,
        } => {
            let image = image("vit")?;
            let shape = Vit {
                image,
                patch_size,
                token_width,
                blocks,
                heads,
                head_size,
                mlp_width,
                activation,
                outputs,
                output_activation,
            };
            if let Err(error) = shape.tokens() {
                let expected = format!("a size that divides the images: {error}");
                return Err(source.refuse("model.patch_size", shape.patch_size, &expected).into());
            }
            shape.blocks(generator, device)
        }
    }
}
