//! Work for a GPU that is recorded once and replayed, without a launch for each operation.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;

use anyhow::Result;

use super::{Message, check};

#[repr(C)]
struct RawGraph(std::ffi::c_void);

/// As in `cuda_graph.cpp`.
#[repr(C)]
#[derive(Default)]
struct Before {
    stream: i64,
    stream_device: i8,
    device: i8,
}

unsafe extern "C" {
    fn f3_enter_stream(device: i8, before: *mut Before) -> Message;
    fn f3_leave_stream(before: *const Before) -> Message;
    fn f3_graph_begin(out: *mut *mut RawGraph) -> Message;
    fn f3_graph_end(graph: *mut RawGraph) -> Message;
    fn f3_graph_replay(graph: *mut RawGraph) -> Message;
    fn f3_graph_free(graph: *mut RawGraph) -> Message;
    fn f3_graph_check() -> Message;
}

/// While this lives, what its thread gives to a CUDA device goes to a stream of its own: CUDA records
/// no default stream. The device is waited for at both ends.
pub(crate) struct SideStream(Before);

impl SideStream {
    pub(crate) fn enter(device: usize) -> Result<SideStream> {
        let mut before = Before::default();
        // SAFETY: `before` is valid for writing; it is used only if the call succeeded.
        check(unsafe { f3_enter_stream(i8::try_from(device)?, &mut before) })?;
        Ok(SideStream(before))
    }
}

impl Drop for SideStream {
    fn drop(&mut self) {
        // SAFETY: what was current when this was made is there as long as the program.
        // An error here is one of the work before, and comes again with the next result.
        let _ = check(unsafe { f3_leave_stream(&self.0) });
    }
}

/// What was recorded: operations with the memory that they read and write. To be used, and dropped,
/// while everything is alive that they name.
pub(crate) struct CudaGraph(*mut RawGraph);

// SAFETY: a graph is bound to its device, not to a thread.
unsafe impl Send for CudaGraph {}

impl CudaGraph {
    /// Records what `work` gives to the current stream, a [`SideStream`]; none of it is done.
    pub(crate) fn record(work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        let mut out = null_mut();
        // SAFETY: `out` is valid for writing; it is used only if the call succeeded.
        check(unsafe { f3_graph_begin(&mut out) })?;
        let graph = CudaGraph(out);
        let outcome = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: recording has begun; it is ended also where the work has failed, or panicked as tch does.
        let end = check(unsafe { f3_graph_end(graph.0) });
        outcome.unwrap_or_else(|panic| resume_unwind(panic)).and(end).map(|()| graph)
    }

    /// Gives the recorded operations to the current stream.
    pub(crate) fn replay(&self) -> Result<()> {
        // SAFETY: the graph is live, and recorded to its end.
        check(unsafe { f3_graph_replay(self.0) })
    }

    /// Whether this libtorch has what is needed; its CUDA part must have been loaded.
    pub(crate) fn is_there() -> Result<()> {
        // SAFETY: looks up names in a loaded library.
        check(unsafe { f3_graph_check() })
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: made in `record`, owned by this value, freed once.
        let _ = check(unsafe { f3_graph_free(self.0) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorchs_cuda_part_has_the_members_that_are_looked_up() {
        if super::super::open_library("libtorch_cuda.so").is_err() {
            eprintln!("left out: this libtorch has no CUDA part");
            return;
        }
        CudaGraph::is_there().unwrap();
    }
}
