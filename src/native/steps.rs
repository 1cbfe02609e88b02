//! An optimizer's coming steps, as the kernels take them.

use std::ptr::null;

use anyhow::{Result, bail};
use tch::Tensor;

/// An optimizer's coming steps.
pub(crate) struct Steps<'a> {
    /// What a step is.
    pub rule: Rule<'a>,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// One for each step: the learning rate, for Adam divided by 1 - β₁ᵗ.
    pub step_sizes: Vec<f32>,
}

/// What a step is; its state has a tensor for each parameter, in the parameters' order.
pub(crate) enum Rule<'a> {
    /// `torch.optim.Adam`'s.
    Adam {
        /// Decay rates of the moments.
        betas: [f64; 2],
        /// Added to the square root of the second moment.
        eps: f64,
        /// One for each step: 1 / √(1 - β₂ᵗ).
        scales: Vec<f32>,
        /// The first and the second moments.
        moments: [&'a [Tensor]; 2],
    },
    /// `torch.optim.SGD`'s.
    Sgd {
        /// μ.
        momentum: f32,
        /// Whether momentum is Nesterov's.
        nesterov: bool,
        /// Whether momentum adds up steps, and not gradients.
        classical: bool,
        /// Momentum buffers; none without momentum.
        buffers: &'a [Tensor],
    },
}

/// As in `steps.h`.
#[repr(C)]
#[derive(Clone)]
pub(super) struct RawSteps {
    rule: i32,
    nesterov: i32,
    classical: i32,
    take_first: f32,
    keep_second: f32,
    take_second: f32,
    eps: f32,
    weight_decay: f32,
    momentum: f32,
    step_sizes: *const f32,
    scales: *const f32,
}

// SAFETY: it is read only, and the caller keeps alive what it points to.
unsafe impl Sync for RawSteps {}

impl Steps<'_> {
    /// For the kernels, which will take `count` steps; it points into these steps.
    pub(super) fn raw(&self, count: i64) -> Result<RawSteps> {
        let check = |sizes: &[f32]| match sizes.len() as i64 {
            found if found == count => Ok(sizes.as_ptr()),
            found => bail!("step sizes for {found} steps, not {count}"),
        };
        let mut raw = RawSteps {
            rule: 1,
            nesterov: 0,
            classical: 0,
            take_first: 0.0,
            keep_second: 0.0,
            take_second: 0.0,
            eps: 0.0,
            weight_decay: self.weight_decay,
            momentum: 0.0,
            step_sizes: check(&self.step_sizes)?,
            scales: null(),
        };
        match &self.rule {
            Rule::Adam { betas: [beta1, beta2], eps, scales, .. } => {
                raw.rule = 0;
                raw.scales = check(scales)?;
                raw.take_first = (1.0 - beta1) as f32;
                raw.keep_second = *beta2 as f32;
                raw.take_second = (1.0 - beta2) as f32;
                raw.eps = *eps as f32;
            }
            Rule::Sgd { momentum, nesterov, classical, .. } => {
                raw.momentum = *momentum;
                (raw.nesterov, raw.classical) = ((*nesterov).into(), (*classical).into());
            }
        }
        Ok(raw)
    }

    /// What the optimizer keeps of the parameter at this place of its list: up to two tensors.
    pub(super) fn state(&self, place: usize) -> [Option<&Tensor>; 2] {
        match &self.rule {
            Rule::Adam { moments: [first, second], .. } => [first.get(place), second.get(place)],
            Rule::Sgd { buffers, .. } => [buffers.get(place), None],
        }
    }
}
