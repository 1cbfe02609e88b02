//! Optimizers: from a parameter's gradient to its next value.

use anyhow::{Result, bail};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::native::dense::{Rule, Steps};
use crate::native::{self, AdamStep, SgdStep};
use crate::settings::domain::{any, number, positive, share, truth};
use crate::settings::{ConfigError, Domain, Reader, section};

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
}

/// PyTorch's defaults.
impl Default for AdamSettings {
    fn default() -> AdamSettings {
        AdamSettings { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }
}

impl OptimizerSettings {
    /// Refuses an optimizer whose step the fused kernels do not know, with the reason.
    pub fn can_be_fused(&self) -> Result<()> {
        match self {
            OptimizerSettings::Sgd(it) if it.classical_momentum && it.momentum != 0.0 => {
                bail!("the fused kernels have no `optimizer.classical_momentum`")
            }
            _ => Ok(()),
        }
    }

    /// How many numbers are kept for each parameter.
    pub fn states(&self) -> usize {
        match self {
            OptimizerSettings::Adam(_) => 2,
            OptimizerSettings::Sgd(settings) => usize::from(settings.momentum != 0.0),
        }
    }

    /// An optimizer, with its state at zero, for parameters of these shapes on this device.
    pub fn build(&self, parameters: &[&Tensor]) -> Result<Box<dyn Optimizer>> {
        Ok(match *self {
            OptimizerSettings::Adam(settings) => Box::new(Adam::new(settings, parameters)?),
            OptimizerSettings::Sgd(settings) => Box::new(Sgd::new(settings, parameters)?),
        })
    }

    /// As [`OptimizerSettings::build`], for the fused kernels.
    ///
    /// # Errors
    /// As [`OptimizerSettings::can_be_fused`].
    pub(crate) fn build_fused(&self, parameters: &[&Tensor]) -> Result<Box<dyn FusedOptimizer>> {
        self.can_be_fused()?;
        Ok(match *self {
            OptimizerSettings::Adam(settings) => Box::new(Adam::new(settings, parameters)?),
            OptimizerSettings::Sgd(settings) => Box::new(Sgd::new(settings, parameters)?),
        })
    }
}

/// Steps a fixed list of parameters, in place, along their gradients.
pub trait Optimizer: Send {
    /// One step; both lists have the order and shapes that the optimizer was built with.
    fn step(
        &mut self,
        parameters: &[&Tensor],
        gradients: &[&Tensor],
        learning_rate: f64,
    ) -> Result<()>;

    /// The tensors that the next step depends on, with their names.
    fn state(&self) -> Vec<(String, &Tensor)>;
}

/// An optimizer in whose place the fused kernels can step.
pub(crate) trait FusedOptimizer: Optimizer {
    /// What a kernel needs that takes the next `count` steps; they count as taken.
    fn take(&mut self, count: usize, learning_rate: f64) -> Steps<'_>;
}

/// Adam, stepped by libtorch's own fused kernel: the numbers of `torch.optim.Adam(fused=True)`.
pub struct Adam {
    settings: AdamSettings,
    step: Tensor, // float scalar on the parameters' device, as the CUDA kernel wants it
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
}

impl Adam {
    fn new(settings: AdamSettings, parameters: &[&Tensor]) -> Result<Adam> {
        let device = parameters.first().map_or(Device::Cpu, |p| p.device());
        Ok(Adam {
            settings,
            step: Tensor::zeros([], (Kind::Float, device)),
            first_moments: zeros_like(parameters)?,
            second_moments: zeros_like(parameters)?,
        })
    }
}

impl Optimizer for Adam {
    fn step(
        &mut self,
        parameters: &[&Tensor],
        gradients: &[&Tensor],
        learning_rate: f64,
    ) -> Result<()> {
        let AdamSettings { betas, eps, weight_decay } = self.settings;
        native::fused_adam(
            parameters,
            gradients,
            &references(&self.first_moments),
            &references(&self.second_moments),
            &self.step,
            AdamStep { learning_rate, betas, weight_decay, eps },
        )
    }

    fn state(&self) -> Vec<(String, &Tensor)> {
        let mut state = vec![("step".to_string(), &self.step)];
        state.extend(numbered("exp_avg", &self.first_moments));
        state.extend(numbered("exp_avg_sq", &self.second_moments));
        state
    }
}

impl FusedOptimizer for Adam {
    fn take(&mut self, count: usize, learning_rate: f64) -> Steps<'_> {
        let AdamSettings { betas, eps, weight_decay } = self.settings;
        let [beta1, beta2] = betas;
        let taken = self.step.double_value(&[]);
        let _ = self.step.g_add_scalar_(count as f64);
        let coming = (1..=count).map(|step| taken + step as f64);
        let scales = coming.clone().map(|t| (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32).collect();
        let moments = [&self.first_moments[..], &self.second_moments];
        Steps {
            rule: Rule::Adam { betas, eps, scales, moments },
            weight_decay: weight_decay as f32,
            step_sizes: coming.map(|t| (learning_rate / (1.0 - beta1.powf(t))) as f32).collect(),
        }
    }
}

/// Stochastic gradient descent, stepped by libtorch's own fused kernel.
pub struct Sgd {
    settings: SgdSettings,
    buffers: Vec<Tensor>, // none without momentum
}

impl Sgd {
    fn new(settings: SgdSettings, parameters: &[&Tensor]) -> Result<Sgd> {
        let buffers = if settings.momentum == 0.0 { Vec::new() } else { zeros_like(parameters)? };
        Ok(Sgd { settings, buffers })
    }
}

impl Optimizer for Sgd {
    fn step(
        &mut self,
        parameters: &[&Tensor],
        gradients: &[&Tensor],
        learning_rate: f64,
    ) -> Result<()> {
        let SgdSettings { momentum, nesterov, classical_momentum, weight_decay } = self.settings;
        let step = SgdStep { learning_rate, momentum, weight_decay, nesterov };
        let buffers = references(&self.buffers);
        if !classical_momentum || momentum == 0.0 {
            return native::fused_sgd(parameters, gradients, &buffers, step);
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
        native::fused_sgd(parameters, &references(&scaled), &buffers, step)
    }

    fn state(&self) -> Vec<(String, &Tensor)> {
        numbered("momentum_buffer", &self.buffers).collect()
    }
}

impl FusedOptimizer for Sgd {
    fn take(&mut self, count: usize, learning_rate: f64) -> Steps<'_> {
        let SgdSettings { momentum, nesterov, weight_decay, .. } = self.settings;
        Steps {
            rule: Rule::Sgd { momentum: momentum as f32, nesterov, buffers: &self.buffers },
            weight_decay: weight_decay as f32,
            step_sizes: vec![learning_rate as f32; count],
        }
    }
}

fn zeros_like(parameters: &[&Tensor]) -> Result<Vec<Tensor>> {
    parameters.iter().map(|parameter| Ok(parameter.f_zeros_like()?)).collect()
}

fn references(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

fn numbered<'a>(
    name: &'static str,
    tensors: &'a [Tensor],
) -> impl Iterator<Item = (String, &'a Tensor)> {
    tensors.iter().enumerate().map(move |(index, tensor)| (format!("{name}.{index}"), tensor))
}
