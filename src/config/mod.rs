//! What a run is told to do: read from YAML, checked, and written back in full.
//!
//! Every key that is not known and every value that cannot be is refused, with the file (or the
//! `--set`), the key, what was found and what would do. To add a key: a field here, a line in
//! [`Config::read`], a comment in `comments.rs`.

mod comments;
mod section;
mod source;

pub use source::{NAMES as CARRIED, Source};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::DatasetName;
use crate::device::DeviceChoice;
use crate::error_info::ErrorInfo;
use crate::feedback::FeedbackInit;
use crate::network::Activation;
use crate::optimizer::{AdamSettings, OptimizerSettings, SgdSettings};
use section::Section;

/// More hidden layers than this are taken for a mistake.
const MOST_LAYERS: usize = 10_000;

/// A configuration that cannot be used; its text names the place and the remedy.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Runs are kept in `runs/<name>/<number>`.
    pub name: String,
    /// Where the run's random numbers start.
    pub seed: u64,
    /// What is trained on.
    pub device: DeviceChoice,
    /// Intra-op threads; none: all cores.
    pub threads: Option<usize>,
    /// The data set.
    pub data: DataConfig,
    /// The network.
    pub model: ModelConfig,
    /// The learning rule.
    pub algorithm: Algorithm,
    /// What steps the parameters.
    pub optimizer: OptimizerSettings,
    /// How often the training set is gone through.
    pub epochs: u64,
}

/// The data set and how it is cut.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataConfig {
    /// Which one.
    pub name: DatasetName,
    /// Samples per training step.
    pub batch_size: i64,
    /// Samples per forward pass when evaluating.
    pub eval_batch_size: i64,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum ModelConfig {
    /// Fully connected.
    Mlp {
        /// How many hidden layers.
        hidden_layers: usize,
        /// Their widths.
        width: Width,
        /// Their activation.
        activation: HiddenActivation,
    },
}

impl ModelConfig {
    /// The widths n_1 … n_{K-1} of the hidden layers.
    pub fn hidden_widths(&self) -> Vec<i64> {
        let ModelConfig::Mlp { hidden_layers, width, .. } = self;
        match width {
            Width::All(width) => vec![*width; *hidden_layers],
            Width::Each(widths) => widths.clone(),
        }
    }
}

/// One width for all hidden layers, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Width {
    /// The same for all.
    All(i64),
    /// In forward order.
    Each(Vec<i64>),
}

/// What a hidden layer may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenActivation {
    /// tanh(z)
    Tanh,
}

impl From<HiddenActivation> for Activation {
    fn from(activation: HiddenActivation) -> Activation {
        match activation {
            HiddenActivation::Tanh => Activation::Tanh,
        }
    }
}

/// The learning rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Algorithm {
    /// Delayed feedback, or any other error information.
    F3 {
        /// What teaches the hidden layers.
        error_info: ErrorInfo,
        /// The feedback matrices.
        feedback_init: FeedbackInit,
    },
    /// Direct feedback alignment.
    Dfa {
        /// The feedback matrices.
        feedback_init: FeedbackInit,
    },
    /// Direct random target projection.
    Drtp {
        /// The feedback matrices.
        feedback_init: FeedbackInit,
    },
    /// The last layer only.
    Llo,
    /// Backpropagation.
    Bp,
}

impl Algorithm {
    /// How feedback matrices are made, if the rule has any.
    pub fn feedback_init(&self) -> Option<&FeedbackInit> {
        match self {
            Algorithm::F3 { feedback_init, .. }
            | Algorithm::Dfa { feedback_init }
            | Algorithm::Drtp { feedback_init } => Some(feedback_init),
            Algorithm::Llo | Algorithm::Bp => None,
        }
    }
}

impl Config {
    /// Reads and checks a configuration. Beside it come remarks for people: keys of the file that
    /// do not apply to what a `--set` has chosen in their place.
    pub fn read(source: &Source) -> Result<(Config, Vec<String>), ConfigError> {
        let mut remarks = Vec::new();
        let mut root = Section::root(source, &mut remarks)?;

        let expected = "a name of letters, digits, `.`, `-` and `_`";
        let name = root.text("name", expected, |name| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
        })?;
        let seed = root.whole("seed", 0..=u64::MAX)?.unwrap_or(1);
        let device = root.checked("device", "one of auto, cpu, cuda, cuda:N", |_| true)?;
        let threads = root.whole_or_null("threads", 1..=4096)?;
        let epochs = root.whole("epochs", 1..=1_000_000_000)?.unwrap_or(100);

        let mut section = root.section("data")?;
        let data = DataConfig {
            name: section
                .choice("name")?
                .ok_or_else(|| section.missing("name", "a data set, such as mnist"))?,
            batch_size: section.whole("batch_size", 1..=i64::MAX)?.unwrap_or(50),
            eval_batch_size: section.whole("eval_batch_size", 1..=i64::MAX)?.unwrap_or(1000),
        };
        section.finish()?;

        let mut section = root.section("model")?;
        let model = read_model(&mut section)?;
        section.finish()?;

        let mut section = root.section("algorithm")?;
        let algorithm = read_algorithm(&mut section)?;
        section.finish()?;

        let mut section = root.section("optimizer")?;
        let optimizer = read_optimizer(&mut section)?;
        section.finish()?;
        root.finish()?;

        let config = Config {
            name: name.unwrap_or_else(|| source.stem()),
            seed,
            device: device.unwrap_or(DeviceChoice::Auto),
            threads,
            data,
            model,
            algorithm,
            optimizer,
            epochs,
        };
        Ok((config, remarks))
    }

    /// The whole configuration as YAML, with a comment on every key.
    pub fn to_yaml(&self) -> String {
        comments::render(&serde_yaml::to_value(self).expect("settings are plain data"))
    }
}

fn read_model(section: &mut Section) -> Result<ModelConfig, ConfigError> {
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        Mlp,
    }
    let Name::Mlp = section.choice("name")?.unwrap_or(Name::Mlp);
    let layers = section.whole("hidden_layers", 0..=MOST_LAYERS)?;
    let width = section
        .checked("width", "a width of at least 1, or a list of them", |width| match width {
            Width::All(width) => *width >= 1,
            Width::Each(widths) => {
                widths.len() <= MOST_LAYERS && widths.iter().all(|width| *width >= 1)
            }
        })?
        .unwrap_or(Width::All(500));
    let activation = section.choice("activation")?.unwrap_or(HiddenActivation::Tanh);
    let hidden_layers = match (&width, layers) {
        (Width::Each(widths), Some(layers))
            if layers != widths.len() && !section.yields("hidden_layers", "width") =>
        {
            let expected = format!("as many as `model.width` lists ({})", widths.len());
            return Err(section.refuse("hidden_layers", layers, &expected));
        }
        (Width::Each(widths), _) => widths.len(),
        (Width::All(_), layers) => layers.unwrap_or(1),
    };
    Ok(ModelConfig::Mlp { hidden_layers, width, activation })
}

fn read_algorithm(section: &mut Section) -> Result<Algorithm, ConfigError> {
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        F3,
        Dfa,
        Drtp,
        Llo,
        Bp,
    }
    let name = section
        .choice("name")?
        .ok_or_else(|| section.missing("name", "one of f3, dfa, drtp, llo, bp"))?;
    Ok(match name {
        Name::F3 => Algorithm::F3 {
            error_info: section.choice("error_info")?.unwrap_or(ErrorInfo::DelayedError),
            feedback_init: read_feedback_init(section)?,
        },
        Name::Dfa => Algorithm::Dfa { feedback_init: read_feedback_init(section)? },
        Name::Drtp => Algorithm::Drtp { feedback_init: read_feedback_init(section)? },
        Name::Llo => Algorithm::Llo,
        Name::Bp => Algorithm::Bp,
    })
}

fn read_feedback_init(parent: &mut Section) -> Result<FeedbackInit, ConfigError> {
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        KaimingUniform,
        DiscreteUniform,
        IdentityRepeatPm,
        IdentityRepeat,
        IdentityFillZero,
        Constant,
        AlternateNegative,
        ChunkedNegative,
        CartesianProduct,
        KaimingUniformRepeatLine,
    }
    fn scalar(section: &mut Section) -> Result<f64, ConfigError> {
        let scalar = section.number("scalar", "a number other than 0", |scalar| scalar != 0.0)?;
        Ok(scalar.unwrap_or(1.0))
    }
    fn values(section: &mut Section) -> Result<Vec<f64>, ConfigError> {
        let expected = "a list of at least two finite numbers, such as [-1, 0, 1]";
        let values = section.checked("values", expected, |values: &Vec<f64>| {
            values.len() >= 2 && values.iter().all(|value| value.is_finite())
        })?;
        values.ok_or_else(|| section.missing("values", expected))
    }

    let mut section = parent.section("feedback_init")?;
    let init = match section.choice("name")?.unwrap_or(Name::KaimingUniform) {
        Name::KaimingUniform => FeedbackInit::KaimingUniform,
        Name::DiscreteUniform => FeedbackInit::DiscreteUniform {
            scalar: scalar(&mut section)?,
            values: values(&mut section)?,
        },
        Name::IdentityRepeatPm => FeedbackInit::IdentityRepeatPm { scalar: scalar(&mut section)? },
        Name::IdentityRepeat => FeedbackInit::IdentityRepeat { scalar: scalar(&mut section)? },
        Name::IdentityFillZero => FeedbackInit::IdentityFillZero { scalar: scalar(&mut section)? },
        Name::Constant => FeedbackInit::Constant { scalar: scalar(&mut section)? },
        Name::AlternateNegative => {
            FeedbackInit::AlternateNegative { scalar: scalar(&mut section)? }
        }
        Name::ChunkedNegative => FeedbackInit::ChunkedNegative { scalar: scalar(&mut section)? },
        Name::CartesianProduct => FeedbackInit::CartesianProduct {
            scalar: scalar(&mut section)?,
            values: values(&mut section)?,
        },
        Name::KaimingUniformRepeatLine => FeedbackInit::KaimingUniformRepeatLine,
    };
    section.finish()?;
    Ok(init)
}

fn read_optimizer(section: &mut Section) -> Result<OptimizerSettings, ConfigError> {
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        Adam,
        Sgd,
    }
    let name = section.choice("name")?.unwrap_or(Name::Adam);
    let learning_rate = section
        .number("learning_rate", "a number greater than 0", |rate| rate > 0.0)?
        .ok_or_else(|| section.missing("learning_rate", "a number greater than 0"))?;
    let weight_decay = section
        .number("weight_decay", "a number of at least 0", |decay| decay >= 0.0)?
        .unwrap_or(0.0);
    Ok(match name {
        Name::Adam => {
            let defaults = AdamSettings::new(learning_rate);
            let betas = section.checked(
                "betas",
                "two numbers from 0 up to, but without, 1",
                |betas: &[f64; 2]| betas.iter().all(|beta| (0.0..1.0).contains(beta)),
            )?;
            let eps = section.number("eps", "a number greater than 0", |eps| eps > 0.0)?;
            OptimizerSettings::Adam(AdamSettings {
                betas: betas.unwrap_or(defaults.betas),
                eps: eps.unwrap_or(defaults.eps),
                weight_decay,
                ..defaults
            })
        }
        Name::Sgd => {
            let momentum = section
                .number("momentum", "a number from 0 up to, but without, 1", |momentum| {
                    (0.0..1.0).contains(&momentum)
                })?
                .unwrap_or(0.0);
            let nesterov =
                section.checked("nesterov", "true or false", |_: &bool| true)?.unwrap_or(false);
            if nesterov && momentum == 0.0 {
                return Err(section.refuse("nesterov", true, "false, or a `momentum` above 0"));
            }
            OptimizerSettings::Sgd(SgdSettings { learning_rate, momentum, nesterov, weight_decay })
        }
    })
}
