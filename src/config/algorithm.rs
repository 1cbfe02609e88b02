//! The section `algorithm`: the learning rule.

use serde_yaml::Mapping;

use super::ConfigError;
use super::model::ModelConfig;
use crate::error_info::{ErrorInfo, Timing};
use crate::feedback::FeedbackInit;
use crate::loss::Loss;
use crate::settings::domain::{choice, positive, share};
use crate::settings::{Reader, lay_over, lookup, section};

section! {
    /// The learning rule.
    pub enum Algorithm(model: &ModelConfig, loss: Loss) => checked {
        /// Delayed feedback, or any other error information.
        F3 = "f3" {
            /// Error information that teaches the hidden layers.
            error_info: ErrorInfo = default_error_info(loss)
                => "`delayed_error`; with `loss: cross_entropy` `delayed_error_softmax`", choice();
            /// How the fixed feedback matrices are made.
            feedback_init: FeedbackInit => read();
        },
        /// Direct feedback alignment.
        Dfa = "dfa" {
            /// How the fixed feedback matrices are made.
            feedback_init: FeedbackInit => read();
        },
        /// Direct random target projection.
        Drtp = "drtp" {
            /// How the fixed feedback matrices are made.
            feedback_init: FeedbackInit => read();
        },
        /// Only the last layer learns.
        Llo = "llo",
        /// Backpropagation.
        Bp = "bp",
        /// Feedback alignment, for `model.name: mlp`.
        Fa = "fa" {
            /// How the fixed matrices are made that carry gradients backwards.
            ///
            /// Their shape is [n_{i+1}, n_i] instead of [C, n_i].
            feedback_init: FeedbackInit => read();
        },
        /// The error modulates the input of a second forward pass; for `model.name: mlp`.
        Pepita = "pepita" {
            /// Size of the matrix that carries the error to the input, as a multiple of √(6/inputs).
            projection_scale: f64 = 0.05, positive();
            /// Share of the hidden units that are left out of a step.
            dropout: f64 = 0.1, share();
        },
    }
}

/// What PEPITA's authors trained with: defaults that take the place of the other rules'.
const PEPITA: &str = "
data: {standardize: false, batch_size: 64}
model: {width: 1024, activation: relu}
loss: cross_entropy
optimizer: {name: sgd, learning_rate: 0.1, momentum: 0.9}
";

fn default_error_info(loss: Loss) -> ErrorInfo {
    match loss {
        Loss::CrossEntropy => ErrorInfo::DelayedErrorSoftmax,
        Loss::BinaryCrossEntropy | Loss::MeanSquaredError => ErrorInfo::DelayedError,
    }
}

impl Algorithm {
    /// How the matrices B_i `[C, n_i]` are made that carry the error to the hidden layers, if the
    /// rule has any.
    pub fn feedback_init(&self) -> Option<&FeedbackInit> {
        match self {
            Algorithm::F3 { feedback_init, .. }
            | Algorithm::Dfa { feedback_init }
            | Algorithm::Drtp { feedback_init } => Some(feedback_init),
            _ => None,
        }
    }

    /// Whether the hidden layers learn on the way forward, from what is known before: only then may
    /// layers and batches take their turns in another order.
    pub fn learns_forward(&self) -> bool {
        match self {
            Algorithm::F3 { error_info, .. } => error_info.timing() != Timing::Current,
            Algorithm::Drtp { .. } | Algorithm::Llo => true,
            _ => false,
        }
    }

    /// The defaults of the rule that a configuration's values choose, to be laid beneath them.
    pub(super) fn defaults(values: &Mapping) -> Mapping {
        let given = |path| lookup(values, path);
        let mut defaults = Mapping::new();
        let mut add = |yaml| {
            lay_over(&mut defaults, &serde_yaml::from_str(yaml).expect("the defaults are YAML"))
        };
        if given("algorithm.name").and_then(|name| name.as_str()) == Some("pepita") {
            add(PEPITA);
            if given("optimizer.learning_rate").is_none() {
                // It goes with the authors' learning rate.
                add("optimizer: {schedule: {name: multi_step, milestones: [60, 90], gamma: 0.1}}");
            }
            let without = given("optimizer.momentum").and_then(|it| it.as_f64()) == Some(0.0);
            if !without && given("optimizer.nesterov") != Some(&true.into()) {
                add("optimizer: {classical_momentum: true}");
            }
        }
        defaults
    }

    fn checked(
        self,
        reader: &mut Reader,
        model: &ModelConfig,
        loss: Loss,
    ) -> Result<Algorithm, ConfigError> {
        let for_mlp = match self {
            Algorithm::Fa { .. } => Some("fa"),
            Algorithm::Pepita { .. } => Some("pepita"),
            _ => None,
        };
        if let (Some(name), ModelConfig::Cnn { .. } | ModelConfig::Vit { .. }) = (for_mlp, model) {
            let expected = "one of f3, dfa, drtp, llo, bp with this model; `fa` and `pepita` are \
                            defined for `model.name: mlp`";
            return Err(reader.refuse("name", name, expected));
        }
        use ErrorInfo::{CurrentError, DelayedError, DelayedErrorOneHot};
        if let Algorithm::F3 { error_info, .. } = self
            && matches!(error_info, DelayedError | DelayedErrorOneHot | CurrentError)
            && loss == Loss::CrossEntropy
            && reader.has("error_info")
        {
            reader.remark(
                "error_info",
                "compares the targets with logits, since `loss` is `cross_entropy`; \
                 `delayed_error_softmax` compares them with probabilities",
            );
        }
        Ok(self)
    }
}
