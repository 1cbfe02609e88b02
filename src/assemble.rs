//! From a configuration to the parts of a run: the only file that knows both sides.

use anyhow::Result;
use tch::Device;

use crate::config::{Algorithm, Config, ConfigError, ModelConfig, ScheduleName, Source};
use crate::data::{DataDirectory, Dataset, Progress, SelectionError, Split, TrainingShape};
use crate::device::{ChosenDevice, DeviceChoice, memory};
use crate::diagnostics::Diagnostics;
use crate::engine::{EngineSettings, Kernels, Precision};
use crate::error_info::ErrorInfo;
use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::layers::{Layer, Layers};
use crate::loss::Loss;
use crate::model::{self, Description};
use crate::native::allow_tf32;
use crate::network::{Architecture, Block, Cnn, Mlp, Vit, WeightInit, move_to};
use crate::offload::Offload;
use crate::run::Experiment;
use crate::schedule::{
    LayerMajor, Pipelined, Schedule, best_stages, chunk_for, chunk_that_fills, stages,
};
use crate::trainer::{BackpropTrainer, FeedbackTrainer, PepitaTrainer, RecordedTrainer, Trainer};

/// Chooses the device, loads the data, draws the network: all that can fail before training.
///
/// `source` is where `config` was read from, to be named in complaints. `progress` is told when files
/// of the data set are fetched.
pub fn assemble(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Experiment, ChosenDevice)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tch::set_num_threads(config.threads.unwrap_or(cores) as i32);
    if let Some(shape) = config.data.set.training_shape() {
        check_against_data(config, source, &shape)?; // before anything is fetched
    }
    // The data go where the pipeline begins.
    let first = config.schedule.devices.as_ref().and_then(|devices| devices.first().copied());
    let chosen = match (config.device, first) {
        (DeviceChoice::Auto, Some(first)) => first.choose()?,
        (device, _) => device.choose()?,
    };
    let data = config.data.set.load(directory, chosen.device, progress)?;
    Ok((assemble_on(data, config, source)?, chosen))
}

/// As [`assemble`], on a data set that the caller has; the run is on the device of its tensors.
pub fn assemble_on(data: Dataset, config: &Config, source: &Source) -> Result<Experiment> {
    check_against_data(config, source, &data.training_shape())?;
    let data = config.data.selection().of(data).map_err(|error| {
        match error.downcast::<SelectionError>() {
            Ok(error) => refuse_selection(source, error).into(),
            Err(error) => error,
        }
    })?;
    let longest = data.train.len().max(data.test.len());
    let mut generator = Generator::new(config.seed)?;
    let architecture =
        architecture(config, source, data.train.input_count(), &data.training_shape())?;
    let (trainer, kernels) = trainer(config, source, &architecture, &data, &mut generator)?;
    Ok(Experiment {
        trainer,
        loss: config.loss,
        generator,
        batch_size: config.data.batch_size,
        // A network that lives in files is gone through once.
        eval_batch_size: match config.schedule.offload {
            Some(_) => longest,
            None => config.data.eval_batch_size,
        },
        epochs: config.epochs,
        learning_rate: config.optimizer.rate(),
        early_stop: config.early_stop.clone(),
        max_minutes: config.max_minutes,
        on_nan: config.on_nan,
        description: data.preparation.clone().map(|preparation| {
            let table = config.data.set.table_format();
            let section = serde_json::to_value(&config.data).ok();
            Description::new(architecture, config.loss, kernels, preparation, table, section)
        }),
        config: Some(config.to_yaml()),
        rows: Vec::new(),
        diagnostics: config
            .diagnostics
            .every
            .map(|every| Diagnostics { every: every as u64, samples: config.diagnostics.samples }),
        data,
    })
}

fn refuse_selection(source: &Source, error: SelectionError) -> ConfigError {
    source.refuse(error.key, error.found, &error.expected)
}

/// What can only be told about a configuration when the data's shape is known.
fn check_against_data(
    config: &Config,
    source: &Source,
    shape: &TrainingShape,
) -> Result<(), ConfigError> {
    let samples = config.data.selection().training_samples(shape.samples);
    let samples = samples.map_err(|error| refuse_selection(source, error))?;
    if config.data.batch_size > samples {
        let expected = format!("at most the {samples} training samples");
        return Err(source.refuse("data.batch_size", config.data.batch_size, &expected));
    }
    if let Some(init) = config.algorithm.feedback_init() {
        for width in config.model.hidden_widths().unwrap_or_default() {
            if let Err(error) = init.check(shape.outputs, width) {
                let expected = format!("a width that the feedback allows: {error}");
                return Err(source.refuse("model.width", width, &expected));
            }
        }
    }
    check_memory(config, source, weight_count(config, source, shape)?)
}

/// How many weights the network has, at least; refuses one that the images do not allow.
fn weight_count(
    config: &Config,
    source: &Source,
    shape: &TrainingShape,
) -> Result<f64, ConfigError> {
    let inputs = shape.image.map_or(1, |image| image.iter().product());
    let architecture = architecture(config, source, inputs, shape)?;
    architecture.weight_count().map_err(|error| match &config.model {
        ModelConfig::Vit { patch_size, .. } => {
            let expected = format!("a size that divides the images: {error}");
            source.refuse("model.patch_size", patch_size, &expected)
        }
        ModelConfig::Cnn { topology, .. } => {
            let expected = format!("one that the images allow: {error}");
            source.refuse("model.topology", topology, &expected)
        }
        ModelConfig::Mlp { .. } => source.refuse("model.name", "mlp", &error.to_string()),
    })
}

/// Refuses a network that cannot be in memory, before it takes all there is.
fn check_memory(config: &Config, source: &Source, weights: f64) -> Result<(), ConfigError> {
    let states = match config.algorithm {
        Algorithm::Llo => 0,
        _ => config.optimizer.settings.states(),
    };
    let bytes = weights * size_of::<f32>() as f64 * (1 + states) as f64;
    let elsewhere = config.schedule.offload.is_some() || config.schedule.devices.is_some();
    let Some(memory) = memory().filter(|memory| !elsewhere && bytes > *memory as f64) else {
        return Ok(());
    };
    let (key, found) = match &config.model {
        ModelConfig::Mlp { width, .. } => ("model.width", width.to_string()),
        ModelConfig::Cnn { topology, .. } => ("model.topology", topology.to_string()),
        ModelConfig::Vit { token_width, .. } => ("model.token_width", token_width.to_string()),
    };
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let expected = format!(
        "a network that fits into memory: this one's weights and optimizer state take {:.0} GiB, and \
         there are {:.0} (`schedule.offload` keeps them in files)",
        gib(bytes),
        gib(memory as f64)
    );
    Err(source.refuse(key, found, &expected))
}

/// Draws the network and gives the rule that trains it, and the kernels that compute it.
fn trainer(
    config: &Config,
    source: &Source,
    architecture: &Architecture,
    data: &Dataset,
    generator: &mut Generator,
) -> Result<(Box<dyn Trainer>, Kernels)> {
    let loss = config.loss;
    let device = data.train.inputs.device();
    let settings = EngineSettings {
        optimizer: config.optimizer.settings,
        kernels: config.kernels,
        precision: config.precision,
        offload: config.schedule.offload.as_deref().map(Offload::new).transpose()?,
    };
    let blocks = blocks(config, source, architecture, generator, device, &settings)?;
    let feedback = config.algorithm.feedback_init();
    if let (Some(init), Some((output, hidden))) = (feedback, blocks.split_last()) {
        for block in hidden {
            check_feedback(source, init, output.outputs(), block.outputs())?;
        }
    }
    if let Some(devices) = &config.schedule.devices {
        place(&blocks, devices, source)?;
    }
    let kernels = settings.choose(blocks.iter().map(Box::as_ref)).map_err(|error| {
        source.refuse("kernels", "fused", &format!("`aten` or `auto`: {error:#}"))
    })?;
    if let Err(error) = settings.check_precision(kernels) {
        return Err(source.refuse("precision", "bf16", &format!("float32: {error}")).into());
    }
    if config.precision == Precision::Tf32 {
        if !device.is_cuda() {
            let expected = "float32, or `device: cuda`, where tf32 is computed";
            return Err(source.refuse("precision", "tf32", expected).into());
        }
        allow_tf32()?;
    }
    let layers = Layers::new(blocks, feedback, &settings, generator)?;
    if let Some(path) = &config.init_from {
        model::init(&layers, &model::of(path))?;
    }
    let taught_with = |layers: Layers, error_info: ErrorInfo| -> Result<Box<dyn Trainer>> {
        let schedule = schedule(config, layers.as_slice(), &data.train, kernels);
        let mut trainer = FeedbackTrainer::new(layers, error_info, loss, &data.train)?;
        if config.algorithm.learns_forward() {
            trainer.set_schedule(schedule)?;
        }
        Ok(Box::new(trainer))
    };
    let trainer: Result<Box<dyn Trainer>> = match &config.algorithm {
        Algorithm::F3 { error_info, .. } => taught_with(layers, *error_info),
        Algorithm::Dfa { .. } if loss == Loss::CrossEntropy => {
            taught_with(layers, ErrorInfo::CurrentErrorSoftmax)
        }
        Algorithm::Dfa { .. } => taught_with(layers, ErrorInfo::CurrentError),
        Algorithm::Drtp { .. } => taught_with(layers, ErrorInfo::OneHotTarget),
        // Without feedback matrices no hidden layer learns, whatever it would be taught with.
        Algorithm::Llo => taught_with(layers, ErrorInfo::Zeros),
        Algorithm::Bp | Algorithm::Fa { .. } => Ok(Box::new(BackpropTrainer::new(layers, loss))),
        Algorithm::Pepita { projection_scale, dropout } => {
            let inputs = data.train.input_count();
            let trainer =
                PepitaTrainer::new(layers, inputs, *projection_scale, *dropout, generator)?;
            Ok(Box::new(trainer))
        }
    };
    if !config.cuda_graph {
        return Ok((trainer?, kernels));
    }
    if !device.is_cuda() {
        let expected = "false, or `device: cuda`: it is CUDA that records";
        return Err(source.refuse("cuda_graph", true, expected).into());
    }
    Ok((Box::new(RecordedTrainer::new(trainer?)?), kernels))
}

/// Takes the blocks of each stage of the pipeline to the stage's device.
fn place(blocks: &[Box<dyn Block>], devices: &[DeviceChoice], source: &Source) -> Result<()> {
    if devices.len() > blocks.len() {
        let shown = DeviceChoice::list(devices);
        let expected = format!("at most {} devices, one for each layer", blocks.len());
        return Err(source.refuse("schedule.devices", shown, &expected).into());
    }
    let mut left = blocks.iter();
    for (choice, count) in devices.iter().zip(stages(blocks.iter().map(Box::as_ref), devices.len()))
    {
        let device = choice.choose()?.device;
        left.by_ref().take(count).try_for_each(|block| move_to(block.as_ref(), device))?;
    }
    Ok(())
}

/// The schedule that is asked for; `auto` goes by a model of the machine.
///
/// - Fused kernels: layer-major. All threads share a layer's neurons, whose weights stay in the caches
///   for a chunk of batches, and meet once a chunk.
/// - libtorch's kernels on several cores: a pipeline, if the layers can be balanced well enough to gain
///   more than threads gain that share every small operation.
/// - Otherwise, and on a GPU, another order gains nothing.
fn schedule(
    config: &Config,
    layers: &[Layer],
    data: &Split,
    kernels: Kernels,
) -> Box<dyn Schedule> {
    let settings = &config.schedule;
    let threads = tch::get_num_threads().max(1) as usize;
    let by_cache = chunk_for(layers, data.input_count(), config.data.batch_size);
    let epoch = (data.len() + config.data.batch_size - 1) / config.data.batch_size;
    let pipelined = |stages: usize| {
        let filled = chunk_that_fills(stages, epoch as usize);
        let chunk = settings.chunk.unwrap_or(by_cache.min(filled));
        Box::new(Pipelined::new(stages, chunk, threads / stages))
    };
    match settings.name {
        ScheduleName::Sequential => Box::new(LayerMajor::sequential()),
        ScheduleName::LayerMajor => {
            let whole = settings.offload.as_ref().map(|_| epoch as usize);
            Box::new(LayerMajor::new(settings.chunk.or(whole).unwrap_or(by_cache)))
        }
        ScheduleName::Pipelined => {
            let devices = settings.devices.as_ref().map(Vec::len);
            pipelined(devices.or(settings.stages).unwrap_or(threads).clamp(1, layers.len()))
        }
        ScheduleName::Auto if kernels == Kernels::Fused => Box::new(LayerMajor::new(by_cache)),
        ScheduleName::Auto if data.inputs.device().is_cuda() => Box::new(LayerMajor::sequential()),
        ScheduleName::Auto => match best_stages(layers, threads) {
            1 => Box::new(LayerMajor::sequential()),
            stages => pipelined(stages),
        },
    }
}

fn check_feedback(
    source: &Source,
    init: &FeedbackInit,
    outputs: i64,
    width: i64,
) -> Result<(), ConfigError> {
    init.check(outputs, width).map_err(|error| {
        let expected = format!("one that has such a matrix: {error}");
        source.refuse("algorithm.feedback_init.name", "cartesian_product", &expected)
    })
}

/// Draws the network's blocks, the output block last.
fn blocks(
    config: &Config,
    source: &Source,
    architecture: &Architecture,
    generator: &mut Generator,
    device: Device,
    settings: &EngineSettings,
) -> Result<Vec<Box<dyn Block>>> {
    let offload = settings.offload.as_ref();
    match (architecture, &config.algorithm) {
        (Architecture::Mlp(mlp), Algorithm::Fa { feedback_init }) => {
            let widths = [&mlp.hidden[..], &[mlp.outputs]].concat();
            for pair in widths.windows(2) {
                check_feedback(source, feedback_init, pair[1], pair[0])?;
            }
            mlp.blocks_for_feedback_alignment(feedback_init, generator, device)
        }
        (Architecture::Mlp(mlp), Algorithm::Pepita { .. }) => {
            mlp.blocks_without_bias(WeightInit::He, generator, device)
        }
        (Architecture::Mlp(mlp), _) => {
            // Drawn one by one: all of them may be more than fits into memory.
            let dense = mlp.lazily(generator, device);
            dense.map(|block| offloaded(Box::new(block?), offload)).collect()
        }
        _ => {
            let blocks = architecture.blocks(generator, device)?;
            blocks.into_iter().map(|block| offloaded(block, offload)).collect()
        }
    }
}

/// The block with its parameters in files, if they are to be.
fn offloaded(block: Box<dyn Block>, offload: Option<&Offload>) -> Result<Box<dyn Block>> {
    if let Some(offload) = offload {
        block.parameters().into_iter().try_for_each(|(_, tensor)| offload.take(tensor))?;
    }
    Ok(block)
}

/// The data's images, which a model of this name needs.
fn image(source: &Source, shape: &TrainingShape, name: &str) -> Result<[i64; 3], ConfigError> {
    let expected = "mlp, since the samples of this data set are no images";
    shape.image.ok_or_else(|| source.refuse("model.name", name, expected))
}

/// The network that a configuration asks for, on such data.
fn architecture(
    config: &Config,
    source: &Source,
    inputs: i64,
    shape: &TrainingShape,
) -> Result<Architecture, ConfigError> {
    let outputs = shape.outputs;
    let output_activation = config.loss.output_activation();
    Ok(match config.model.clone() {
        ModelConfig::Mlp { activation, .. } => Architecture::Mlp(Mlp {
            inputs,
            hidden: config.model.hidden_widths().unwrap_or_default(),
            activation,
            outputs,
            output_activation,
            bias: !matches!(config.algorithm, Algorithm::Pepita { .. }),
        }),
        ModelConfig::Cnn { topology, activation } => {
            let image = image(source, shape, "cnn")?;
            Architecture::Cnn(Cnn { image, topology, activation, outputs, output_activation })
        }
        ModelConfig::Vit {
            patch_size,
            token_width,
            blocks,
            heads,
            head_size,
            mlp_width,
            activation,
        } => Architecture::Vit(Vit {
            image: image(source, shape, "vit")?,
            patch_size,
            token_width,
            blocks,
            heads,
            head_size,
            mlp_width,
            activation,
            outputs,
            output_activation,
        }),
    })
}
