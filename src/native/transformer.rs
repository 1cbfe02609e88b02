//! Transformer blocks in one pass, forwards and backwards: the safe side of `transformer.cpp`.
//!
//! Legend: b batch, t tokens, w their width, a heads of size s, m width of the perceptron, C outputs of
//! the network.

use std::cell::RefCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use anyhow::{Context, Result};
use tch::Tensor;

use super::dense::activation_number;
use super::instructions::{self, InstructionSet};
use super::steps::{RawSteps, Steps};
use super::{floats, parts, pointer, team, wanted_parts};
use crate::activation::Activation;

/// How many parameters a block has; their order is that of [`TransformerLayer::parameters`].
const COUNT: usize = 13;

/// As in `transformer.h`.
#[repr(C)]
struct Task {
    tokens: i64,
    width: i64,
    heads: i64,
    head_size: i64,
    hidden: i64,
    activation: i32,
    teacher: i32,
    parameters: [*const f32; COUNT],
    x: *const f32,
    h: *mut f32,
    signal: *const f32,
    feedback: *const f32,
    error_size: i64,
    input_gradient: *mut f32,
}

// SAFETY: the pointers are into tensors that the caller keeps alive, and each call writes to the rows
// of its own samples only.
unsafe impl Sync for Task {}

/// As in `transformer.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stepped {
    rows: i64,
    columns: i64,
    parameter: *mut f32,
    first: *mut f32,
    second: *mut f32,
    gradient: *mut f32,
    sums: *const f32,
    sums_row: i64,
    transposed: i32,
    parts: i64,
    next: i64,
}

// SAFETY: as for `Task`; each call writes to its own rows or columns.
unsafe impl Sync for Stepped {}

type Size = unsafe extern "C" fn(*const Task) -> i64;
type Part = unsafe extern "C" fn(*const Task, i64, i64, *mut f32, *mut f32);

#[repr(C)]
struct RawKernels {
    scratch: Size,
    gradient: Size,
    places: unsafe extern "C" fn(*const Task, *mut i64, *mut i64),
    forward: Part,
    learn: Part,
    step: unsafe extern "C" fn(*const Stepped, *const RawSteps, i64, i64),
}

// SAFETY: constants, made at compile time.
unsafe impl Sync for RawKernels {}

unsafe extern "C" {
    #[cfg(target_arch = "x86_64")]
    static f3_transformer_avx512: RawKernels;
    #[cfg(target_arch = "x86_64")]
    static f3_transformer_avx2: RawKernels;
    static f3_transformer_portable: RawKernels;
}

fn kernels() -> &'static RawKernels {
    // SAFETY: constants.
    unsafe {
        match instructions::chosen() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Bf16 | InstructionSet::Avx512 => &f3_transformer_avx512,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => &f3_transformer_avx2,
            InstructionSet::Portable => &f3_transformer_portable,
        }
    }
}

/// A block's function: h = u + MLP(LN(u)) with u = x + Attention(LN(x)), on rows `[b, t·w]`.
pub(crate) struct TransformerLayer<'a> {
    /// t.
    pub tokens: i64,
    /// w.
    pub width: i64,
    /// a.
    pub heads: i64,
    /// s.
    pub head_size: i64,
    /// m.
    pub hidden: i64,
    /// That of the perceptron, of those that have an [`activation_number`].
    pub activation: Activation,
    /// Scale and shift of the first normalisation `[w]`; queries, keys and values `[a·s, w]`; the
    /// projection `[w, a·s]` and its bias; scale and shift of the second normalisation; the perceptron's
    /// two maps `[m, w]`, `[w, m]`, each with its bias.
    pub parameters: [&'a Tensor; COUNT],
}

/// Where δh comes from.
#[derive(Clone, Copy)]
pub(crate) enum Teacher<'a> {
    /// The signal is e `[b, C]`, and this is B `[C, t·w]`: δh = e B.
    Feedback(&'a Tensor),
    /// The signal is δh `[b, t·w]`.
    Gradient,
}

/// What a batch has given, before the step.
pub(crate) struct Learned {
    /// h `[b, t·w]`.
    pub h: Tensor,
    /// δx `[b, t·w]`, if it was wanted.
    pub input_gradient: Option<Tensor>,
    sums: Vec<f32>, // the gradients of each part of the batch
    parts: i64,
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// h `[b, t·w]` from x `[b, t·w]`.
pub(crate) fn forward(layer: &TransformerLayer, x: &Tensor) -> Result<Tensor> {
    let (mut task, x) = layer.task(x)?;
    let samples = x.size()[0];
    let h = floats([samples, layer.row()])?;
    task.h = pointer(&h, &[samples, layer.row()])?;
    let tasks = parts(samples, 4, wanted_parts(samples * layer.operations(), samples / 16));
    team::for_each(tasks.len(), &|index| {
        let (begin, end) = tasks[index];
        // SAFETY: the pointers are checked against the shapes; parts do not overlap.
        with_scratch(&task, |scratch| unsafe {
            (kernels().forward)(&task, begin, end, null_mut(), scratch);
        });
    })?;
    Ok(h)
}

/// h `[b, t·w]` from x `[b, t·w]`, and the gradients of one batch.
pub(crate) fn learn(
    layer: &TransformerLayer,
    x: &Tensor,
    signal: &Tensor,
    teacher: Teacher,
    input_too: bool,
) -> Result<Learned> {
    let (mut task, x) = layer.task(x)?;
    let (samples, row) = (x.size()[0], layer.row());
    let h = floats([samples, row])?;
    task.h = pointer(&h, &[samples, row])?;
    let input_gradient = if input_too { Some(floats([samples, row])?) } else { None };
    if let Some(gradient) = &input_gradient {
        task.input_gradient = pointer(gradient, &[samples, row])?;
    }
    let signal = signal.contiguous();
    let feedback; // lives as long as the task points to it
    let mut width = row;
    match teacher {
        Teacher::Feedback(matrix) => {
            feedback = matrix.contiguous();
            width = feedback.size()[0];
            task.error_size = width;
            task.feedback = pointer(&feedback, &[width, row])?;
        }
        Teacher::Gradient => task.teacher = 3,
    }
    task.signal = pointer(&signal, &[samples, width])?;

    let tasks = parts(samples, 2, gradient_parts(samples));
    // SAFETY: only reads the task's sizes.
    let size = unsafe { (kernels().gradient)(&task) } as usize;
    let mut sums = SUMS.take();
    sums.resize(sums.len().max(size * tasks.len()), 0.0);
    let places = AtomicPtr::new(sums.as_mut_ptr()); // plain pointers are not for several threads
    team::for_each(tasks.len(), &|index| {
        let (begin, end) = tasks[index];
        // SAFETY: the pointers are checked against the shapes; each part has its own sums, and samples.
        with_scratch(&task, |scratch| unsafe {
            let own = places.load(Ordering::Relaxed).add(index * size);
            std::slice::from_raw_parts_mut(own, size).fill(0.0);
            (kernels().learn)(&task, begin, end, own, scratch);
        });
    })?;
    Ok(Learned { h, input_gradient, sums, parts: tasks.len() as i64 })
}

/// Into how many parts a batch's samples are cut: gradients are summed up in each, and then over all,
/// so that numbers do not depend on the threads. A dozen threads find work, and all of them equally much.
fn gradient_parts(samples: i64) -> i64 {
    let pairs = (samples + 1) / 2;
    let most = (pairs / 4).clamp(1, 12);
    let longest = |parts: i64| (pairs + parts - 1) / parts * parts; // the longest part, times the parts
    (most.min(8)..=most).min_by_key(|parts| longest(*parts)).unwrap_or(1)
}

impl Learned {
    /// One step along the gradients. `first` is the place of the layer's first parameter in the list of
    /// the optimizer that takes it; with `watch` the gradients come back, in the parameters' order.
    pub fn step(
        self,
        layer: &TransformerLayer,
        steps: &Steps,
        first: usize,
        watch: bool,
    ) -> Result<Vec<Tensor>> {
        let (mut begins, mut rows) = ([0i64; COUNT], [0i64; COUNT]);
        let task = layer.sizes();
        // SAFETY: only reads the task's sizes, and writes to arrays of the length that it knows.
        let next = unsafe {
            (kernels().places)(&task, begins.as_mut_ptr(), rows.as_mut_ptr());
            (kernels().gradient)(&task)
        };
        let (mut jobs, mut gradients) = (Vec::new(), Vec::new());
        for (index, parameter) in layer.parameters.into_iter().enumerate() {
            let shape = parameter.size();
            let (height, width) = match shape[..] {
                [height, width] => (height, width),
                _ => (1, shape[0]),
            };
            let gradient = watch.then(|| parameter.detach().f_empty_like()).transpose()?;
            let place = |tensor: Option<&Tensor>| match tensor {
                Some(tensor) => pointer(tensor, &shape),
                None => Ok(null_mut()),
            };
            let [one, two] = steps.state(first + index);
            // The projection and the contraction: see transformer.cpp.
            let transposed = matches!(index, 5 | 11);
            let stepped = Stepped {
                rows: height,
                columns: width,
                parameter: pointer(parameter, &shape)?,
                first: place(one)?,
                second: place(two)?,
                gradient: place(gradient.as_ref())?,
                // SAFETY: places are inside the sums.
                sums: unsafe { self.sums.as_ptr().add(begins[index] as usize) },
                sums_row: rows[index],
                transposed: transposed.into(),
                parts: self.parts,
                next,
            };
            let (length, across) = if transposed { (width, height) } else { (height, width) };
            let pieces = parts(length, 32, (length * across + 4095) / 4096);
            jobs.extend(pieces.into_iter().map(|piece| (stepped, piece)));
            gradients.extend(gradient);
        }
        let raw = steps.raw(1)?;
        team::for_each(jobs.len(), &|index| {
            let (stepped, (begin, end)) = &jobs[index];
            // SAFETY: the pointers are checked against the shapes; pieces do not overlap.
            unsafe { (kernels().step)(stepped, &raw, *begin, *end) };
        })?;
        SUMS.set(self.sums);
        Ok(gradients)
    }
}

impl TransformerLayer<'_> {
    fn row(&self) -> i64 {
        self.tokens * self.width
    }

    /// Multiplications and additions of a sample's forward pass.
    fn operations(&self) -> i64 {
        let maps = 4 * self.heads * self.head_size + 2 * self.hidden;
        2 * self.tokens * (maps * self.width + 2 * self.tokens * self.heads * self.head_size)
    }

    /// A task with nothing but sizes.
    fn sizes(&self) -> Task {
        // SAFETY: numbers, and pointers that may be null.
        let empty: Task = unsafe { std::mem::zeroed() };
        Task {
            tokens: self.tokens,
            width: self.width,
            heads: self.heads,
            head_size: self.head_size,
            hidden: self.hidden,
            ..empty
        }
    }

    /// The task without what only some tasks have, and the contiguous input that it points to.
    fn task(&self, x: &Tensor) -> Result<(Task, Tensor)> {
        let x = x.detach().contiguous();
        let mut task = self.sizes();
        let activation = activation_number(self.activation);
        task.activation = activation.context("the kernels do not have this activation")?;
        task.x = pointer(&x, &[x.size()[0], self.row()])?;
        let (w, inner, m) = (self.width, self.heads * self.head_size, self.hidden);
        let shapes: [&[i64]; COUNT] = [
            &[w],
            &[w],
            &[inner, w],
            &[inner, w],
            &[inner, w],
            &[w, inner],
            &[w],
            &[w],
            &[w],
            &[m, w],
            &[m],
            &[w, m],
            &[w],
        ];
        for (index, shape) in shapes.into_iter().enumerate() {
            task.parameters[index] = pointer(self.parameters[index], shape)?;
        }
        Ok((task, x))
    }
}

fn with_scratch(task: &Task, run: impl FnOnce(*mut f32)) {
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: only reads the task's sizes.
        let size = unsafe { (kernels().scratch)(task) } as usize;
        if scratch.len() < size {
            scratch.resize(size, 0.0);
        }
        run(scratch.as_mut_ptr());
    });
}
