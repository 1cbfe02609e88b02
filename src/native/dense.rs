//! Fully connected layers in one pass: the safe side of `dense.cpp`.
//!
//! Legend: r rows (samples in all), b batch, m inputs, n outputs of the layer, C outputs of the
//! network.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::instructions::{self, InstructionSet};
use super::steps::{RawSteps, Steps};
use super::{floats, parts, pointer, team, wanted_parts};
use crate::activation::Activation;
use crate::loss::Loss;
use crate::machine::last_level_cache;

/// As in `dense.h`.
#[repr(C)]
#[derive(Clone)]
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
    given: i32,
    teacher: i32,
    signal: *const f32,
    feedback: *const f32,
    error_size: i64,
    steps: RawSteps,
    weight_first: *mut f32,
    weight_second: *mut f32,
    bias_first: *mut f32,
    bias_second: *mut f32,
    delta: *mut f32,
    dx: *mut f32,
    squares: *mut f32,
}

// SAFETY: the pointers are into tensors that the caller keeps alive, and each thread writes to the
// rows of its own neurons only (or, in `backward`, of its own samples).
unsafe impl Sync for Task {}

type Strip = unsafe extern "C" fn(*const Task, i64, i64, *mut f32);
type Part = unsafe extern "C" fn(*const Task, i64, i64);

#[repr(C)]
struct RawKernels {
    scratch: unsafe extern "C" fn(*const Task, i64) -> i64,
    forward: Strip,
    learn: Strip,
    backward: Part,
    slopes: Part,
}

/// Those that multiply bfloat16.
#[repr(C)]
struct RawHalfKernels {
    learn: Strip,
    halve: Part,
}

unsafe extern "C" {
    #[cfg(target_arch = "x86_64")]
    static f3_dense_avx512_bf16: RawHalfKernels;
    #[cfg(target_arch = "x86_64")]
    static f3_dense_avx512: RawKernels;
    #[cfg(target_arch = "x86_64")]
    static f3_dense_avx2: RawKernels;
    static f3_dense_portable: RawKernels;
}

/// The kernels for this machine's processor.
fn kernels() -> &'static RawKernels {
    // SAFETY: constants.
    unsafe {
        match instructions::chosen() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Bf16 | InstructionSet::Avx512 => &f3_dense_avx512,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => &f3_dense_avx2,
            InstructionSet::Portable => &f3_dense_portable,
        }
    }
}

/// The kernels that multiply bfloat16.
fn half_kernels() -> Result<&'static RawHalfKernels> {
    match instructions::chosen() {
        // SAFETY: a constant.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Bf16 => Ok(unsafe { &f3_dense_avx512_bf16 }),
        _ => bail!("this processor does not multiply bfloat16"),
    }
}

/// A layer's function: h = act(x Wᵀ + b), with W `[n, m]`, b `[n]` or none.
#[derive(Clone, Copy)]
pub(crate) struct DenseLayer<'a> {
    /// W.
    pub weight: &'a Tensor,
    /// b.
    pub bias: Option<&'a Tensor>,
    /// act, of those that have an [`activation_number`].
    pub activation: Activation,
}

/// Batches that a layer learns from, one after the other.
pub(crate) struct Lesson<'a> {
    /// x `[r, m]`.
    pub x: &'a Tensor,
    /// h `[r, n]` of these x, if it has been computed already.
    pub h: Option<&'a Tensor>,
    /// What teaches, a row for each sample: see [`Teacher`].
    pub signal: &'a Tensor,
    /// How the signal teaches.
    pub teacher: Teacher<'a>,
    /// b; the last batch may have fewer samples.
    pub batch: i64,
    /// Gets the squared norm `[n]` of each neuron's gradient in the last step.
    pub squares: Option<&'a Tensor>,
}

/// Where the δ = ∂L/∂z of a step comes from.
#[derive(Clone, Copy)]
pub(crate) enum Teacher<'a> {
    /// The signal is e `[r, C]`: δ = (e B) ⊙ act'(h).
    Feedback {
        /// B `[C, n]`.
        matrix: &'a Tensor,
        /// Whether bfloat16 is multiplied; sums, weights and the optimizer's state are float32.
        half: bool,
    },
    /// The signal is y* `[r, n]`: δ = ∂L/∂h ⊙ act'(h), L being the mean loss of a batch, of
    /// those that have a [`loss_number`].
    Loss(Loss),
    /// The signal is δ `[r, n]`.
    Gradient,
}

/// An activation as the kernels number it, if they have it: gelu's slope cannot be told from h.
pub(crate) fn activation_number(activation: Activation) -> Option<i32> {
    match activation {
        Activation::Identity => Some(0),
        Activation::Tanh => Some(1),
        Activation::Relu => Some(2),
        Activation::Sigmoid => Some(3),
        Activation::Gelu => None,
    }
}

/// A loss as the kernels number it, if they have it: in the cross-entropy an output's gradient is not
/// its own affair.
pub(crate) fn loss_number(loss: Loss) -> Option<i32> {
    match loss {
        Loss::BinaryCrossEntropy => Some(1),
        Loss::MeanSquaredError => Some(2),
        Loss::CrossEntropy => None,
    }
}

/// h `[r, n]` from x `[r, m]`.
pub(crate) fn forward(layer: DenseLayer, x: &Tensor) -> Result<Tensor> {
    let (mut task, _x) = layer.task(x)?;
    let shape = [task.rows, task.outputs];
    let h = floats(shape)?;
    task.h = pointer(&h, &shape)?;
    match task.outputs <= FEW_OUTPUTS {
        true => run_rows(&task)?,
        false => run_strips(&task, kernels().forward, 2)?,
    }
    Ok(h)
}

/// A step for each batch of a lesson; gives h `[r, n]`, each batch's before its step.
pub(crate) fn learn(layer: DenseLayer, lesson: Lesson, steps: &Steps) -> Result<Tensor> {
    let (mut task, _x) = layer.task(lesson.x)?;
    let shape = [task.rows, task.outputs];
    let h = lesson.h.map_or_else(|| floats(shape), |h| Ok(h.shallow_clone()))?;
    task.h = pointer(&h, &shape)?;
    task.given = lesson.h.is_some().into();
    task.batch = lesson.batch;
    task.set_steps(layer, steps)?;
    if let Some(squares) = lesson.squares {
        task.squares = pointer(squares, &[task.outputs])?;
    }
    let (signal, mut width) = (lesson.signal.contiguous(), task.outputs);
    let (feedback, mut halves); // live as long as the task points to them
    let mut strip = kernels().learn;
    match lesson.teacher {
        Teacher::Feedback { matrix, half } => {
            feedback = matrix.contiguous();
            width = feedback.size()[0];
            task.error_size = width;
            task.feedback = pointer(&feedback, &[width, task.outputs])?;
            if half {
                halves = vec![0u16; (task.rows * task.inputs) as usize];
                task.x_half = halves.as_mut_ptr();
                let kernels = half_kernels()?;
                task.halve(kernels)?;
                strip = kernels.learn;
            }
        }
        Teacher::Loss(loss) => {
            task.teacher = loss_number(loss).context("the kernels do not have this loss")?;
        }
        Teacher::Gradient => task.teacher = 3,
    }
    task.signal = pointer(&signal, &[task.rows, width])?;
    run_strips(&task, strip, if lesson.h.is_some() { 2 } else { 4 })?;
    Ok(h)
}

/// δ = ∂L/∂z `[r, n]` of h = act(z) from ∂L/∂h `[r, n]` and h `[r, n]`.
pub(crate) fn delta(activation: Activation, gradient: &Tensor, h: &Tensor) -> Result<Tensor> {
    let (gradient, (rows, n)) = (gradient.contiguous(), h.size2()?);
    let delta = floats([rows, n])?;
    let mut task = Task { rows, outputs: n, ..Task::empty() };
    let activation = activation_number(activation);
    task.activation = activation.context("the kernels do not have this activation")?;
    task.signal = pointer(&gradient, &[rows, n])?;
    task.h = pointer(h, &[rows, n])?;
    task.delta = pointer(&delta, &[rows, n])?;
    let tasks = parts(rows, 8, wanted_parts(4 * rows * n, 1));
    // SAFETY: shapes are checked above; each call writes to its own rows of the result.
    team::for_each(tasks.len(), &|index| unsafe {
        (kernels().slopes)(&task, tasks[index].0, tasks[index].1);
    })?;
    Ok(delta)
}

/// ∂L/∂x `[r, m]` = δ W, from δ `[r, n]` and W `[n, m]`.
pub(crate) fn backward(weight: &Tensor, delta: &Tensor) -> Result<Tensor> {
    let delta = delta.contiguous();
    let (n, m) = weight.size2()?;
    let rows = delta.size()[0];
    let result = floats([rows, m])?;
    let mut task = Task { rows, inputs: m, outputs: n, ..Task::empty() };
    task.weight = pointer(weight, &[n, m])?;
    task.signal = pointer(&delta, &[rows, n])?;
    task.dx = pointer(&result, &[rows, m])?;
    let tasks = parts(m, 64, wanted_parts(2 * rows * m * n, 1));
    // SAFETY: shapes are checked above; each call writes to its own columns of the result.
    team::for_each(tasks.len(), &|index| unsafe {
        let (begin, end) = tasks[index];
        (kernels().backward)(&task, begin, end);
    })?;
    Ok(result)
}

/// The positions (int64 `[r]`), all of them among so many samples.
fn within(positions: &Tensor, count: i64) -> Result<Vec<i64>> {
    let positions = Vec::<i64>::try_from(positions)?;
    if let Some(wrong) = positions.iter().find(|position| !(0..count).contains(*position)) {
        bail!("position {wrong} of {count} samples");
    }
    Ok(positions)
}

/// Rows of a contiguous tensor `[N, m]` at these positions (int64 `[r]`), as `[r, m]`.
pub(crate) fn gather(source: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (count, width) = source.size2()?;
    let rows = positions.size1()?;
    let from = pointer(source, &[count, width])?;
    let index = within(positions, count)?;
    let result = Tensor::empty([rows, width], (Kind::Float, Device::Cpu)); // panics as tch does
    let to = pointer(&result, &[rows, width])?;
    let shared = [from, to].map(AtomicPtr::new); // plain pointers are not for several threads
    let tasks = parts(rows, 8, wanted_parts(rows * width, 4));
    // SAFETY: positions are inside the source; each call writes to its own rows of the result.
    team::for_each(tasks.len(), &|task| unsafe {
        let [from, to] = shared.each_ref().map(|it| it.load(Ordering::Relaxed));
        for row in tasks[task].0..tasks[task].1 {
            let source = from.offset((index[row as usize] * width) as isize);
            source.copy_to_nonoverlapping(to.offset((row * width) as isize), width as usize);
        }
    })?;
    Ok(result)
}

/// e - (ŷ - k) `[r, C]` of rows e and ŷ `[r, C]`, with k the rows of `kept` `[N, C]` at these positions (int64
/// `[r]`), where ŷ is kept in their place.
pub(crate) fn exchange(
    kept: &mut Tensor,
    positions: &Tensor,
    guess: &Tensor,
    stored: &Tensor,
) -> Result<Tensor> {
    let (count, width) = kept.size2()?;
    let shape = [positions.size1()?, width];
    let result = floats(shape)?;
    let rows = [guess, stored].map(Tensor::contiguous);
    let (all, to) = (pointer(kept, &[count, width])?, pointer(&result, &shape)?);
    let [guess, stored] = [pointer(&rows[0], &shape)?, pointer(&rows[1], &shape)?];
    let positions = within(positions, count)?;
    let width = width as usize;
    let row = |of: *mut f32, index: usize| of.wrapping_add(index * width);
    // SAFETY: the shapes and positions are checked; `result` is new, `kept` borrowed for this, and nobody
    // writes to the others.
    unsafe {
        // In three passes: rows of `kept` are anywhere in memory, and reads of several wait for it together.
        for (index, position) in positions.iter().enumerate() {
            row(to, index).copy_from_nonoverlapping(row(all, *position as usize), width);
        }
        for at in 0..positions.len() * width {
            *to.add(at) = *stored.add(at) - (*guess.add(at) - *to.add(at));
        }
        for (index, position) in positions.iter().enumerate() {
            row(all, *position as usize).copy_from_nonoverlapping(row(guess, index), width);
        }
    }
    Ok(result)
}

impl DenseLayer<'_> {
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
        let activation = activation_number(self.activation);
        task.activation = activation.context("the kernels do not have this activation")?;
        Ok((task, x))
    }
}

impl Task {
    fn empty() -> Task {
        // SAFETY: numbers, and pointers that may be null.
        unsafe { std::mem::zeroed() }
    }

    fn set_steps(&mut self, layer: DenseLayer, steps: &Steps) -> Result<()> {
        self.steps = steps.raw((self.rows + self.batch - 1) / self.batch)?;
        let (n, m) = (self.outputs, self.inputs);
        let state = |place: usize, shape: &[i64]| -> Result<[*mut f32; 2]> {
            let [first, second] = steps.state(place);
            let pointer = |it: Option<&Tensor>| it.map_or(Ok(null_mut()), |it| pointer(it, shape));
            Ok([pointer(first)?, pointer(second)?])
        };
        [self.weight_first, self.weight_second] = state(0, &[n, m])?;
        if layer.bias.is_some() {
            [self.bias_first, self.bias_second] = state(1, &[n])?;
        }
        Ok(())
    }

    /// Rounds x to bfloat16.
    fn halve(&self, kernels: &RawHalfKernels) -> Result<()> {
        let tasks = parts(self.rows, 8, wanted_parts(self.rows * self.inputs, 1));
        // SAFETY: `x_half` has the size of x; each call writes to its own rows.
        team::for_each(tasks.len(), &|index| unsafe {
            (kernels.halve)(self, tasks[index].0, tasks[index].1);
        })
    }
}

/// Up to so many inputs the kernels compute along the neurons: FEW in `dense.cpp`.
const FEW_INPUTS: i64 = 32;

/// With up to so many outputs threads share the samples: of the neurons each would have a few, and read all
/// inputs for them.
const FEW_OUTPUTS: i64 = 16;

/// Bytes of outputs and δ that a core's own cache holds beside other things.
const OUTPUTS_IN_CACHE: i64 = 512 << 10;

/// The outputs, each thread those of some samples.
fn run_rows(task: &Task) -> Result<()> {
    let work = 2 * task.rows * task.inputs * task.outputs;
    let tasks = parts(task.rows, 15, wanted_parts(work, 1)); // 15: tiles of three or five samples
    team::for_each(tasks.len(), &|index| {
        let (begin, end) = tasks[index];
        // SAFETY: the pointers are checked against the shapes; each part is inside, and writes to its own
        // samples' outputs. The kernel needs no scratch.
        unsafe {
            let mut part = task.clone();
            part.rows = end - begin;
            part.x = part.x.offset((begin * part.inputs) as isize);
            part.h = part.h.offset((begin * part.outputs) as isize);
            (kernels().forward)(&part, 0, part.outputs, null_mut());
        }
    })
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
    // Where inputs are few it is a batch's outputs and their δ that have to stay in the cache.
    let (unit, by_outputs) = match task.inputs <= FEW_INPUTS {
        true => (16, 8 * task.batch * task.outputs / OUTPUTS_IN_CACHE),
        false => (5, 1),
    };
    let strips = parts(task.outputs, unit, wanted_parts(work, by_cache.max(by_outputs)));
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
