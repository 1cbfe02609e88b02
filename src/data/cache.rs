//! Data sets in memory that many runs share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tch::Device;

use super::{DataDirectory, DataSelection, Dataset, Report};

/// Loads data sets, and gives runs that ask for the same one the same memory.
///
/// Threads may ask at the same time: one of them loads, the others wait. Whatever has been loaded
/// stays in memory as long as the cache; changes of files are not noticed.
pub struct DataCache {
    directory: DataDirectory,
    entries: Mutex<Vec<(DataSelection, Device, Loaded)>>,
}

/// A data set, once it has been loaded.
type Loaded = Arc<Mutex<Option<Arc<Dataset>>>>;

impl DataCache {
    /// A cache of data sets in a directory; nothing is loaded yet.
    pub fn new(directory: DataDirectory) -> DataCache {
        DataCache { directory, entries: Mutex::default() }
    }

    /// The data set on a device, loaded if nobody has asked for it yet.
    ///
    /// # Errors
    /// If it cannot be loaded; asking again tries again.
    pub fn load(
        &self,
        selection: &DataSelection,
        device: Device,
        report: Report,
    ) -> Result<Arc<Dataset>> {
        let loaded = {
            let mut entries = lock(&self.entries);
            let mut known = entries.iter();
            match known.find(|(known, place, _)| known == selection && *place == device) {
                Some((_, _, loaded)) => loaded.clone(),
                None => {
                    let loaded = Loaded::default();
                    entries.push((selection.clone(), device, loaded.clone()));
                    loaded
                }
            }
        };
        let mut loaded = lock(&loaded);
        match &*loaded {
            Some(data) => Ok(data.clone()),
            None => Ok(loaded.insert(selection.load(&self.directory, device, report)?).clone()),
        }
    }
}

/// A thread that panicked while it loaded has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{About, DataSet, Digits, Files};
    use super::*;

    /// The digits; counts how often they have been loaded, and cannot be loaded the first time.
    #[derive(Clone, Debug, Default)]
    struct Counted(Arc<AtomicUsize>);

    impl DataSet for Counted {
        fn about(&self) -> About {
            About::new("counted", &())
        }

        fn prepare(&self, files: &Files, standardize: bool, device: Device) -> Result<Dataset> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                anyhow::bail!("the first time");
            }
            Digits.prepare(files, standardize, device)
        }
    }

    #[test]
    fn runs_that_ask_at_once_share_what_is_loaded_once() {
        let set = Counted::default();
        let of = |train_samples| {
            let set = Arc::new(set.clone());
            DataSelection { set, train_samples, validation: None }
        };
        let cache = DataCache::new(DataDirectory::locate(None));
        let load = |selection: &DataSelection| cache.load(selection, Device::Cpu, &mut |_| {});
        assert!(load(&of(None)).is_err());
        let loaded: Vec<Arc<Dataset>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| load(&of(None)).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(loaded.iter().all(|data| Arc::ptr_eq(data, &loaded[0])));
        assert_eq!(set.0.load(Ordering::SeqCst), 2, "once, after the failure");
        assert_eq!(load(&of(Some(10))).unwrap().train.len(), 10);
        assert_eq!(set.0.load(Ordering::SeqCst), 3, "another part of it is loaded by itself");
    }
}
