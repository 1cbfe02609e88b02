//! The folder of a run, which one process at a time may write to.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use f3_tch::config::Config;
use f3_tch::device::ChosenDevice;
use f3_tch::files;
use f3_tch::layers::Layers;
use f3_tch::model;
use f3_tch::sinks::{EpochRow, Sink};

/// A run's folder, locked until the value is dropped or the process ends, however it does.
#[derive(Clone)]
pub struct RunFolder {
    path: PathBuf,
    lock: Arc<File>,
}

/// The first of a run's sinks: lets nothing be written once the folder has been removed or moved, and
/// maybe another one is in its place.
impl Sink for RunFolder {
    fn epoch(&mut self, _row: &EpochRow, _layers: &Layers) -> Result<()> {
        let (place, path) = (self.path.join(".lock"), self.path.display());
        let found = fs::metadata(&place).with_context(|| {
            format!("{path}: has been removed or moved, its .lock is not there")
        })?;
        let locked = self.lock.metadata().with_context(|| place.display().to_string())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            if (found.dev(), found.ino()) != (locked.dev(), locked.ino()) {
                bail!("{path}: has been moved, and another folder is in its place");
            }
        }
        Ok(())
    }

    fn replay(&mut self, _rows: &[EpochRow], _layers: &Layers) -> Result<()> {
        Ok(())
    }
}

impl RunFolder {
    /// Takes the folder, which exists, for this process.
    pub fn lock(path: PathBuf) -> Result<RunFolder> {
        let place = path.join(".lock");
        let lock = File::create(&place)
            .with_context(|| format!("{}: cannot be written to", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(RunFolder { path, lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => {
                bail!("{}: another process is training there", path.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{}: cannot be locked", place.display()))
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Whether there are results of epochs of training, or a network without results.
    pub fn has_results(&self) -> bool {
        match fs::read_to_string(self.path.join("metrics.csv")) {
            Ok(text) => text.lines().count() > 2, // the header, and epoch 0
            Err(_) => model::of(&self.path).exists(),
        }
    }

    /// Removes what a process that was killed had not finished writing.
    pub fn tidy(&self) -> Result<()> {
        for folder in [self.path.clone(), self.checkpoints()] {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| name.starts_with(".tmp")) {
                    fs::remove_file(entry.path()).with_context(|| {
                        format!("{}: cannot be removed", entry.path().display())
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Writes `config.yaml`, whole or not at all.
    pub fn write_config(&self, config: &Config, device: &ChosenDevice) -> Result<()> {
        let place = self.path.join("config.yaml");
        let mut file = files::temporary_beside(&place)?;
        let text = format!(
            "# f3-tch {}, libtorch {}, on {} with {} threads\n{}",
            f3_tch::VERSION,
            f3_tch::libtorch_version(),
            device.name,
            tch::get_num_threads(),
            config.to_yaml()
        );
        file.write_all(text.as_bytes())
            .with_context(|| format!("{}: cannot be written", place.display()))?;
        files::persist(file, &place)
    }
}
