//! The section `optimizer`: what steps the parameters, and how its step size goes on.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::section::Section;
use crate::learning_rate::{Decay, LearningRate, LearningRateSchedule};
use crate::optimizer::{AdamSettings, OptimizerSettings, SgdSettings};

/// What steps the parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptimizerConfig {
    /// Which optimizer, and its settings.
    #[serde(flatten)]
    pub settings: OptimizerSettings,
    /// The learning rate and its schedule.
    #[serde(flatten)]
    pub learning_rate: LearningRate,
}

impl OptimizerConfig {
    pub(super) fn read(
        section: &mut Section,
        epochs: u64,
        pepita: bool,
    ) -> Result<OptimizerConfig, ConfigError> {
        // PEPITA's authors' schedule goes with their step size.
        let authors = pepita && !section.has("learning_rate");
        let (settings, base) = read_settings(section, pepita)?;
        let mut section = section.section("schedule")?;
        let schedule = read_schedule(&mut section, base, epochs, authors)?;
        section.finish()?;
        Ok(OptimizerConfig { settings, learning_rate: LearningRate { base, schedule } })
    }
}

fn read_settings(
    section: &mut Section,
    pepita: bool,
) -> Result<(OptimizerSettings, f64), ConfigError> {
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        Adam,
        Sgd,
    }
    let name = section.choice("name")?.unwrap_or(if pepita { Name::Sgd } else { Name::Adam });
    let learning_rate = section
        .number("learning_rate", "a number greater than 0", |rate| rate > 0.0)?
        .or(pepita.then_some(0.1))
        .ok_or_else(|| section.missing("learning_rate", "a number greater than 0"))?;
    let weight_decay = section
        .number("weight_decay", "a number of at least 0", |decay| decay >= 0.0)?
        .unwrap_or(0.0);
    let settings = match name {
        Name::Adam => {
            let defaults = AdamSettings::default();
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
            })
        }
        Name::Sgd => {
            let momentum = section
                .number("momentum", "a number from 0 up to, but without, 1", |momentum| {
                    (0.0..1.0).contains(&momentum)
                })?
                .unwrap_or(if pepita { 0.9 } else { 0.0 });
            let nesterov = section.truth("nesterov")?.unwrap_or(false);
            if nesterov && momentum == 0.0 {
                return Err(section.refuse("nesterov", true, "false, or a `momentum` above 0"));
            }
            let classical_momentum = section
                .truth("classical_momentum")?
                .unwrap_or(pepita && !nesterov && momentum > 0.0);
            if classical_momentum && (nesterov || momentum == 0.0) {
                let expected = "false where `nesterov` is true or `momentum` is 0";
                return Err(section.refuse("classical_momentum", true, expected));
            }
            OptimizerSettings::Sgd(SgdSettings {
                momentum,
                nesterov,
                classical_momentum,
                weight_decay,
            })
        }
    };
    Ok((settings, learning_rate))
}

fn read_schedule(
    section: &mut Section,
    rate: f64,
    epochs: u64,
    authors: bool,
) -> Result<LearningRateSchedule, ConfigError> {
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        Constant,
        Step,
        MultiStep,
        Exponential,
        Cosine,
    }
    const EPOCHS: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;
    let gamma = |section: &mut Section, default: f64| {
        let gamma = section.number("gamma", "a number greater than 0", |gamma| gamma > 0.0)?;
        Ok::<_, ConfigError>(gamma.unwrap_or(default))
    };
    let constant = LearningRateSchedule::constant();
    let warmup_epochs = section.whole("warmup_epochs", 0..=*EPOCHS.end())?.unwrap_or(0);
    let warmup_start = section
        .number("warmup_start", "a number above 0 and up to 1", |start| {
            start > 0.0 && start <= 1.0
        })?
        .unwrap_or(constant.warmup_start);
    let default = if authors { Name::MultiStep } else { Name::Constant };
    let decay = match section.choice("name")?.unwrap_or(default) {
        Name::Constant => Decay::Constant,
        Name::Step => Decay::Step {
            step_size: section
                .whole("step_size", EPOCHS)?
                .ok_or_else(|| section.missing("step_size", "a number of epochs"))?,
            gamma: gamma(section, 0.1)?,
        },
        Name::MultiStep => {
            let expected = "a list of epochs, each greater than the one before";
            let milestones = section.checked("milestones", expected, |list: &Vec<u64>| {
                !list.is_empty() && list.is_sorted_by(|a, b| a < b)
            })?;
            Decay::MultiStep {
                milestones: milestones
                    .or_else(|| authors.then(|| vec![60, 90]))
                    .ok_or_else(|| section.missing("milestones", expected))?,
                gamma: gamma(section, 0.1)?,
            }
        }
        Name::Exponential => Decay::Exponential { gamma: gamma(section, 0.95)? },
        Name::Cosine => Decay::Cosine {
            t_max: section
                .whole("t_max", EPOCHS)?
                .unwrap_or(epochs.saturating_sub(warmup_epochs).max(1)),
            minimum: section
                .number("minimum", "a number from 0 to the learning rate", |minimum| {
                    (0.0..=rate).contains(&minimum)
                })?
                .unwrap_or(0.0),
        },
    };
    Ok(LearningRateSchedule { decay, warmup_epochs, warmup_start })
}
