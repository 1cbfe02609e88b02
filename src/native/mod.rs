//! The part of libtorch that `tch` does not bind, behind safe functions.
//!
//! All `unsafe` code and all C++ of the project live here: see `ops.cpp`, `cuda_graph.cpp`, `dense.cpp`,
//! `transformer.cpp` and `pooling.cpp` for the other side.
#![allow(unsafe_code)]

pub(crate) mod cuda_graph;
pub(crate) mod denormals;
pub(crate) mod dense;
mod instructions;
mod openmp;
pub(crate) mod pooling;
mod shared;
pub(crate) mod steps;
mod team;
pub(crate) mod transformer;

pub use instructions::{has_bfloat16, instruction_set, instruction_sets, kernels_are_fast};
pub use shared::SharedTensor;
pub(crate) use team::{beside_libtorch, for_each};

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Once, OnceLock};

use anyhow::{Result, anyhow, bail};
use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

type Message = *mut c_char;
type RawTensor = *mut C_tensor;
type RawGenerator = *mut c_void;

unsafe extern "C" {
    fn f3_free_message(message: Message);
    fn f3_exact_cuda() -> Message;
    fn f3_allow_tf32(allowed: bool) -> Message;
    fn f3_set_threads(threads: c_int) -> Message;
    fn f3_convolution_backward(
        gradient: RawTensor,
        input: RawTensor,
        weight: RawTensor,
        padding: i64,
        input_gradient: RawTensor,
        weight_gradient: RawTensor,
        bias_gradient: RawTensor,
    ) -> Message;
    fn f3_libtorch_version() -> *const c_char;
    fn f3_generator_new(seed: u64, out: *mut RawGenerator) -> Message;
    fn f3_generator_free(from: RawGenerator);
    fn f3_generator_uniform(from: RawGenerator, out: RawTensor, low: f64, high: f64) -> Message;
    fn f3_generator_integers(from: RawGenerator, out: RawTensor, bound: i64) -> Message;
    fn f3_generator_int64(from: RawGenerator, out: *mut i64) -> Message;
    fn f3_generator_permutation(from: RawGenerator, out: RawTensor, count: i64) -> Message;
    fn f3_generator_state(from: RawGenerator, out: RawTensor) -> Message;
    fn f3_generator_set_state(to: RawGenerator, state: RawTensor) -> Message;
    fn f3_fused_adam(
        parameters: *const RawTensor,
        gradients: *const RawTensor,
        first_moments: *const RawTensor,
        second_moments: *const RawTensor,
        count: usize,
        step: RawTensor,
        numbers: *const AdamStep,
    ) -> Message;
    fn f3_fused_sgd(
        parameters: *const RawTensor,
        gradients: *const RawTensor,
        buffers: *const RawTensor,
        count: usize,
        numbers: *const SgdStep,
    ) -> Message;
}

/// Lets the C library keep what is freed for later, in blocks of up to `block` MiB and, at each
/// thread's disposal, up to `unused` MiB: what the system gives anew has to be cleared page by page, and
/// glibc by itself asks for a layer's outputs anew for every batch. Less is for those who have little
/// memory, or many runs side by side.
pub fn keep_freed_memory(block: i32, unused: i32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (limit, mebibytes) in [(libc::M_MMAP_THRESHOLD, block), (libc::M_TRIM_THRESHOLD, unused)] {
        // SAFETY: it only sets a number of the allocator, under its lock.
        unsafe { libc::mallopt(limit, mebibytes << 20) };
    }
}

fn check(message: Message) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message that is not null is a C string of ours, freed once, below.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: as above; `text` is a copy.
    unsafe { f3_free_message(message) };
    bail!("libtorch: {text}")
}

/// What a call has given, where there is no place for an error: one is a panic then, as tch's own are, and
/// becomes an error again where those do.
pub(crate) fn or_panic_as_tch<T>(outcome: Result<T>) -> T {
    let raised = |error: anyhow::Error| {
        let text = error.to_string();
        TchError::Torch(text.trim_start_matches("libtorch: ").to_string())
    };
    outcome.map_err(raised).unwrap()
}

fn raw(tensor: &Tensor) -> RawTensor {
    tensor.as_ptr().cast_mut()
}

fn raw_list(tensors: &[&Tensor]) -> Vec<RawTensor> {
    tensors.iter().map(|tensor| raw(tensor)).collect()
}

/// Lets operations of the calling thread be shared by so many threads. Other threads go on as they were,
/// which [`tch::set_num_threads`] does not promise: see `ops.cpp`.
pub(crate) fn set_threads(threads: usize) {
    let threads = c_int::try_from(threads).unwrap_or(c_int::MAX);
    // SAFETY: it sets numbers of the calling thread; C++ exceptions come back as messages.
    check(unsafe { f3_set_threads(threads) }).expect("a number of threads can always be set");
}

/// Does what libtorch and MKL do at a first call, and on which later ones depend, once and on one thread.
///
/// The first call of at::set_num_threads forbids MKL to take fewer threads than it was given, in the whole
/// process, so that small products of all threads have other bits from then on.
///
/// The first call of MKL's vector mathematics (tanh, exp, sqrt, log, erf) keeps the processor's number, and
/// converts it in place afterwards. With AVX-512 a thread that reads it in between takes the kernels of low
/// accuracy for this one call: relative errors of 1e-4 in MKL 2024.2, which libtorch 2.11 contains
/// (pytorch/pytorch#188792). One number is computed by one thread.
pub(crate) fn settle_first_calls() {
    static SETTLED: Once = Once::new();
    SETTLED.call_once(|| {
        drop(Tensor::ones([1], (Kind::Float, Device::Cpu)).tanh());
        tch::set_num_threads(tch::get_num_threads());
    });
}

/// The gradients of a convolution of stride 1 with so much padding, from that of its output: those of the
/// weight and the bias, contiguous, and that of the input if `input_too`.
pub(crate) fn convolution_backward(
    gradient: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    padding: i64,
    input_too: bool,
) -> Result<([Tensor; 2], Option<Tensor>)> {
    let found = [Tensor::new(), Tensor::new(), Tensor::new()];
    let [of_input, of_weight, of_bias] = &found;
    let wanted = if input_too { raw(of_input) } else { null_mut() };
    // SAFETY: all pointers are live, or null where that is allowed; C++ exceptions come back as messages.
    check(unsafe {
        f3_convolution_backward(
            raw(gradient),
            raw(input),
            raw(weight),
            padding,
            wanted,
            raw(of_weight),
            raw(of_bias),
        )
    })?;
    let [of_input, of_weight, of_bias] = found;
    Ok(([of_weight, of_bias], input_too.then_some(of_input)))
}

/// The version of libtorch that the program was built with.
pub fn libtorch_version() -> &'static str {
    // SAFETY: the function returns a string literal.
    unsafe { CStr::from_ptr(f3_libtorch_version()) }.to_str().expect("libtorch's version is ASCII")
}

/// A seeded stream of random numbers: libtorch's CPU Mersenne Twister (MT19937), but not the
/// process-wide one, so that nothing else that draws numbers can change a run.
///
/// Two generators with one seed give equal streams, and the streams of `torch.manual_seed`.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::Generator;
///
/// let mut generator = Generator::new(1)?;
/// let weights = generator.uniform(&[500, 784], -0.03, 0.03)?;
/// let order = generator.epoch_order(60_000)?; // int64, as PyTorch's DataLoader shuffles
/// assert_eq!((weights.size(), order.size()), (vec![500, 784], vec![60_000]));
/// # Ok(())
/// # }
/// ```
pub struct Generator(RawGenerator);

// SAFETY: a generator is memory of its own, and is used through `&mut` or, to read its state, under its
// own mutex.
unsafe impl Send for Generator {}

impl Generator {
    /// A generator at the start of the stream of `seed`.
    pub fn new(seed: u64) -> Result<Generator> {
        let mut out = null_mut();
        // SAFETY: `out` is valid for writing; it is used only if the call succeeded.
        check(unsafe { f3_generator_new(seed, &mut out) })?;
        Ok(Generator(out))
    }

    /// A float tensor of the given shape on the CPU, drawn i.i.d. from U[low, high).
    pub fn uniform(&mut self, shape: &[i64], low: f64, high: f64) -> Result<Tensor> {
        let tensor = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
        // SAFETY: both pointers are live; C++ exceptions come back as messages.
        check(unsafe { f3_generator_uniform(self.0, raw(&tensor), low, high) })?;
        Ok(tensor)
    }

    /// An int64 tensor of the given shape on the CPU, drawn i.i.d. from 0, 1, …, `bound` - 1.
    pub fn integers(&mut self, shape: &[i64], bound: i64) -> Result<Tensor> {
        let tensor = Tensor::f_empty(shape, (Kind::Int64, Device::Cpu))?;
        // SAFETY: both pointers are live; C++ exceptions come back as messages.
        check(unsafe { f3_generator_integers(self.0, raw(&tensor), bound) })?;
        Ok(tensor)
    }

    /// One draw of `torch.empty((), dtype=torch.int64).random_()`.
    pub fn int64(&mut self) -> Result<i64> {
        let mut out = 0;
        // SAFETY: the generator is live and `out` valid for writing.
        check(unsafe { f3_generator_int64(self.0, &mut out) })?;
        Ok(out)
    }

    /// A random order of 0, 1, …, `count` - 1, as an int64 tensor on the CPU.
    pub fn permutation(&mut self, count: i64) -> Result<Tensor> {
        let order = Tensor::new();
        // SAFETY: both pointers are live; C++ exceptions come back as messages.
        check(unsafe { f3_generator_permutation(self.0, raw(&order), count) })?;
        Ok(order)
    }

    /// The position in the stream, as bytes (uint8 on the CPU); see [`Generator::set_state`].
    pub fn state(&self) -> Result<Tensor> {
        let state = Tensor::new();
        // SAFETY: both pointers are live; reading changes nothing.
        check(unsafe { f3_generator_state(self.0, raw(&state)) })?;
        Ok(state)
    }

    /// Continues where the generator was when [`Generator::state`] was asked.
    pub fn set_state(&mut self, state: &Tensor) -> Result<()> {
        // SAFETY: both pointers are live; libtorch checks the state's type and size.
        check(unsafe { f3_generator_set_state(self.0, raw(state)) })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: made in `new`, owned by this value, freed once.
        unsafe { f3_generator_free(self.0) }
    }
}

/// The numbers of one Adam step, as in `ops.cpp`.
#[repr(C)]
pub(crate) struct AdamStep {
    pub learning_rate: f64,
    pub betas: [f64; 2],
    pub weight_decay: f64,
    pub eps: f64,
}

/// One step of `torch.optim.Adam(fused=True)`; `step` (a float scalar) is incremented first.
pub(crate) fn fused_adam(
    parameters: &[&Tensor],
    gradients: &[&Tensor],
    first_moments: &[&Tensor],
    second_moments: &[&Tensor],
    step: &Tensor,
    numbers: AdamStep,
) -> Result<()> {
    check_beside(parameters, gradients)?;
    check_beside(parameters, first_moments)?;
    check_beside(parameters, second_moments)?;
    if step.kind() != Kind::Float {
        bail!("Adam's step counter is {:?}, not Float", step.kind());
    }
    // SAFETY: all pointers are live, and the four lists have the length that is passed.
    check(unsafe {
        f3_fused_adam(
            raw_list(parameters).as_ptr(),
            raw_list(gradients).as_ptr(),
            raw_list(first_moments).as_ptr(),
            raw_list(second_moments).as_ptr(),
            parameters.len(),
            raw(step),
            &numbers,
        )
    })
}

/// The numbers of one SGD step, as in `ops.cpp`.
#[repr(C)]
pub(crate) struct SgdStep {
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
}

/// One step of `torch.optim.SGD(fused=True)`; `buffers` is empty without momentum.
pub(crate) fn fused_sgd(
    parameters: &[&Tensor],
    gradients: &[&Tensor],
    buffers: &[&Tensor],
    numbers: SgdStep,
) -> Result<()> {
    check_beside(parameters, gradients)?;
    if !buffers.is_empty() {
        check_beside(parameters, buffers)?;
    }
    let buffers = raw_list(buffers);
    // SAFETY: all pointers are live, and the lists have the length that is passed (or are absent).
    check(unsafe {
        f3_fused_sgd(
            raw_list(parameters).as_ptr(),
            raw_list(gradients).as_ptr(),
            if buffers.is_empty() { std::ptr::null() } else { buffers.as_ptr() },
            parameters.len(),
            &numbers,
        )
    })
}

/// Refuses lists of tensors that do not go with the parameters: libtorch's fused kernels walk
/// through the memory of all of them side by side, and check nothing.
fn check_beside(parameters: &[&Tensor], others: &[&Tensor]) -> Result<()> {
    if parameters.len() != others.len() {
        bail!("{} tensors beside {} parameters", others.len(), parameters.len());
    }
    let properties =
        |tensor: &Tensor| (tensor.size(), tensor.kind(), tensor.device(), tensor.is_contiguous());
    for (parameter, other) in parameters.iter().zip(others) {
        if !parameter.is_contiguous() || properties(parameter) != properties(other) {
            bail!(
                "a tensor with (shape, kind, device, contiguous) {:?} beside a parameter with {:?}",
                properties(other),
                properties(parameter)
            );
        }
    }
    Ok(())
}

/// An uninitialised tensor of float32 on the CPU.
fn floats(shape: [i64; 2]) -> Result<Tensor> {
    Ok(Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?)
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

/// The bytes of a contiguous float32 tensor on the CPU.
pub(crate) fn bytes(tensor: &Tensor) -> Result<&[u8]> {
    check_plain(tensor)?;
    // SAFETY: the elements lie side by side, and live as long as the tensor, which is borrowed.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), 4 * tensor.numel()) })
}

/// Lets the system forget what it holds in memory of a tensor that lives in a file; what is in the
/// file stays.
///
/// Only for tensors that [`crate::offload::Offload`] has taken: what is in no file would be lost.
pub(crate) fn drop_pages(tensor: &Tensor) -> Result<()> {
    check_plain(tensor)?;
    // SAFETY: the range is a shared mapping of a file, of which whole pages are dropped; what has
    // been written to them is the file's.
    unsafe {
        libc::madvise(tensor.data_ptr(), 4 * tensor.numel(), libc::MADV_DONTNEED);
    }
    Ok(())
}

fn check_plain(tensor: &Tensor) -> Result<()> {
    if tensor.kind() != Kind::Float || tensor.device() != Device::Cpu || !tensor.is_contiguous() {
        bail!("a tensor that is not contiguous float32 on the CPU");
    }
    Ok(())
}

/// Loads libtorch's CUDA part, once; the error says why CUDA cannot be used.
///
/// The linker leaves libtorch_cuda out of the program, since nothing names a symbol of it, and
/// loading it takes half a second: so it is loaded when CUDA is wanted and a driver is there.
pub(crate) fn load_cuda() -> Result<()> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            if !has_cuda_driver() {
                return Err("no NVIDIA driver was found (libcuda.so.1)".to_string());
            }
            open_library("libtorch_cuda.so")
                .map_err(|error| format!("libtorch's CUDA part cannot be loaded: {error}"))?;
            // SAFETY: sets flags of libtorch's context; C++ exceptions come back as messages.
            check(unsafe { f3_exact_cuda() }).map_err(|error| error.to_string())
        })
        .clone()
        .map_err(|reason| anyhow!(reason))
}

/// Lets CUDA round what it multiplies to TF32 from now on, or forbids it: in the whole process, so that
/// [`crate::process::multiply`] alone calls this.
pub(crate) fn allow_tf32(allowed: bool) -> Result<()> {
    // SAFETY: sets flags of libtorch's context; C++ exceptions come back as messages.
    check(unsafe { f3_allow_tf32(allowed) })
}

/// Whether the machine has an NVIDIA driver.
pub(crate) fn has_cuda_driver() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| open_library("libcuda.so.1").is_ok())
}

fn open_library(name: &str) -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the libraries' initialisers are those that any program linked with them would run.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }?;
    // Kept for good: libtorch registers its CUDA kernels in tables that are never taken back.
    std::mem::forget(library);
    Ok(())
}
