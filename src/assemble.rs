//! From a configuration to the parts of a run: the only file that knows both sides.

use std::sync::Arc;

use crate::config::{
    Algorithm, Config, ConfigError, KernelsConfig, ModelConfig, Precision, ScheduleName, Source,
};
use crate::data::{DataDirectory, Dataset, Inputs, Split, TrainingShape};
use crate::device::{ChosenDevice, DeviceChoice, memory};
use crate::diagnostics::Diagnostics;
use crate::error_info::ErrorInfo;
use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::has_bfloat16;
use crate::loss::Loss;
use crate::model_file::{self, Description};
use crate::network::{Block, Cnn, Mlp, Network, Vit, WeightInit};
use crate::offload::Offload;
use crate::process::use_threads;
use crate::run::{ConfigText, Run, Settings, State};
use crate::schedule::{
    LayerMajor, Pipelined, Schedule, best_stages, chunk_for, chunk_that_fills, stages,
};
use crate::tensor_file::{self, TensorFile};
use crate::trainer::{BackpropTrainer, FeedbackTrainer, PepitaTrainer, RecordedTrainer, Trainer};
use anyhow::{Result, bail};
use tch::Device;

/// Chooses the device, loads the data, draws the network: all that can fail before training. Where the
/// configuration says nothing about threads, the run has as many as the machine has cores.
///
/// `source` is where `config` was read from, to be named in complaints.
pub fn assemble(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
) -> Result<(Run, ChosenDevice)> {
    let (data, chosen) = load(config, source, directory)?;
    Ok((make(data.into(), config, source, threads_of(config))?, chosen))
}

/// As [`assemble`], on a data set that the caller has and may share with other runs; the run is on the
/// device of its tensors. Where the configuration says nothing about threads, the run has as many as the
/// thread that trains it.
pub fn assemble_on(data: impl Into<Arc<Dataset>>, config: &Config, source: &Source) -> Result<Run> {
    make(data.into(), config, source, config.threads)
}

impl Run {
    /// A run as a configuration says, on a data set that may be shared with other runs; see
    /// [`assemble_on`].
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
pub(crate) fn threads_of(config: &Config) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Some(config.threads.unwrap_or_else(cores))
}

/// Chooses the device, and loads the data onto it.
pub(crate) fn load(
    config: &Config,
    source: &Source,
    directory: &DataDirectory,
) -> Result<(Dataset, ChosenDevice)> {
    if let Some(shape) = config.data.set.training_shape() {
        check_against_data(config, source, &shape)?; // before anything is fetched
    }
    // The data go where the pipeline begins.
    let first = config.schedule.devices.as_ref().and_then(|devices| devices.first().copied());
    let chosen = match (config.device, first) {
        (DeviceChoice::Auto, Some(first)) => first.choose()?,
        (device, _) => device.choose()?,
    };
    let _threads = use_threads(threads_of(config));
    Ok((config.data.set.load(directory, chosen.device)?, chosen))
}

/// Draws the network, and puts together what the run needs.
pub(crate) fn make(
    mut data: Arc<Dataset>,
    config: &Config,
    source: &Source,
    threads: Option<usize>,
) -> Result<Run> {
    check_against_data(config, source, &data.training_shape())?;
    if let Some(samples) = config.data.train_samples {
        let train = data.train.first(samples as i64);
        data = Arc::new(Dataset { train, ..data.shallow_clone() });
    }
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
        learning_rate: config.optimizer.settings.learning_rate(),
        schedule: config.optimizer.schedule.clone(),
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
    let _threads = use_threads(threads);
    let mut generator = Generator::new(config.seed)?;
    let trainer = trainer(config, source, &data, &mut generator)?;
    let text = ConfigText::of(config);
    let preparation = data.preparation.clone();
    Ok(Run {
        name: config.name.clone(),
        settings,
        state: State { trainer, generator, history: Vec::new() },
        description: preparation
            .map(|preparation| Description::new(text.yaml.clone(), preparation)),
        config: Some(text),
        data,
        stop: Arc::default(),
    })
}

/// What can only be told about a configuration when the data's shape is known.
fn check_against_data(
    config: &Config,
    source: &Source,
    shape: &TrainingShape,
) -> Result<(), ConfigError> {
    let mut samples = shape.samples;
    if let Some(wanted) = config.data.train_samples {
        if wanted as i64 > samples {
            let expected = format!("null, or at most the {samples} training samples");
            return Err(source.refuse("data.train_samples", wanted, &expected));
        }
        samples = wanted as i64;
    }
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
    match &config.model {
        ModelConfig::Mlp { .. } => {
            let inputs = shape.image.map_or(1, |image| image.iter().product());
            Ok(mlp(config, inputs, shape.outputs).weight_count())
        }
        ModelConfig::Cnn { topology, .. } => {
            cnn(config, source, shape)?.weight_count().map_err(|error| {
                let expected = format!("one that the images allow: {error}");
                source.refuse("model.topology", topology, &expected)
            })
        }
        ModelConfig::Vit { patch_size, .. } => {
            vit(config, source, shape)?.weight_count().map_err(|error| {
                let expected = format!("a size that divides the images: {error}");
                source.refuse("model.patch_size", patch_size, &expected)
            })
        }
    }
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

/// The network that a file describes, with the file's parameters, on a device.
pub(crate) fn network_in(
    file: &mut TensorFile,
    description: &Description,
    device: Device,
) -> Result<(Network, Config)> {
    let shown = file.path().display().to_string();
    let source = Source::parse(&shown, &description.config)?;
    let (mut config, _) = Config::read(&source)?;
    config.schedule.offload = None;
    let kept = config.optimizer.settings;
    config.optimizer.settings = kept.without_state(); // it is not trained
    let (inputs, outputs) = description.preparation.widths();
    let image = match description.preparation.inputs {
        Inputs::Image { shape, .. } => Some(shape),
        Inputs::Table { .. } => None,
    };
    let ends = Ends { inputs, shape: TrainingShape { samples: i64::MAX, outputs, image }, device };
    check_against_data(&config, &source, &ends.shape)?;
    if 4.0 * weight_count(&config, &source, &ends.shape)? > file.bytes() as f64 {
        bail!("{shown}: describes a network of more weights than it holds");
    }
    let mut generator = Generator::new(config.seed)?;
    let blocks = blocks(&config, &source, &ends, &mut generator, None)?;
    let feedback = config.algorithm.feedback_init();
    let mut network = Network::new(blocks, feedback, &config.optimizer.settings, &mut generator)?;
    let tensors = network.named_tensors();
    for name in file.names() {
        let of_network = name.starts_with("layers.");
        if of_network && !tensors.iter().any(|(known, _)| *known == name) {
            bail!("{shown}: holds `{name}`, for which the network that it describes has no place");
        }
    }
    tch::no_grad(|| -> Result<()> {
        for (name, tensor) in tensors {
            tensor_file::fill(&tensor, &file.read(&name, &tensor)?);
        }
        Ok(())
    })?;
    config.optimizer.settings = kept;
    // Whatever it was trained with, where that is possible: the numbers are the same then.
    let fused = match config.kernels {
        KernelsConfig::Aten => false,
        KernelsConfig::Auto => crate::kernels_are_fast(),
        KernelsConfig::Fused => true,
    };
    if fused && kept.can_be_fused() {
        network.fuse();
    }
    Ok((network, config))
}

fn trainer(
    config: &Config,
    source: &Source,
    data: &Dataset,
    generator: &mut Generator,
) -> Result<Box<dyn Trainer>> {
    let loss = config.loss;
    let offload = config.schedule.offload.as_deref().map(Offload::new).transpose()?;
    let ends = Ends {
        inputs: data.train.input_count(),
        shape: data.training_shape(),
        device: data.train.inputs.device(),
    };
    let blocks = blocks(config, source, &ends, generator, offload.as_ref())?;
    let feedback = config.algorithm.feedback_init();
    if let (Some(init), Some((output, hidden))) = (feedback, blocks.split_last()) {
        for block in hidden {
            check_feedback(source, init, output.outputs(), block.outputs())?;
        }
    }
    let optimizer = &config.optimizer.settings;
    let mut network = Network::offloaded(blocks, feedback, optimizer, generator, offload.as_ref())?;
    if let Some(path) = &config.init_from {
        model_file::init(&network, &model_file::of(path))?;
    }
    if let Some(devices) = &config.schedule.devices {
        place(&mut network, devices, source)?;
    }
    let fused = choose_kernels(config, source, &mut network)?;
    match config.precision {
        Precision::Float32 => {}
        Precision::Bf16 if fused && has_bfloat16() => network.learn_in_bfloat16(),
        Precision::Bf16 => {
            let expected = "float32: bf16 needs `model.name: mlp` on a processor with AVX512_BF16";
            return Err(source.refuse("precision", "bf16", expected).into());
        }
        Precision::Tf32 if data.train.inputs.device().is_cuda() => {} // the epoch loop switches it on
        Precision::Tf32 => {
            let expected = "float32, or `device: cuda`, where tf32 is computed";
            return Err(source.refuse("precision", "tf32", expected).into());
        }
    }
    let taught_with = |network, error_info: ErrorInfo| -> Result<Box<dyn Trainer>> {
        let schedule = schedule(config, &network, &data.train, fused);
        let mut trainer = FeedbackTrainer::new(network, error_info, loss, &data.train)?;
        if config.algorithm.learns_forward() {
            trainer.set_schedule(schedule)?;
        }
        Ok(Box::new(trainer))
    };
    let trainer: Result<Box<dyn Trainer>> = match &config.algorithm {
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
    };
    if !config.cuda_graph {
        return trainer;
    }
    if !data.train.inputs.device().is_cuda() {
        let expected = "false, or `device: cuda`: it is CUDA that records";
        return Err(source.refuse("cuda_graph", true, expected).into());
    }
    Ok(Box::new(RecordedTrainer::new(trainer?)?))
}

/// Takes each stage of the pipeline to its device.
fn place(network: &mut Network, devices: &[DeviceChoice], source: &Source) -> Result<()> {
    let layers = network.layers().len();
    if devices.len() > layers {
        let shown = DeviceChoice::list(devices);
        let expected = format!("at most {layers} devices, one for each layer");
        return Err(source.refuse("schedule.devices", shown, &expected).into());
    }
    let places: Result<Vec<_>> = devices.iter().map(|device| Ok(device.choose()?.device)).collect();
    let counts = stages(network.layers().iter(), devices.len());
    network.place(&counts, &places?)
}

/// Makes the network use the fused kernels, if they are asked for or are the better choice.
fn choose_kernels(config: &Config, source: &Source, network: &mut Network) -> Result<bool> {
    Ok(match config.kernels {
        KernelsConfig::Aten => false,
        KernelsConfig::Auto => crate::kernels_are_fast() && network.fuse(),
        KernelsConfig::Fused if network.fuse() => true,
        KernelsConfig::Fused => {
            let expected = "`aten` or `auto`: fused kernels are for `model.name: mlp` on the CPU, \
                            but for `model.activation: gelu` and `optimizer.classical_momentum`";
            return Err(source.refuse("kernels", "fused", expected).into());
        }
    })
}

/// The schedule that is asked for; `auto` goes by a model of the machine.
///
/// - Fused kernels: layer-major. All threads share a layer's neurons, whose weights stay in the caches
///   for a chunk of batches, and meet once a chunk.
/// - libtorch's kernels on several cores: a pipeline, if the layers can be balanced well enough to gain
///   more than threads gain that share every small operation.
/// - Otherwise, and on a GPU, another order gains nothing.
fn schedule(config: &Config, network: &Network, data: &Split, fused: bool) -> Box<dyn Schedule> {
    let settings = &config.schedule;
    let threads = tch::get_num_threads().max(1) as usize;
    let layers = network.layers();
    let by_cache = chunk_for(network, data.input_count(), config.data.batch_size);
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
        ScheduleName::Auto if fused => Box::new(LayerMajor::new(by_cache)),
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

/// What a network lies between, and where.
struct Ends {
    inputs: i64,
    shape: TrainingShape,
    device: Device,
}

/// Draws the network's blocks, the output block last.
fn blocks(
    config: &Config,
    source: &Source,
    ends: &Ends,
    generator: &mut Generator,
    offload: Option<&Offload>,
) -> Result<Vec<Box<dyn Block>>> {
    let Ends { inputs, shape, device } = ends;
    let device = *device;
    match &config.model {
        ModelConfig::Mlp { .. } => {
            let mlp = mlp(config, *inputs, shape.outputs);
            match &config.algorithm {
                Algorithm::Fa { feedback_init } => {
                    let widths = [&mlp.hidden[..], &[mlp.outputs]].concat();
                    for pair in widths.windows(2) {
                        check_feedback(source, feedback_init, pair[1], pair[0])?;
                    }
                    mlp.blocks_for_feedback_alignment(feedback_init, generator, device)
                }
                Algorithm::Pepita { .. } => {
                    mlp.blocks_without_bias(WeightInit::He, generator, device)
                }
                _ => {
                    let dense = mlp.lazily(generator, device);
                    dense.map(|block| offloaded(Box::new(block?), offload)).collect()
                }
            }
        }
        ModelConfig::Cnn { .. } => {
            let blocks = cnn(config, source, shape)?.blocks(generator, device)?;
            blocks.into_iter().map(|block| offloaded(block, offload)).collect()
        }
        ModelConfig::Vit { .. } => {
            let blocks = vit(config, source, shape)?.blocks(generator, device)?;
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

fn mlp(config: &Config, inputs: i64, outputs: i64) -> Mlp {
    let ModelConfig::Mlp { activation, .. } = config.model else {
        unreachable!("asked for of an mlp alone")
    };
    Mlp {
        inputs,
        hidden: config.model.hidden_widths().expect("this is an mlp"),
        activation,
        outputs,
        output_activation: config.loss.output_activation(),
    }
}

fn cnn(config: &Config, source: &Source, shape: &TrainingShape) -> Result<Cnn, ConfigError> {
    let ModelConfig::Cnn { topology, activation } = &config.model else {
        unreachable!("asked for of a cnn alone")
    };
    Ok(Cnn {
        image: image(source, shape, "cnn")?,
        topology: topology.clone(),
        activation: *activation,
        outputs: shape.outputs,
        output_activation: config.loss.output_activation(),
    })
}

fn vit(config: &Config, source: &Source, shape: &TrainingShape) -> Result<Vit, ConfigError> {
    let ModelConfig::Vit {
        patch_size,
        token_width,
        blocks,
        heads,
        head_size,
        mlp_width,
        activation,
    } = config.model
    else {
        unreachable!("asked for of a vit alone")
    };
    Ok(Vit {
        image: image(source, shape, "vit")?,
        patch_size,
        token_width,
        blocks,
        heads,
        head_size,
        mlp_width,
        activation,
        outputs: shape.outputs,
        output_activation: config.loss.output_activation(),
    })
}
