//! Optimizers: from a parameter's gradient to its next value.

use anyhow::Result;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::native::steps::{Rule, Steps};
use crate::native::{self, AdamStep, SgdStep};
use crate::settings::domain::{any, number, positive, share, truth};
use crate::settings::{ConfigError, Domain, Reader, section};

/// 2²⁴, beyond which a float32 counts no further: neither does PyTorch's step.
const LAST_STEP: f64 = 16_777_216.0;

section! {
    /// An optimizer and its settings; [`OptimizerSettings::build`] makes one for a set of parameters.
    #[derive(Copy)]
    pub enum OptimizerSettings = "adam" {
        /// Adam with bias correction (Kingma & Ba 2015), named as in `torch.optim.Adam`.
        Adam = "adam" (AdamSettings),
        /// Stochastic gradient descent, named as in `torch.optim.SGD`.
        Sgd = "sgd" (SgdSettings),
    }
}

section! {
    /// Settings of Adam, named as in `torch.optim.Adam`.
    #[derive(Copy)]
    pub struct AdamSettings {
        /// Decay rates of the two moments.
        betas: [f64; 2] = AdamSettings::default().betas, betas();
        /// Added to the square root of the second moment.
        eps: f64 = AdamSettings::default().eps, positive();
        /// L2 penalty, added to the gradient.
        weight_decay: f64 = 0.0, number("a number of at least 0", 0.0..);
    }
}

section! {
    /// Settings of stochastic gradient descent, named as in `torch.optim.SGD`.
    #[derive(Copy)]
    pub struct SgdSettings => checked {
        /// Share of the previous update that is kept.
        momentum: f64 = 0.0, share();
        /// Whether momentum is Nesterov's.
        nesterov: bool = false, truth();
        /// Whether momentum adds up steps instead of gradients.
        ///
        /// Steps: v ← μv + ηg and w ← w - v, as in Sutskever et al. 2013; gradients: v ← μv + g and
        /// w ← w - ηv, as in PyTorch. The two differ when the learning rate η changes. Not with
        /// Nesterov's momentum.
        classical_momentum: bool = false, truth();
        /// L2 penalty, added to the gradient.
        weight_decay: f64 = 0.0, number("a number of at least 0", 0.0..);
    }
}

fn betas() -> Domain<[f64; 2]> {
    let beta = json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1});
    let schema = json!({"type": "array", "items": beta, "minItems": 2, "maxItems": 2});
    any("two numbers from 0 up to, but without, 1", schema)
        .only(|betas: &[f64; 2]| betas.iter().all(|beta| (0.0..1.0).contains(beta)))
}

impl SgdSettings {
    fn checked(self, reader: &mut Reader) -> Result<SgdSettings, ConfigError> {
        if self.nesterov && self.momentum == 0.0 {
            return Err(reader.refuse("nesterov", true, "false, or a `momentum` above 0"));
        }
        if self.classical_momentum && (self.nesterov || self.momentum == 0.0) {
            let expected = "false where `nesterov` is true or `momentum` is 0";
            return Err(reader.refuse("classical_momentum", true, expected));
        }
        Ok(self)
    }

    fn adds_up_steps(&self) -> bool {
        self.classical_momentum && self.momentum != 0.0
    }
}

/// PyTorch's defaults.
impl Default for AdamSettings {
    fn default() -> AdamSettings {
        AdamSettings { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }
}

impl OptimizerSettings {
    /// How many numbers are kept for each parameter.
    pub fn states(&self) -> usize {
        match self {
            OptimizerSettings::Adam(_) => 2,
            OptimizerSettings::Sgd(settings) => usize::from(settings.momentum != 0.0),
        }
    }

    /// An optimizer, with its state at zero, for parameters of these shapes on this device.
    pub fn build(&self, parameters: &[&Tensor]) -> Result<Optimizer> {
        let device = parameters.first().map_or(Device::Cpu, |parameter| parameter.device());
        let zeros = |state: usize| {
            let kept = parameters.iter().filter(|_| state <= self.states());
            kept.map(|parameter| Ok(parameter.f_zeros_like()?)).collect::<Result<Vec<_>>>()
        };
        Ok(Optimizer {
            settings: *self,
            taken: Tensor::zeros([], (Kind::Float, device)),
            first: zeros(1)?,
            second: zeros(2)?,
        })
    }
}

/// Steps a fixed list of parameters, in place, along their gradients, with libtorch's own fused kernels:
/// the numbers of `torch.optim` with `fused=True`. The layers' fused kernels can step in its place.
pub struct Optimizer {
    settings: OptimizerSettings,
    taken: Tensor, // Adam's steps; a float scalar on the parameters' device, as its CUDA kernel wants it
    // Beside each parameter, of what the settings keep:
    first: Vec<Tensor>,  // Adam's first moment, or SGD's momentum
    second: Vec<Tensor>, // Adam's second moment
}

impl Optimizer {
    /// One step; both lists have the order and shapes that the optimizer was built with.
    pub fn step(
        &mut self,
        parameters: &[&Tensor],
        gradients: &[&Tensor],
        learning_rate: f64,
    ) -> Result<()> {
        let (first, second) = (references(&self.first), references(&self.second));
        match self.settings {
            OptimizerSettings::Adam(AdamSettings { betas, eps, weight_decay }) => {
                let step = AdamStep { learning_rate, betas, weight_decay, eps };
                native::fused_adam(parameters, gradients, &first, &second, &self.taken, step)
            }
            OptimizerSettings::Sgd(settings) => {
                let SgdSettings { momentum, nesterov, weight_decay, .. } = settings;
                let step = SgdStep { learning_rate, momentum, weight_decay, nesterov };
                if !settings.adds_up_steps() {
                    return native::fused_sgd(parameters, gradients, &first, step);
                }
                // The same kernel with learning rate 1 adds up what is already multiplied by η.
                let scaled: Vec<Tensor> = tch::no_grad(|| {
                    let pairs = parameters.iter().zip(gradients);
                    let decayed = |(p, g): (&&Tensor, &&Tensor)| match weight_decay {
                        0.0 => *g * learning_rate,
                        _ => (*g + *p * weight_decay) * learning_rate,
                    };
                    pairs.map(decayed).collect()
                });
                let step = SgdStep { learning_rate: 1.0, weight_decay: 0.0, ..step };
                native::fused_sgd(parameters, &references(&scaled), &first, step)
            }
        }
    }

    /// What a fused kernel needs that takes the next `count` steps; they count as taken.
    pub(crate) fn take(&mut self, count: usize, learning_rate: f64) -> Steps<'_> {
        match self.settings {
            OptimizerSettings::Adam(AdamSettings { betas: [beta1, beta2], eps, weight_decay }) => {
                let taken = self.taken.double_value(&[]);
                let after = move |step: usize| (taken + step as f64).min(LAST_STEP);
                let _ = self.taken.fill_(after(count));
                let coming = (1..=count).map(after);
                let step_size = |t: f64| (learning_rate / (1.0 - beta1.powf(t))) as f32;
                let scale = |t: f64| (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32;
                let scales = coming.clone().map(scale).collect();
                let moments = [&self.first[..], &self.second];
                Steps {
                    rule: Rule::Adam { betas: [beta1, beta2], eps, scales, moments },
                    weight_decay: weight_decay as f32,
                    step_sizes: coming.map(step_size).collect(),
                }
            }
            OptimizerSettings::Sgd(settings) => Steps {
                rule: Rule::Sgd {
                    momentum: settings.momentum as f32,
                    nesterov: settings.nesterov,
                    classical: settings.adds_up_steps(),
                    buffers: &self.first,
                },
                weight_decay: settings.weight_decay as f32,
                step_sizes: vec![learning_rate as f32; count],
            },
        }
    }

    /// The tensors that the next step depends on, with PyTorch's names for them.
    pub fn state(&self) -> Vec<(String, &Tensor)> {
        let (step, first) = match self.settings {
            OptimizerSettings::Adam(_) => (Some(&self.taken), "exp_avg"),
            OptimizerSettings::Sgd(_) => (None, "momentum_buffer"),
        };
        let mut state: Vec<_> = step.into_iter().map(|step| ("step".to_string(), step)).collect();
        for (name, tensors) in [(first, &self.first), ("exp_avg_sq", &self.second)] {
            let tensors = tensors.iter().enumerate();
            state.extend(tensors.map(|(index, tensor)| (format!("{name}.{index}"), tensor)));
        }
        state
    }
}

fn references(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}
