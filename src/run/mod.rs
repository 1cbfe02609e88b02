//! A run: training from the first epoch to the last, with all that is written down on the way.
//!
//! [`Run`] holds everything that it needs, as a value; [`Run::train`] goes on until it ends, and
//! [`Run::train_in`] does so in a [`Folder`]. [`State`] is what a checkpoint holds. What happens is told
//! to an [`Observer`]. Several runs may train at once, each on a thread of its own.

mod checkpoint;
mod divergence;
mod events;
mod find;
mod folder;
mod history;
mod result;
mod rows;
mod settings;
mod state;
mod train;

pub use checkpoint::{Checkpoint, Checkpoints, VERSION as CHECKPOINT_VERSION};
pub use events::{Ending, Event, Observer, on_epoch};
pub use folder::Folder;
pub use history::{EpochRow, ValueName};
pub use result::{Best, EndState, EndedBy, RunResult, VERSION as RESULT_VERSION, ValueResult};
pub use settings::{CheckpointSettings, EarlyStop, OnNan, Settings};
pub use state::{ConfigText, Run, State};
pub(crate) use train::unix_time;
