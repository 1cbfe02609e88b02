//! The folder of a run, which one process at a time may write to.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use f3_tch::config::Config;
use f3_tch::device::ChosenDevice;
use f3_tch::files;

/// A run's folder, locked until the value is dropped or the process ends, however it does.
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Takes the folder, which exists, for this process.
    pub fn lock(path: PathBuf) -> Result<RunFolder> {
        let place = path.join(".lock");
        let lock = File::create(&place)
            .with_context(|| format!("{}: cannot be written to", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(RunFolder { path, _lock: lock }),
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

    /// How many epochs of training `metrics.csv` has.
    pub fn epochs_in_metrics(&self) -> usize {
        let text = fs::read_to_string(self.path.join("metrics.csv")).unwrap_or_default();
        text.lines().count().saturating_sub(2) // the header, and epoch 0
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
