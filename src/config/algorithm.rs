//! The section `algorithm`: the learning rule.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::model::ModelConfig;
use super::section::Section;
use crate::error_info::{ErrorInfo, Timing};
use crate::feedback::FeedbackInit;
use crate::loss::Loss;

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
    /// Feedback alignment.
    Fa {
        /// The matrices that stand in for the weights on the way back.
        feedback_init: FeedbackInit,
    },
    /// The error modulates the input of a second forward pass.
    Pepita {
        /// Size of the matrix that carries the error to the input, as a multiple of √(6/inputs).
        projection_scale: f64,
        /// Share of the hidden units that are left out of a step.
        dropout: f64,
    },
}

impl Algorithm {
    /// How the matrices B_i `[C, n_i]` are made that carry the error to the hidden layers, if the
    /// rule has any.
    pub fn feedback_init(&self) -> Option<&FeedbackInit> {
        match self {
            Algorithm::F3 { feedback_init, .. }
            | Algorithm::Dfa { feedback_init }
            | Algorithm::Drtp { feedback_init } => Some(feedback_init),
            Algorithm::Llo | Algorithm::Bp | Algorithm::Fa { .. } | Algorithm::Pepita { .. } => {
                None
            }
        }
    }

    /// Whether the hidden layers are taught by matrices that carry the output's error.
    pub fn teaches_with_feedback(&self) -> bool {
        self.feedback_init().is_some()
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

    pub(super) fn read(
        section: &mut Section,
        model: &ModelConfig,
        loss: Loss,
    ) -> Result<Algorithm, ConfigError> {
        #[derive(Clone, Copy, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Name {
            F3,
            Dfa,
            Drtp,
            Llo,
            Bp,
            Fa,
            Pepita,
        }
        let name = section
            .choice("name")?
            .ok_or_else(|| section.missing("name", "one of f3, dfa, drtp, llo, bp, fa, pepita"))?;
        if let Name::Fa | Name::Pepita = name
            && !matches!(model, ModelConfig::Mlp { .. })
        {
            let found = if let Name::Fa = name { "fa" } else { "pepita" };
            let expected = "one of f3, dfa, drtp, llo, bp with this model; `fa` and `pepita` are \
                            defined for `model.name: mlp`";
            return Err(section.refuse("name", found, expected));
        }
        Ok(match name {
            Name::F3 => Algorithm::F3 {
                error_info: read_error_info(section, loss)?,
                feedback_init: read_feedback_init(section)?,
            },
            Name::Dfa => Algorithm::Dfa { feedback_init: read_feedback_init(section)? },
            Name::Drtp => Algorithm::Drtp { feedback_init: read_feedback_init(section)? },
            Name::Llo => Algorithm::Llo,
            Name::Bp => Algorithm::Bp,
            Name::Fa => Algorithm::Fa { feedback_init: read_feedback_init(section)? },
            Name::Pepita => Algorithm::Pepita {
                projection_scale: section
                    .number("projection_scale", "a number greater than 0", |scale| scale > 0.0)?
                    .unwrap_or(0.05),
                dropout: section
                    .number("dropout", "a number from 0 up to, but without, 1", |share| {
                        (0.0..1.0).contains(&share)
                    })?
                    .unwrap_or(0.1),
            },
        })
    }
}

fn read_error_info(section: &mut Section, loss: Loss) -> Result<ErrorInfo, ConfigError> {
    let given = section.choice("error_info")?;
    if loss != Loss::CrossEntropy {
        return Ok(given.unwrap_or(ErrorInfo::DelayedError));
    }
    let with_logits =
        [ErrorInfo::DelayedError, ErrorInfo::DelayedErrorOneHot, ErrorInfo::CurrentError];
    if given.is_some_and(|given| with_logits.contains(&given)) {
        section.remark(
            "compares the targets with logits, since `loss` is `cross_entropy`; \
             `delayed_error_softmax` compares them with probabilities",
            "error_info",
        );
    }
    Ok(given.unwrap_or(ErrorInfo::DelayedErrorSoftmax))
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
