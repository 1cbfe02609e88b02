//! What can only be told about a configuration when the shape of the data is known.

use crate::config::{Algorithm, Config, ConfigError, ModelConfig, Source};
use crate::data::{SelectionError, TrainingShape};
use crate::feedback::FeedbackInit;
use crate::machine::memory;
use crate::network::{Architecture, Cnn, Mlp, Vit};

pub(super) fn refuse_selection(source: &Source, error: SelectionError) -> ConfigError {
    source.refuse(error.key, error.found, &error.expected)
}

/// What can only be told about a configuration when the data's shape is known.
pub(super) fn check_against_data(
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
    architecture.shape().weight_count().map_err(|error| match &config.model {
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

/// The data's images, which a model of this name needs.
fn image(source: &Source, shape: &TrainingShape, name: &str) -> Result<[i64; 3], ConfigError> {
    let expected = "mlp, since the samples of this data set are no images";
    shape.image.ok_or_else(|| source.refuse("model.name", name, expected))
}

/// The network that a configuration asks for, on such data.
pub(super) fn architecture(
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
pub(super) fn check_feedback(
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
