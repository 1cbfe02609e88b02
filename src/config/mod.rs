//! What a run is told to do: read from YAML, checked, and written back in full.
//!
//! Every key that is not known and every value that cannot be is refused, with the file (or the
//! `--set`), the key, what was found and what would do. To add a key: a field and a line in the
//! section's file, a comment in `comments.rs`.

mod algorithm;
mod comments;
mod data;
mod keeping;
mod model;
mod optimizer;
mod schedule;
mod section;
mod source;

pub use crate::run::Precision;
pub use algorithm::Algorithm;
pub use data::DataConfig;
pub use model::{ModelConfig, Width};
pub use optimizer::OptimizerConfig;
pub use schedule::{KernelsConfig, ScheduleConfig, ScheduleName};
pub use source::{NAMES as CARRIED, Source};

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::data::Task;
use crate::device::DeviceChoice;
use crate::loss::Loss;
use crate::run::{CheckpointSettings, EarlyStop, OnNan};
use section::Section;

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
    /// What the output layer minimises.
    pub loss: Loss,
    /// The learning rule.
    pub algorithm: Algorithm,
    /// What steps the parameters.
    pub optimizer: OptimizerConfig,
    /// How often the training set is gone through.
    pub epochs: u64,
    /// A file whose parameters the network starts with.
    pub init_from: Option<PathBuf>,
    /// In which order layers and batches take their turns.
    pub schedule: ScheduleConfig,
    /// How fully connected layers are computed.
    pub kernels: KernelsConfig,
    /// What is multiplied.
    pub precision: Precision,
    /// Whether CUDA records a step and replays it.
    pub cuda_graph: bool,
    /// When checkpoints are written.
    pub checkpoint: CheckpointSettings,
    /// Whether the run ends when it gets no better.
    pub early_stop: EarlyStop,
    /// After so many minutes the epoch that is under way is the last one.
    pub max_minutes: Option<f64>,
    /// What to do about a loss or weight that is NaN or infinite.
    pub on_nan: OnNan,
    /// Whether the layers' gradients are compared with backpropagation's.
    pub diagnostics: DiagnosticsConfig,
}

/// How often the layers' gradients are compared with backpropagation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiagnosticsConfig {
    /// Epochs between two comparisons; none: never.
    pub every: Option<usize>,
    /// How many training samples are compared.
    pub samples: i64,
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
        // PEPITA has settings of its own, which take the place of the other rules' defaults.
        let pepita = root.chooses("algorithm", "pepita");

        let mut section = root.section("data")?;
        let data = DataConfig::read(&mut section, pepita)?;
        section.finish()?;

        let mut section = root.section("model")?;
        let model = ModelConfig::read(&mut section, pepita)?;
        section.finish()?;

        let loss = read_loss(&mut root, data.set.task(), &model, pepita)?;

        let mut section = root.section("algorithm")?;
        let algorithm = Algorithm::read(&mut section, &model, loss)?;
        section.finish()?;

        let mut section = root.section("optimizer")?;
        let optimizer = OptimizerConfig::read(&mut section, epochs, pepita)?;
        section.finish()?;

        let init_from = root.checked("init_from", "null or a file", |path: &Option<PathBuf>| {
            path.as_ref().is_none_or(|path| !path.as_os_str().is_empty())
        })?;

        let mut section = root.section("schedule")?;
        let schedule = ScheduleConfig::read(&mut section, &algorithm)?;
        section.finish()?;
        let kernels = root.choice("kernels")?.unwrap_or(KernelsConfig::Auto);
        let precision = root.choice("precision")?.unwrap_or(Precision::Float32);
        if precision == Precision::Bf16
            && (!algorithm.learns_forward() || kernels == KernelsConfig::Aten)
        {
            let expected = "float32 with this algorithm or `kernels: aten`; bf16 is for hidden \
                            layers that learn on the way forward (f3, drtp), with fused kernels";
            return Err(root.refuse("precision", "bf16", expected));
        }

        let cuda_graph = root.truth("cuda_graph")?.unwrap_or(false);
        let reordered = !matches!(schedule.name, ScheduleName::Auto | ScheduleName::Sequential);
        if cuda_graph && (pepita || reordered) {
            let expected = "false with `pepita`, which draws its masks on the host, and with \
                            `schedule.name: pipelined` or `layer_major`";
            return Err(root.refuse("cuda_graph", true, expected));
        }

        let task = data.set.task();
        let mut section = root.section("checkpoint")?;
        let checkpoint = keeping::read_checkpoint(&mut section, task)?;
        section.finish()?;
        let mut section = root.section("early_stop")?;
        let early_stop = keeping::read_early_stop(&mut section, task)?;
        section.finish()?;
        let expected = "null or a number above 0";
        let max_minutes = root.checked("max_minutes", expected, |minutes: &Option<f64>| {
            minutes.is_none_or(|minutes| minutes > 0.0 && minutes.is_finite())
        })?;
        let on_nan = root.choice("on_nan")?.unwrap_or(OnNan::Stop);

        let mut section = root.section("diagnostics")?;
        let diagnostics = DiagnosticsConfig {
            every: section.whole_or_null("every", 1..=1_000_000_000)?,
            samples: section.whole("samples", 1..=i64::MAX)?.unwrap_or(1000),
        };
        if let Some(every) = diagnostics.every
            && !algorithm.teaches_with_feedback()
        {
            let expected = "null, or an algorithm that teaches with feedback: f3, dfa, drtp";
            return Err(section.refuse("every", every, expected));
        }
        section.finish()?;
        root.finish()?;

        let config = Config {
            name: name.unwrap_or_else(|| source.stem()),
            seed,
            device: device.unwrap_or(DeviceChoice::Auto),
            threads,
            data,
            model,
            loss,
            algorithm,
            optimizer,
            epochs,
            init_from: init_from.flatten(),
            schedule,
            kernels,
            precision,
            cuda_graph,
            checkpoint,
            early_stop,
            max_minutes: max_minutes.flatten(),
            on_nan,
            diagnostics,
        };
        Ok((config, remarks))
    }

    /// The whole configuration as YAML, with a comment on every key.
    pub fn to_yaml(&self) -> String {
        comments::render(&serde_yaml::to_value(self).expect("settings are plain data"))
    }
}

/// The loss, if it goes with the task and the algorithm.
fn read_loss(
    root: &mut Section,
    task: Task,
    model: &ModelConfig,
    pepita: bool,
) -> Result<Loss, ConfigError> {
    let loss = root.choice("loss")?.unwrap_or(match (task, model) {
        (Task::Regression, _) => Loss::MeanSquaredError,
        (Task::Classification, ModelConfig::Vit { .. }) => Loss::CrossEntropy,
        (Task::Classification, _) if pepita => Loss::CrossEntropy,
        (Task::Classification, _) => Loss::BinaryCrossEntropy,
    });
    let refuse = |expected: &str| {
        let name = serde_yaml::to_value(loss).expect("a loss has a name");
        Err(root.refuse("loss", name.as_str().unwrap_or_default(), expected))
    };
    if task == Task::Regression && loss != Loss::MeanSquaredError {
        return refuse("mse, since the targets are numbers, not classes");
    }
    if pepita && loss != Loss::CrossEntropy {
        return refuse("cross_entropy: `pepita` classifies with softmax outputs");
    }
    Ok(loss)
}
