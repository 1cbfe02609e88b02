//! Many runs as one piece of work: described in a file, trained on all cores, taken up again after
//! anything.
//!
//! A [`SweepFile`] says which configurations are varied, and in what. A [`Plan`] has every run that comes
//! of it, checked, each with a folder that follows from its settings; [`Plan::train`] trains those that
//! are missing. There is no other record than the folders: [`RunState`] is read from them.

mod carried;
mod data;
mod file;
mod found;
mod plan;
mod state;
mod values;
mod work;

pub use carried::{carried, carried_names};
pub use file::SweepFile;
pub use plan::{Plan, PlannedRun, Shard};
pub use state::{Progress, RunState};
pub use values::values_of;
pub use work::{Outcome, SweepEvent, Work};
