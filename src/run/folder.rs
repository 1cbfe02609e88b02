//! The folder of a run, which one process at a time may write to.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::state::Run;
use crate::device;
use crate::files::{self, At};
use crate::messages::counted;
use crate::model;

/// A run's folder, locked until the value is dropped or the process ends, however it does.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::assemble::DataFrom;
/// use f3_tch::config::{Config, Source};
/// use f3_tch::data::{DataDirectory, Progress};
/// use f3_tch::run::{Folder, Run};
/// use f3_tch::tch::Device;
///
/// let (config, _) = Config::read(&Source::open("digits")?)?;
/// let data = config.data.set.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})?;
/// let folder = Folder::numbered("runs/digits")?; // runs/digits/001, or the next free number
/// Run::new(&config, data)?.train_in(&folder, &mut ())?;
///
/// let (directory, report) = (DataDirectory::locate(None), &mut |_: Progress| {});
/// let data = DataFrom::Files(&directory, report);
/// let mut longer = Run::resume(&folder, Some(200), data, &mut ())?; // up to epoch 200
/// longer.train_in(&folder, &mut ())?;
/// # Ok(())
/// # }
/// ```
pub struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    /// A folder for a new run: it is made, or is empty but for hidden files.
    pub fn create(path: impl Into<PathBuf>) -> Result<Folder> {
        let path = path.into();
        fs::create_dir_all(&path).at(&path, "cannot be created")?;
        check_is_empty(&path)?;
        let folder = Folder::lock(path)?;
        check_is_empty(&folder.path)?; // somebody may have been faster
        Ok(folder)
    }

    /// A folder for a new run, with the next number: 001, 002, …
    pub fn numbered(parent: impl AsRef<Path>) -> Result<Folder> {
        let parent = parent.as_ref();
        fs::create_dir_all(parent).at(parent, "cannot be created")?;
        let entries = fs::read_dir(parent).at(parent, "cannot be read")?;
        let last =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).max();
        for number in u64::from(last.unwrap_or(0)) + 1.. {
            let path = parent.join(format!("{number:03}"));
            match fs::create_dir(&path) {
                // Another run has just taken this number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => {
                    created.at(&path, "cannot be created")?;
                    return Folder::create(path);
                }
            }
        }
        bail!("{}: holds too many runs", parent.display())
    }

    /// The folder of a run that is there. What a process that was killed had not finished writing is
    /// removed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Folder> {
        let folder = Folder::lock(path.into())?;
        folder.remove_unfinished()?;
        Ok(folder)
    }

    /// The folder of a run that may be there or not; it is made if it is not. None if another process is
    /// training there.
    pub fn take(path: impl Into<PathBuf>) -> Result<Option<Folder>> {
        let path = path.into();
        fs::create_dir_all(&path).at(&path, "cannot be created")?;
        let Some(folder) = Folder::try_lock(path)? else { return Ok(None) };
        folder.remove_unfinished()?;
        Ok(Some(folder))
    }

    /// Whether a process is training in a folder.
    pub fn is_locked(path: &Path) -> bool {
        let lock = files::open(&path.join(".lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The configuration of the run in a folder; fails if there is none.
    pub fn config_of(path: &Path) -> Result<PathBuf> {
        let (place, shown) = (path.join("config.yaml"), path.display());
        if !place.is_file() {
            bail!("{shown}: is no folder of a run, since it has no config.yaml");
        }
        Ok(place)
    }

    /// Takes the folder, which exists, for this value.
    fn lock(path: PathBuf) -> Result<Folder> {
        let shown = path.display().to_string();
        let folder = Folder::try_lock(path)?;
        folder.with_context(|| format!("{shown}: another process is training there"))
    }

    fn try_lock(path: PathBuf) -> Result<Option<Folder>> {
        let place = path.join(".lock");
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        }
        let lock = match options.open(&place) {
            Err(_) if place.is_symlink() => {
                bail!("{}: is a link; it must be a file of the folder's own", place.display())
            }
            opened => opened.at(&path, "cannot be written to")?,
        };
        // Somebody may only be looking whether it is locked.
        for _ in 0..3 {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(Folder { path, lock })),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(error)) => {
                    return Err(error).at(&place, "cannot be locked");
                }
            }
        }
        Ok(None)
    }

    fn remove_unfinished(&self) -> Result<()> {
        for folder in [self.path.clone(), self.checkpoints()] {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if files::is_temporary(&entry.file_name()) {
                    fs::remove_file(entry.path()).at(&entry.path(), "cannot be removed")?;
                }
            }
        }
        Ok(())
    }

    /// Removes what a run has left that cannot be continued; hidden files stay.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path).at(&self.path, "cannot be read")?.flatten() {
            let path = entry.path();
            if !starts_with(&entry, ".") {
                let removed = match path.is_dir() {
                    true => fs::remove_dir_all(&path),
                    false => fs::remove_file(&path),
                };
                removed.at(&path, "cannot be removed")?;
            }
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Whether there are results of epochs of training, or a network without results.
    pub fn has_results(&self) -> bool {
        match files::read_to_string(&self.path.join("metrics.csv")) {
            Ok(text) => text.lines().count() > 2, // the header, and epoch 0
            Err(_) => model::of(&self.path).exists(),
        }
    }

    /// Fails once the folder has been removed or moved, even if another one is in its place.
    pub(crate) fn check(&self) -> Result<()> {
        let place = self.path.join(".lock");
        fs::metadata(&place).at(&self.path, "has been removed or moved, its .lock is not there")?;
        match files::is_at(&self.lock, &place) {
            true => Ok(()),
            false => {
                let path = self.path.display();
                bail!("{path}: has been moved, and another folder is in its place")
            }
        }
    }

    /// Writes `config.yaml`, if the run has a configuration: whole or not at all.
    pub(crate) fn write_config(&self, run: &Run) -> Result<()> {
        let Some(config) = &run.config else { return Ok(()) };
        let text = format!(
            "# f3-tch {}, libtorch {}, on {} with {}\n{}",
            crate::VERSION,
            crate::libtorch_version(),
            device::name(run.data.train.inputs.device()),
            counted(run.settings.thread_count(), "thread"),
            config.yaml
        );
        files::write(&self.path.join("config.yaml"), &text)
    }
}

fn check_is_empty(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).at(folder, "cannot be read")?;
    if !entries.flatten().all(|entry| starts_with(&entry, ".")) {
        bail!(
            "{0}: is not empty; a new run needs a new folder (`f3-tch resume {0}` continues the run that \
             is there)",
            folder.display()
        );
    }
    Ok(())
}

fn starts_with(entry: &DirEntry, start: &str) -> bool {
    entry.file_name().to_str().is_some_and(|name| name.starts_with(start))
}
