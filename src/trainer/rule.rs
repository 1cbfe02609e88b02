//! Learning rules as configurations choose them.

use anyhow::Result;
use serde_yaml::Mapping;
use tch::Device;

use super::Trainer;
use super::backprop::{Bp, Fa};
use super::feedback_rules::{Dfa, Drtp, F3, Llo};
use super::pepita::Pepita;
use crate::data::{About, Split};
use crate::feedback::FeedbackInit;
use crate::generator::Generator;
use crate::layers::Layers;
use crate::loss::Loss;
use crate::network::{Architecture, Blocks, Network};
use crate::prediction::Prediction;
use crate::settings::{ConfigError, Reader, section};

section! {
    /// The learning rule.
    pub enum Algorithm(loss: Loss): Rule {
        /// Delayed feedback, or any other error information.
        F3 = "f3" (F3, loss),
        /// Direct feedback alignment.
        Dfa = "dfa" (Dfa),
        /// Direct random target projection.
        Drtp = "drtp" (Drtp),
        /// Only the last layer learns.
        Llo = "llo" (Llo),
        /// Backpropagation.
        Bp = "bp" (Bp),
        /// Feedback alignment, for `model.name: mlp`.
        Fa = "fa" (Fa),
        /// The error modulates the input of a second forward pass; for `model.name: mlp`.
        Pepita = "pepita" (Pepita),
    }
}

/// A learning rule with its settings.
///
/// To add one, write a file here with a [`Trainer`], the section of the rule's keys and this trait, and
/// enter it above.
///
/// From outside, [`Run::with_rule`](crate::run::Run::with_rule) trains by it. DRTP, for example, is:
///
/// ```no_run
/// use anyhow::Result;
/// use f3_tch::error_info::ErrorInfo;
/// use f3_tch::feedback::FeedbackInit;
/// use f3_tch::trainer::{FeedbackTrainer, Parts, Rule, Trainer};
///
/// struct Targets(FeedbackInit);
///
/// impl Rule for Targets {
///     fn feedback_init(&self) -> Option<&FeedbackInit> {
///         Some(&self.0)
///     }
///
///     fn learns_forward(&self) -> bool {
///         true
///     }
///
///     fn trainer(&self, Parts { layers, data, loss, .. }: Parts) -> Result<Box<dyn Trainer>> {
///         Ok(Box::new(FeedbackTrainer::new(layers, ErrorInfo::OneHotTarget, loss, data)?))
///     }
/// }
/// ```
pub trait Rule {
    /// How the matrices B_i `[C, n_i]` are made that carry the error to the hidden layers, if the rule
    /// has any.
    fn feedback_init(&self) -> Option<&FeedbackInit> {
        None
    }

    /// Whether the hidden layers learn on the way forward, from what is known before: only then may
    /// layers and batches take their turns in another order.
    fn learns_forward(&self) -> bool {
        false
    }

    /// Whether a layer takes all batches of a chunk at once, and not one after the other.
    fn takes_chunks(&self) -> bool {
        self.learns_forward()
    }

    /// How hidden layers predict the errors that teach them, if they do: chunks then depend on its blocks.
    fn prediction(&self) -> Option<&Prediction> {
        None
    }

    /// Whether the hidden layers learn.
    fn teaches_hidden_layers(&self) -> bool {
        true
    }

    /// Whether layers have biases.
    fn has_biases(&self) -> bool {
        true
    }

    /// Whether CUDA can record a step: nothing in it is computed on the host.
    fn can_be_recorded(&self) -> bool {
        true
    }

    /// What other keys are where a configuration, of which these are the values, does not give them.
    fn defaults(&self, _given: &Mapping) -> Mapping {
        Mapping::new()
    }

    /// Refuses data, networks and losses that the rule is not defined for, and remarks on others.
    fn check(&self, _reader: &mut Reader, _beside: &Beside) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Draws the network's blocks, the output block last.
    ///
    /// # Errors
    /// If the rule is not defined for the network.
    fn blocks<'a>(
        &'a self,
        architecture: &'a Architecture,
        generator: &'a mut Generator,
        device: Device,
    ) -> Result<Blocks<'a>> {
        Ok(architecture.shape().blocks(generator, device))
    }

    /// What trains the network.
    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>>;
}

/// What a trainer is made of.
pub struct Parts<'a> {
    /// The layers to train.
    pub layers: Layers,
    /// The training set.
    pub data: &'a Split,
    /// What the output layer minimises.
    pub loss: Loss,
    /// For random numbers of the rule's own.
    pub generator: &'a mut Generator,
}

/// What a configuration has beside its rule.
pub struct Beside<'a> {
    /// The data set.
    pub data: About,
    /// The network.
    pub model: &'a dyn Network,
    /// What the output layer minimises.
    pub loss: Loss,
}

impl Beside<'_> {
    /// Refuses networks that are not fully connected, which the rule of this name is for.
    pub(super) fn check_mlp(&self, name: &str, reader: &Reader) -> Result<(), ConfigError> {
        if self.model.hidden_widths().is_some() {
            return Ok(());
        }
        let expected = "one of f3, dfa, drtp, llo, bp with this model; `fa` and `pepita` are defined \
                        for `model.name: mlp`";
        Err(reader.refuse("algorithm.name", name, expected))
    }
}
