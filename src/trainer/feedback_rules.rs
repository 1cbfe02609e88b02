//! The rules that [`FeedbackTrainer`] trains by; they differ in what the hidden layers are taught with.

use anyhow::Result;

use super::rule::{Beside, Parts, Rule};
use super::{FeedbackTrainer, Trainer};
use crate::error_info::{ErrorInfo, Timing};
use crate::feedback::FeedbackInit;
use crate::loss::Loss;
use crate::prediction::{InfoSettings, Local, Prediction};
use crate::settings::domain::choice;
use crate::settings::{ConfigError, Reader, section};

section! {
    /// Settings of F³.
    pub struct F3(loss: Loss) {
        /// Error information that teaches the hidden layers.
        error_info: ErrorInfo = default_error_info(loss)
            => "`delayed_error`; with `loss: cross_entropy` `delayed_error_softmax`", choice();
        /// Settings of the error information.
        #[serde(flatten)]
        info_settings: InfoSettings => read(error_info);
        /// How the fixed feedback matrices are made.
        feedback_init: FeedbackInit => read();
    }
}

section! {
    /// Settings of direct feedback alignment (DFA).
    pub struct Dfa {
        /// How the fixed feedback matrices are made.
        feedback_init: FeedbackInit => read();
    }
}

section! {
    /// Settings of direct random target projection (DRTP).
    pub struct Drtp {
        /// How the fixed feedback matrices are made.
        feedback_init: FeedbackInit => read();
    }
}

section! {
    /// Training the last layer only (LLO) has no settings.
    pub struct Llo {}
}

fn default_error_info(loss: Loss) -> ErrorInfo {
    match loss {
        Loss::CrossEntropy => ErrorInfo::DelayedErrorSoftmax,
        Loss::BinaryCrossEntropy | Loss::MeanSquaredError => ErrorInfo::DelayedError,
    }
}

fn taught_with(error_info: ErrorInfo, parts: Parts) -> Result<Box<dyn Trainer>> {
    let Parts { layers, data, loss, .. } = parts;
    Ok(Box::new(FeedbackTrainer::new(layers, error_info, loss, data)?))
}

impl Rule for F3 {
    fn feedback_init(&self) -> Option<&FeedbackInit> {
        Some(&self.feedback_init)
    }

    fn learns_forward(&self) -> bool {
        self.error_info.timing() != Timing::Current
    }

    fn takes_chunks(&self) -> bool {
        self.learns_forward() && self.prediction().is_none_or(|it| it.local != Local::Output)
    }

    fn prediction(&self) -> Option<&Prediction> {
        self.info_settings.prediction()
    }

    fn check(&self, reader: &mut Reader, beside: &Beside) -> Result<(), ConfigError> {
        use ErrorInfo::{CurrentError, DelayedError, DelayedErrorOneHot};
        if matches!(self.error_info, DelayedError | DelayedErrorOneHot | CurrentError)
            && beside.loss == Loss::CrossEntropy
            && reader.has("algorithm.error_info")
        {
            reader.remark(
                "algorithm.error_info",
                "compares the targets with logits, since `loss` is `cross_entropy`; \
                 `delayed_error_softmax` compares them with probabilities",
            );
        }
        Ok(())
    }

    /// Where errors are predicted, some of it is decided on the host.
    fn can_be_recorded(&self) -> bool {
        self.prediction().is_none()
    }

    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>> {
        let Some(prediction) = self.prediction() else {
            return taught_with(self.error_info, parts);
        };
        let Parts { layers, data, loss, .. } = parts;
        Ok(Box::new(FeedbackTrainer::predicting(layers, *prediction, loss, data)?))
    }
}

impl Rule for Dfa {
    fn feedback_init(&self) -> Option<&FeedbackInit> {
        Some(&self.feedback_init)
    }

    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>> {
        let error_info = match parts.loss {
            Loss::CrossEntropy => ErrorInfo::CurrentErrorSoftmax,
            Loss::BinaryCrossEntropy | Loss::MeanSquaredError => ErrorInfo::CurrentError,
        };
        taught_with(error_info, parts)
    }
}

impl Rule for Drtp {
    fn feedback_init(&self) -> Option<&FeedbackInit> {
        Some(&self.feedback_init)
    }

    fn learns_forward(&self) -> bool {
        true
    }

    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>> {
        taught_with(ErrorInfo::OneHotTarget, parts)
    }
}

/// Without feedback matrices no hidden layer learns, whatever it would be taught with.
impl Rule for Llo {
    fn learns_forward(&self) -> bool {
        true
    }

    fn teaches_hidden_layers(&self) -> bool {
        false
    }

    fn trainer(&self, parts: Parts) -> Result<Box<dyn Trainer>> {
        taught_with(ErrorInfo::Zeros, parts)
    }
}
