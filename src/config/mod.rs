//! What a run is told to do: read from YAML, checked, and written back in full.
//!
//! Every key that is not known and every value that cannot be is refused, with the file (or the
//! `--set`), the key, what was found and what would do. A key is declared once, in the section that it
//! configures; see [`crate::settings`].

mod data;
mod schedule;

pub use crate::settings::{ConfigError, Source};
pub use data::DataConfig;
pub use schedule::{ScheduleConfig, ScheduleName};

pub use crate::network::ModelConfig;
pub use crate::trainer::Algorithm;

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::data::Task;
use crate::device::DeviceChoice;
use crate::diagnostics::Diagnostics;
use crate::engine::{Kernels, Precision};
use crate::learning_rate::{LearningRate, LearningRateSchedule};
use crate::loss::Loss;
use crate::optimizer::OptimizerSettings;
use crate::run::{CheckpointSettings, EarlyStop, EpochRow, OnNan};
use crate::settings::domain::{choice, number, path, positive, text, truth, whole};
use crate::settings::{self, Domain, Key, Reader, section};
use crate::trainer::Beside;
use schedule::device;

section! {
    /// All settings of a run.
    ///
    /// ```no_run
    /// # fn main() -> anyhow::Result<()> {
    /// use f3_tch::config::{Config, Source};
    ///
    /// let text = "{extends: mnist, name: deep, model: {hidden_layers: 10}}";
    /// let (config, remarks) = Config::read(&Source::parse("here", text)?)?;
    /// assert_eq!((config.name.as_str(), config.epochs), ("deep", 100));
    /// remarks.iter().for_each(|remark| println!("{remark}"));
    /// # Ok(())
    /// # }
    /// ```
    pub struct Config(source: &Source) => checked {
        /// Name of the run, which is kept in `runs/<name>/<number>`.
        name: String = source.stem() => "the file's name", run_name();
        /// Seed of weights, feedback and the order of samples.
        seed: u64 = 1, whole(0..=u64::MAX);
        /// Device to train on.
        ///
        /// `auto`: CUDA if it works, else the CPU.
        device: DeviceChoice = DeviceChoice::Auto, device();
        /// Threads of each operation; `null`: all cores.
        threads: Option<usize> = None, whole(1..=4096).or_null();
        /// Passes over the training set.
        epochs: u64 = 100, whole(1..=1_000_000_000);
        /// Epochs between two evaluations.
        ///
        /// The network is also evaluated before training and after the last epoch. The other epochs have
        /// no losses and metrics; the numbers of those that are evaluated stay the same.
        evaluate_every: u64 = 1, whole(1..=1_000_000_000);
        /// Epochs between two evaluations of the training set.
        ///
        /// It counts only where `evaluate_every` evaluates at all. The training set is also evaluated before
        /// training and after the last epoch, unless `early_stop` ends the run.
        evaluate_train_every: u64 = 1, whole(1..=1_000_000_000);
        /// The data set.
        data: DataConfig => read();
        /// The network.
        model: ModelConfig => read();
        /// What the output layer minimises.
        loss: Loss = match data.set.about().task {
            Task::Classification => model.loss_of_classes(),
            Task::Regression => Loss::MeanSquaredError,
        } => "by the data and the model", choice();
        /// The learning rule.
        algorithm: Algorithm => read(loss);
        /// The optimizer and its learning-rate schedule.
        optimizer: OptimizerConfig => read(epochs);
        /// File whose weights and biases the network starts with; `null`: random numbers.
        ///
        /// A `model.safetensors`, a checkpoint or a run's folder. Blocks are matched in their order, so
        /// the algorithms may differ (except for `pepita`, whose networks have no biases); feedback
        /// matrices are taken over where both networks have them.
        init_from: Option<PathBuf> = None, path("a file").or_null();
        /// In which order layers and batches are computed.
        schedule: ScheduleConfig => read(&algorithm);
        /// How fully connected layers and transformer blocks are computed on the CPU.
        kernels: Kernels = Kernels::Auto, choice();
        /// Number format of matrix products.
        precision: Precision = Precision::Float32, choice();
        /// Whether CUDA records the step of a batch once an epoch and replays it.
        ///
        /// Small steps then do not wait for launches. Not with `pepita` or `delayed_error_predicted`. Not
        /// tried on a GPU yet.
        cuda_graph: bool = false, truth();
        /// When checkpoints are written.
        checkpoint: CheckpointSettings => read();
        /// When the run ends before its last epoch.
        early_stop: EarlyStop => read();
        /// Minutes after which the current epoch is the last one; `null`: no limit.
        ///
        /// Training and evaluation count, also from before the run was resumed.
        max_minutes: Option<f64> = None,
            number("a number above 0", (Bound::Excluded(0.0), Bound::Unbounded)).or_null();
        /// What to do when a loss or weight is NaN or infinite.
        on_nan: OnNan = OnNan::Stop, choice();
        /// How often the layers' gradients are compared with backpropagation's.
        diagnostics: Diagnostics => read();
    }
}

section! {
    /// The optimizer and its learning rate.
    pub struct OptimizerConfig(epochs: u64) {
        /// The optimizer.
        #[serde(flatten)]
        settings: OptimizerSettings => read();
        /// Learning rate, before its schedule.
        learning_rate: f64, positive();
        /// Learning-rate schedule: a warm-up, then a decay.
        schedule: LearningRateSchedule => read(learning_rate, epochs);
    }
}

impl OptimizerConfig {
    /// The learning rate with its schedule.
    pub fn rate(&self) -> LearningRate {
        LearningRate { base: self.learning_rate, schedule: self.schedule.clone() }
    }
}

/// Every key that a configuration can have.
pub fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(Config::keys);
    &KEYS
}

/// The JSON schema of configurations, for editors.
pub fn schema() -> serde_json::Value {
    settings::schema("Configuration of f3-tch", keys())
}

/// The page `docs/configuration.md`.
pub fn reference() -> String {
    settings::reference(include_str!("reference.md"), keys())
}

/// Sections that can be read where those of a configuration cannot, to find what else is wrong in it.
const STAND_INS: [(&str, &str); 4] = [
    ("data", "{name: digits}"),
    ("model", "{name: mlp}"),
    ("algorithm", "{name: f3}"),
    ("optimizer", "{name: adam, learning_rate: 1e-3}"),
];

impl Config {
    /// Reads and checks a configuration. Beside it come remarks for people, such as on keys of the file
    /// that do not apply to what a `--set` has chosen in their place.
    pub fn read(source: &Source) -> Result<(Config, Vec<String>), ConfigError> {
        // Whatever is wrong here is found again below; the loss does not matter for defaults.
        let rule = source.peek(keys(), |reader| {
            let section =
                |reader: &mut Reader| Algorithm::read_keys(reader, Loss::MeanSquaredError);
            reader.section("algorithm", section)
        });
        let defaults = rule.map(|rule| rule.defaults(&source.values)).unwrap_or_default();
        let stand_ins = STAND_INS.map(|(section, yaml)| {
            (section, serde_yaml::from_str(yaml).expect("the stand-ins are YAML"))
        });
        source.read(defaults, keys(), stand_ins.into(), |reader| Config::read_keys(reader, source))
    }

    /// The whole configuration as YAML, with a comment on every key.
    pub fn to_yaml(&self) -> String {
        settings::render(&serde_yaml::to_value(self).expect("settings are plain data"), keys())
    }

    /// What one section says against another.
    fn checked(mut self, reader: &mut Reader, _source: &Source) -> Result<Config, ConfigError> {
        self.init_from = self.init_from.map(|path| reader.found_beside(&path));
        let (data, loss) = (self.data.set.about(), self.loss);
        let task = data.task;
        self.algorithm.check(reader, &Beside { data, model: &*self.model, loss })?;
        if task == Task::Regression && self.loss != Loss::MeanSquaredError {
            let expected = "mse, since the targets are numbers, not classes";
            return Err(reader.refuse("loss", self.loss, expected));
        }
        if self.precision == Precision::Bf16
            && (!self.algorithm.takes_chunks() || self.kernels == Kernels::Aten)
        {
            let expected = "float32 with this algorithm or `kernels: aten`; bf16 is for hidden \
                            layers that learn on the way forward (f3, drtp), with fused kernels";
            return Err(reader.refuse("precision", "bf16", expected));
        }
        if let Some(prediction) = self.algorithm.prediction() {
            if let Some(folder) = &self.schedule.offload {
                let expected = "null: it takes a whole epoch at once, and predicted errors need some that \
                                are announced in between";
                return Err(reader.refuse("schedule.offload", folder.display(), expected));
            }
            // How many stages a pipeline has is not known before the network is.
            if let (Some(wanted), ScheduleName::LayerMajor) =
                (self.schedule.chunk, self.schedule.name)
                && prediction.chunk(wanted, 1) != wanted
            {
                let chunk = prediction.chunk(wanted, 1);
                let text = format!(
                    "becomes {chunk}, which goes with `block` and `lag` of `algorithm.prediction`"
                );
                reader.remark("schedule.chunk", &text);
            }
        }
        let reordered =
            !matches!(self.schedule.name, ScheduleName::Auto | ScheduleName::Sequential);
        if self.cuda_graph && (reordered || !self.algorithm.can_be_recorded()) {
            let expected = "false with `pepita`, which draws its masks on the host, with `error_info: \
                            delayed_error_predicted`, whose batches belong together in blocks, and with \
                            `schedule.name: pipelined` or `layer_major`";
            return Err(reader.refuse("cuda_graph", true, expected));
        }
        self.check_metrics(reader)?;
        if let Some(every) = self.diagnostics.every
            && self.algorithm.feedback_init().is_none()
        {
            let expected = "null, or an algorithm that teaches with feedback: f3, dfa, drtp";
            return Err(reader.refuse("diagnostics.every", every, expected));
        }
        Ok(self)
    }

    /// Refuses a metric that the run does not have; remarks on one that uses the test set.
    fn check_metrics(&self, reader: &mut Reader) -> Result<(), ConfigError> {
        let validation = self.data.selection().validation.is_some();
        let names = EpochRow::names(self.data.set.about().task, validation);
        let metrics = [&self.checkpoint.best, &self.early_stop.metric];
        for (key, metric) in ["checkpoint.best", "early_stop.metric"].into_iter().zip(metrics) {
            let Some(metric) = metric else { continue };
            if !names.contains(metric) {
                let mut expected = format!("null or one of {}", names.join(", "));
                if metric.starts_with("validation_") && !validation {
                    expected += "; for a validation set, set `data.validation_fraction` or \
                                 `data.validation_samples`";
                }
                return Err(reader.refuse(key, metric, &expected));
            }
            if metric.starts_with("test_") {
                let text = "so the test set chooses the epoch; `data.validation_fraction` takes a \
                            validation set for that from the training set";
                reader.remark(key, &format!("is `{metric}`, {text}"));
            }
        }
        Ok(())
    }
}

pub(crate) fn run_name() -> Domain<String> {
    text("a name of letters, digits, `.`, `-` and `_`").only(|name| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
    })
}
