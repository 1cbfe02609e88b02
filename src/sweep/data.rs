//! The data sets of a sweep: each is loaded once, and shared by the runs that use it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, anyhow};

use super::plan::PlannedRun;
use crate::assemble::shared_data;
use crate::config::{Config, ConfigError, Source};
use crate::data::{DataDirectory, Dataset, Progress};
use crate::messages::text_of;

/// Data sets by the name that their runs have for them.
pub(super) struct DataSets<'a> {
    directory: &'a DataDirectory,
    slots: HashMap<&'a str, Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    users: usize, // runs that have not been trained yet
    data: Option<Result<Arc<Dataset>, Cause>>,
}

/// Why there are no data: they cannot be had, or the configuration asks for what they do not have.
#[derive(Clone)]
enum Cause {
    Missing(String),
    Refused(String),
}

impl<'a> DataSets<'a> {
    /// The data sets of these runs; nothing is loaded.
    pub fn of(runs: &[&'a PlannedRun], directory: &'a DataDirectory) -> DataSets<'a> {
        let mut slots: HashMap<&str, Mutex<Slot>> = HashMap::new();
        for run in runs {
            lock(slots.entry(&run.data).or_default()).users += 1;
        }
        DataSets { directory, slots }
    }

    /// The data of a run. Who comes first loads them, the others wait.
    ///
    /// # Errors
    /// If they cannot be had; all runs with these data get the same error.
    pub fn get(
        &self,
        run: &PlannedRun,
        config: &Config,
        source: &Source,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Arc<Dataset>> {
        let mut slot = lock(&self.slots[run.data.as_str()]);
        if slot.data.is_none() {
            let loaded = shared_data(config, source, self.directory, progress);
            slot.data = Some(loaded.map(|(data, _)| data).map_err(Cause::of));
        }
        let data = slot.data.as_ref().expect("it has just been put there");
        data.clone().map_err(|cause| match cause {
            Cause::Missing(text) => anyhow!(text),
            Cause::Refused(text) => ConfigError(text).into(),
        })
    }

    /// A run is over: data that no further run needs are dropped.
    pub fn done(&self, run: &PlannedRun) {
        let mut slot = lock(&self.slots[run.data.as_str()]);
        slot.users -= 1;
        if slot.users == 0 {
            slot.data = None;
        }
    }
}

impl Cause {
    fn of(error: anyhow::Error) -> Cause {
        match error.downcast::<ConfigError>() {
            Ok(ConfigError(text)) => Cause::Refused(text),
            Err(error) => Cause::Missing(text_of(&error)),
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
