//! Fully connected layers in one pass: the safe side of `dense.cpp`.
//!
//! Legend: r rows (samples in all), b batch, m inputs, n outputs of the layer, C outputs of the
//! network.

use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::team;
use crate::machine::last_level_cache;

/// As in `dense.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Task {
    rows: i64,
    batch: i64,
    inputs: i64,
    outputs: i64,
    x: *const f32,
    x_half: *mut u16,
    weight: *mut f32,
    bias: *mut f32,
    h: *mut f32,
    activation: i32,
    error: *const f32,
    feedback: *const f32,
    error_size: i64,
    targets: *const f32,
    loss: i32,
    delta: *const f32,
    optimizer: i32,
    nesterov: i32,
    take_first: f32,
    keep_second: f32,
    take_second: f32,
    eps: f32,
    weight_decay: f32,
    momentum: f32,
    step_sizes: *const f32,
    scales: *const f32,
    weight_first: *mut f32,
    weight_second: *mut f32,
    bias_first: *mut f32,
    bias_second: *mut f32,
    squares: *mut f32,
}

// SAFETY: the pointers are into tensors that the caller keeps alive, and each thread writes to the
// rows of its own neurons only (or, in `backward`, of its own samples).
unsafe impl Sync for Task {}

type Strip = unsafe extern "C" fn(*const Task, i64, i64, *mut f32);
type Part = unsafe extern "C" fn(*const Task, i64, i64);

#[repr(C)]
struct RawKernels {
    name: *const c_char,
    scratch: unsafe extern "C" fn(*const Task, i64) -> i64,
    forward: Strip,
    learn: Strip,
    teach: Strip,
    fit: Strip,
    step: Strip,
    backward: Part,
    halve: Part,
}

// SAFETY: constants, made at compile time.
unsafe impl Sync for RawKernels {}

unsafe extern "C" {
    #[cfg(target_arch = "x86_64")]
    static f3_dense_avx512_bf16: RawKernels;
    #[cfg(target_arch = "x86_64")]
    static f3_dense_avx512: RawKernels;
    #[cfg(target_arch = "x86_64")]
    static f3_dense_avx2: RawKernels;
    static f3_dense_portable: RawKernels;
}

/// The kernels for this machine's processor; `F3_INSTRUCTION_SET` names lesser ones, if there are to be.
fn kernels() -> &'static RawKernels {
    static CHOSEN: OnceLock<&'static RawKernels> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let all = usable();
        let wanted = std::env::var("F3_INSTRUCTION_SET").ok();
        let named = all.iter().find(|kernels| wanted.as_deref() == Some(name(kernels)));
        named.unwrap_or(&all[0])
    })
}

/// All kernels that this processor can compute, the fastest ones first.
fn usable() -> Vec<&'static RawKernels> {
    let mut usable = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let fma = is_x86_feature_detected!("fma");
        if avx512 && fma && is_x86_feature_detected!("avx512bf16") {
            // SAFETY: a constant.
            usable.push(unsafe { &f3_dense_avx512_bf16 });
        }
        if avx512 && fma {
            // SAFETY: a constant.
            usable.push(unsafe { &f3_dense_avx512 });
        }
        if is_x86_feature_detected!("avx2") && fma {
            // SAFETY: a constant.
            usable.push(unsafe { &f3_dense_avx2 });
        }
    }
    // SAFETY: a constant.
    usable.push(unsafe { &f3_dense_portable });
    usable
}

fn name(kernels: &RawKernels) -> &'static str {
    // SAFETY: the name is a string literal.
    unsafe { CStr::from_ptr(kernels.name) }.to_str().expect("names are ASCII")
}

/// The name of the instruction set that the fused kernels use here: `avx512_bf16`, `avx512`,
/// `avx2` or `portable`.
pub fn instruction_set() -> &'static str {
    name(kernels())
}

/// The names of all that the processor has, the fastest one first; `F3_INSTRUCTION_SET` may be one of
/// them when the program starts.
pub fn instruction_sets() -> Vec<&'static str> {
    usable().into_iter().map(name).collect()
}

/// Whether the processor has instructions with which they are faster than libtorch's own kernels.
pub fn kernels_are_fast() -> bool {
    instruction_set() != "portable"
}

/// Whether the processor multiplies bfloat16.
pub fn has_bfloat16() -> bool {
    instruction_set() == "avx512_bf16"
}

/// A layer's function: h = act(x Wᵀ + b), with W `[n, m]`, b `[n]` or none.
#[derive(Clone, Copy)]
pub struct DenseLayer<'a> {
    /// W.
    pub weight: &'a Tensor,
    /// b.
    pub bias: Option<&'a Tensor>,
    /// act.
    pub activation: DenseActivation,
    /// Whether [`learn`] multiplies bfloat16; sums, weights and the optimizer's state are float32.
    pub half: bool,
}

/// The activations that the kernels have: those whose slope can be told from h.
#[derive(Clone, Copy)]
pub enum DenseActivation {
    /// z
    Identity = 0,
    /// tanh(z)
    Tanh = 1,
    /// max(z, 0)
    Relu = 2,
    /// 1 / (1 + exp(-z))
    Sigmoid = 3,
}

/// The losses that the kernels have: those in which an output's gradient is its own affair.
#[derive(Clone, Copy)]
pub(crate) enum DenseLoss {
    /// As [`crate::Loss::BinaryCrossEntropy`].
    BinaryCrossEntropy = 0,
    /// As [`crate::Loss::MeanSquaredError`].
    MeanSquaredError = 1,
}

/// An optimizer's coming steps.
pub struct Steps<'a> {
    /// What a step is.
    pub rule: Rule,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// One for each step: the learning rate, for Adam divided by 1 - β₁ᵗ.
    pub step_sizes: Vec<f32>,
    /// For Adam, one for each step: 1 / √(1 - β₂ᵗ).
    pub scales: Vec<f32>,
    /// The state's tensors beside each parameter, in the parameters' order; none, one or two lists.
    pub first: &'a [Tensor],
    /// As `first`.
    pub second: &'a [Tensor],
}

/// What a step is.
#[derive(Clone, Copy)]
pub enum Rule {
    /// `torch.optim.Adam`'s.
    Adam {
        /// Decay rates of the moments.
        betas: [f64; 2],
        /// Added to the square root of the second moment.
        eps: f64,
    },
    /// `torch.optim.SGD`'s.
    Sgd {
        /// μ.
        momentum: f32,
        /// Whether momentum is Nesterov's.
        nesterov: bool,
    },
}

/// h `[r, n]` from x `[r, m]`.
pub(crate) fn forward(layer: DenseLayer, x: &Tensor) -> Result<Tensor> {
    let (mut task, _x) = layer.task(x)?;
    let h = Tensor::f_empty([task.rows, task.outputs], (Kind::Float, Device::Cpu))?;
    task.h = pointer(&h, &[task.rows, task.outputs])?;
    run_strips(&task, kernels().forward, 2)?;
    Ok(h)
}

/// h `[r, n]` from x `[r, m]`, each batch's before its step along δ = (e B) ⊙ act'(h); e `[r, C]`,
/// B `[C, n]`. `squares` `[n]` gets the squared norm of each neuron's gradient in the last step.
pub(crate) fn learn(
    layer: DenseLayer,
    x: &Tensor,
    batch: i64,
    error: &Tensor,
    feedback: &Tensor,
    steps: &Steps,
    squares: Option<&Tensor>,
) -> Result<Tensor> {
    let h = Tensor::f_empty([x.size()[0], layer.outputs()], (Kind::Float, Device::Cpu))?;
    let strip = kernels().learn;
    run_feedback(strip, layer, x, &h, batch, error, feedback, steps, squares)?;
    Ok(h)
}

/// One step along δ = (e B) ⊙ act'(h) for the h `[b, n]` that x `[b, m]` has given.
pub(crate) fn teach(
    layer: DenseLayer,
    x: &Tensor,
    h: &Tensor,
    error: &Tensor,
    feedback: &Tensor,
    steps: &Steps,
    squares: Option<&Tensor>,
) -> Result<()> {
    let (strip, batch) = (kernels().teach, x.size()[0]);
    let layer = DenseLayer { half: false, ..layer };
    run_feedback(strip, layer, x, h, batch, error, feedback, steps, squares)
}

#[allow(clippy::too_many_arguments)]
fn run_feedback(
    strip: Strip,
    layer: DenseLayer,
    x: &Tensor,
    h: &Tensor,
    batch: i64,
    error: &Tensor,
    feedback: &Tensor,
    steps: &Steps,
    squares: Option<&Tensor>,
) -> Result<()> {
    let (mut task, _x) = layer.task(x)?;
    let (error, feedback) = (error.contiguous(), feedback.contiguous());
    task.h = pointer(h, &[task.rows, task.outputs])?;
    task.error_size = feedback.size()[0];
    task.error = pointer(&error, &[task.rows, task.error_size])?;
    task.feedback = pointer(&feedback, &[task.error_size, task.outputs])?;
    task.set_steps(layer, batch, steps, squares)?;
    let mut half = Vec::new();
    if layer.half {
        if !has_bfloat16() {
            bail!("this processor does not multiply bfloat16");
        }
        half.resize((task.rows * task.inputs) as usize, 0u16);
        task.x_half = half.as_mut_ptr();
        let tasks = parts(task.rows, 8, wanted_parts(task.rows * task.inputs, 1));
        // SAFETY: `half` has the size of x; each call writes to its own rows.
        team::for_each(tasks.len(), &|index| unsafe {
            (kernels().halve)(&task, tasks[index].0, tasks[index].1);
        })?;
    }
    run_strips(&task, strip, 4)
}

/// h `[r, n]` from x `[r, m]`, each batch's before its step along δ = ∂L/∂h ⊙ act'(h) of the mean loss
/// between h and the targets `[r, n]`.
pub(crate) fn fit(
    layer: DenseLayer,
    x: &Tensor,
    batch: i64,
    targets: &Tensor,
    loss: DenseLoss,
    steps: &Steps,
    squares: Option<&Tensor>,
) -> Result<Tensor> {
    let (mut task, _x) = layer.task(x)?;
    let targets = targets.contiguous();
    let shape = [task.rows, task.outputs];
    let h = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
    task.h = pointer(&h, &shape)?;
    task.targets = pointer(&targets, &shape)?;
    task.loss = loss as i32;
    task.set_steps(layer, batch, steps, squares)?;
    run_strips(&task, kernels().fit, 4)?;
    Ok(h)
}

/// Steps along δ = ∂L/∂z `[r, n]` at x `[r, m]`, a batch at a time.
pub(crate) fn step(
    layer: DenseLayer,
    x: &Tensor,
    batch: i64,
    delta: &Tensor,
    steps: &Steps,
    squares: Option<&Tensor>,
) -> Result<()> {
    let (mut task, _x) = layer.task(x)?;
    let delta = delta.contiguous();
    task.delta = pointer(&delta, &[task.rows, task.outputs])?;
    task.set_steps(layer, batch, steps, squares)?;
    run_strips(&task, kernels().step, 2)
}

/// ∂L/∂x `[r, m]` = δ W, from δ `[r, n]` and W `[n, m]`.
pub(crate) fn backward(weight: &Tensor, delta: &Tensor) -> Result<Tensor> {
    let delta = delta.contiguous();
    let (n, m) = weight.size2()?;
    let rows = delta.size()[0];
    let result = Tensor::f_empty([rows, m], (Kind::Float, Device::Cpu))?;
    let mut task = Task { rows, inputs: m, outputs: n, ..Task::empty() };
    task.weight = pointer(weight, &[n, m])?;
    task.delta = pointer(&delta, &[rows, n])?;
    task.h = pointer(&result, &[rows, m])?;
    let tasks = parts(m, 64, wanted_parts(2 * rows * m * n, 1));
    // SAFETY: shapes are checked above; each call writes to its own columns of the result.
    team::for_each(tasks.len(), &|index| unsafe {
        let (begin, end) = tasks[index];
        (kernels().backward)(&task, begin, end);
    })?;
    Ok(result)
}

/// Rows of a contiguous tensor `[N, m]` at these positions (int64 `[r]`), as `[r, m]`.
pub(crate) fn gather(source: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (count, width) = source.size2()?;
    let rows = positions.size1()?;
    let from = Floats(pointer(source, &[count, width])?);
    let index = Vec::<i64>::try_from(positions)?;
    if let Some(wrong) = index.iter().find(|index| !(0..count).contains(*index)) {
        bail!("position {wrong} of {count} samples");
    }
    let result = Tensor::empty([rows, width], (Kind::Float, Device::Cpu)); // panics as tch does
    let to = Floats(pointer(&result, &[rows, width])?);
    let tasks = parts(rows, 8, wanted_parts(rows * width, 4));
    // SAFETY: positions are inside the source; each call writes to its own rows of the result.
    team::for_each(tasks.len(), &|task| unsafe {
        let (from, to) = (from.start(), to.start());
        for row in tasks[task].0..tasks[task].1 {
            let source = from.offset((index[row as usize] * width) as isize);
            source.copy_to_nonoverlapping(to.offset((row * width) as isize), width as usize);
        }
    })?;
    Ok(result)
}

struct Floats(*mut f32);

// SAFETY: see `gather`.
unsafe impl Sync for Floats {}

impl Floats {
    fn start(&self) -> *mut f32 {
        self.0
    }
}

impl DenseLayer<'_> {
    fn outputs(&self) -> i64 {
        self.weight.size()[0]
    }

    /// The task without what only some tasks have, and the contiguous input that it points to.
    fn task(&self, x: &Tensor) -> Result<(Task, Tensor)> {
        let (n, m) = self.weight.size2()?;
        let x = x.contiguous();
        let rows = x.size()[0];
        let mut task = Task { rows, batch: rows, inputs: m, outputs: n, ..Task::empty() };
        task.x = pointer(&x, &[rows, m])?;
        task.weight = pointer(self.weight, &[n, m])?;
        if let Some(bias) = self.bias {
            task.bias = pointer(bias, &[n])?;
        }
        task.activation = self.activation as i32;
        Ok((task, x))
    }
}

impl Task {
    fn empty() -> Task {
        Task {
            rows: 0,
            batch: 0,
            inputs: 0,
            outputs: 0,
            x: null(),
            x_half: null_mut(),
            weight: null_mut(),
            bias: null_mut(),
            h: null_mut(),
            activation: 0,
            error: null(),
            feedback: null(),
            error_size: 0,
            targets: null(),
            loss: 0,
            delta: null(),
            optimizer: 0,
            nesterov: 0,
            take_first: 0.0,
            keep_second: 0.0,
            take_second: 0.0,
            eps: 0.0,
            weight_decay: 0.0,
            momentum: 0.0,
            step_sizes: null(),
            scales: null(),
            weight_first: null_mut(),
            weight_second: null_mut(),
            bias_first: null_mut(),
            bias_second: null_mut(),
            squares: null_mut(),
        }
    }

    fn set_steps(
        &mut self,
        layer: DenseLayer,
        batch: i64,
        steps: &Steps,
        squares: Option<&Tensor>,
    ) -> Result<()> {
        let count = (self.rows + batch - 1) / batch;
        let adam = matches!(steps.rule, Rule::Adam { .. });
        if steps.step_sizes.len() as i64 != count || adam && steps.scales.len() as i64 != count {
            bail!("step sizes for {} steps, not {count}", steps.step_sizes.len());
        }
        self.batch = batch;
        self.weight_decay = steps.weight_decay;
        self.step_sizes = steps.step_sizes.as_ptr();
        match steps.rule {
            Rule::Adam { betas: [beta1, beta2], eps } => {
                self.scales = steps.scales.as_ptr();
                self.take_first = (1.0 - beta1) as f32;
                self.keep_second = beta2 as f32;
                self.take_second = (1.0 - beta2) as f32;
                self.eps = eps as f32;
            }
            Rule::Sgd { momentum, nesterov } => {
                self.optimizer = 1;
                (self.momentum, self.nesterov) = (momentum, nesterov.into());
            }
        }
        let lists = match steps.rule {
            Rule::Adam { .. } => 2,
            Rule::Sgd { momentum, .. } => usize::from(momentum != 0.0),
        };
        let (weight, bias) = ([self.outputs, self.inputs], [self.outputs]);
        let state =
            |list: &[Tensor], wanted: bool, index: usize, shape: &[i64]| match list.get(index) {
                _ if !wanted => Ok(null_mut()),
                Some(tensor) => pointer(tensor, shape),
                None => bail!("the optimizer has no state for parameter {index}"),
            };
        self.weight_first = state(steps.first, lists > 0, 0, &weight)?;
        self.weight_second = state(steps.second, lists > 1, 0, &weight)?;
        let biased = layer.bias.is_some();
        self.bias_first = state(steps.first, biased && lists > 0, 1, &bias)?;
        self.bias_second = state(steps.second, biased && lists > 1, 1, &bias)?;
        if let Some(squares) = squares {
            self.squares = pointer(squares, &[self.outputs])?;
        }
        Ok(())
    }
}

/// The floats of a tensor that is what the kernels take: of this shape, float32, contiguous, on the
/// CPU.
fn pointer(tensor: &Tensor, shape: &[i64]) -> Result<*mut f32> {
    let found = (tensor.size(), tensor.kind(), tensor.device(), tensor.is_contiguous());
    if found != (shape.to_vec(), Kind::Float, Device::Cpu, true) {
        bail!("a tensor {found:?} where float32 of {shape:?}, contiguous on the CPU, is needed");
    }
    Ok(tensor.data_ptr().cast())
}

fn run_strips(task: &Task, strip: Strip, operations: i64) -> Result<()> {
    thread_local! {
        static SCRATCH: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    // The wider a strip, the less often its thread goes through the inputs; but its weights and the
    // optimizer's state are to be found in the cache again with the next batch.
    let bytes = 12 * task.inputs * task.outputs;
    let share = last_level_cache() / (2 * tch::get_num_threads().max(1) as i64);
    let by_cache = (bytes + share - 1) / share;
    let work = operations * task.rows * task.inputs * task.outputs;
    let strips = parts(task.outputs, 5, wanted_parts(work, by_cache));
    team::for_each(strips.len(), &|index| {
        let (begin, end) = strips[index];
        SCRATCH.with_borrow_mut(|scratch| {
            // SAFETY: the pointers are checked against the shapes; scratch has the size asked for;
            // strips do not overlap.
            unsafe {
                let size = (kernels().scratch)(task, end - begin) as usize;
                if scratch.len() < size {
                    scratch.resize(size, 0.0);
                }
                strip(task, begin, end, scratch.as_mut_ptr());
            }
        });
    })
}

/// Into how many parts work is cut: `at_least`, and a multiple of the threads unless the work is
/// done before they would be there.
fn wanted_parts(operations: i64, at_least: i64) -> i64 {
    let threads = if operations < 1_000_000 { 1 } else { tch::get_num_threads().max(1) as i64 };
    (at_least + threads - 1) / threads * threads
}

/// Cuts `count` things into about so many parts of nearly the same size, each, but the last one, a
/// multiple of `unit`.
fn parts(count: i64, unit: i64, wanted: i64) -> Vec<(i64, i64)> {
    let units = (count + unit - 1) / unit;
    let wanted = wanted.clamp(1, units.max(1));
    let border = |part: i64| (units * part / wanted * unit).min(count);
    (0..wanted).map(|part| (border(part), border(part + 1))).collect()
}
