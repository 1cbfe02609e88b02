//! Files that are either whole or not there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tempfile::{NamedTempFile, PersistError, TempDir};

/// Says where something went wrong: `runs/1/metrics.csv: cannot be written`, in front of the cause.
pub trait At<T> {
    /// Names the file or folder, and what cannot be done with it.
    fn at(self, path: &Path, what: &str) -> Result<T>;
}

impl<T, E> At<T> for Result<T, E>
where
    Result<T, E>: Context<T, E>,
{
    fn at(self, path: &Path, what: &str) -> Result<T> {
        self.with_context(|| format!("{}: {what}", path.display()))
    }
}

/// The temporary files that have no other name yet.
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary_files() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files and folders that nobody will finish, for a program that ends at once.
pub fn remove_temporary_files() {
    for path in temporary_files().iter() {
        // Those that have been given up are not there.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// A folder in the system's folder for such.
pub(crate) fn temporary_folder() -> Result<TempDir> {
    let folder = TempDir::new().context("no temporary folder can be made")?;
    temporary_files().insert(folder.path().to_path_buf());
    Ok(folder)
}

/// A new file with a temporary name in the folder of `place`, readable as the user's mask allows.
///
/// # Errors
/// If the folder is not there or cannot be written to.
pub fn temporary_beside(place: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(place);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).at(folder, "cannot be written to")?;
    temporary_files().insert(file.path().to_path_buf());
    Ok(file)
}

/// Writes a file whole or not at all, replacing what had the name.
///
/// # Errors
/// If it cannot be written; what had the name is still there.
pub fn write(place: &Path, text: &str) -> Result<()> {
    let mut file = temporary_beside(place)?;
    file.write_all(text.as_bytes()).at(place, "cannot be written")?;
    persist(file, place)
}

/// Flushes a temporary file and its name to disk, replacing what had the name.
///
/// # Errors
/// If the file cannot be flushed or named; what had the name is still there.
pub fn persist(temporary: NamedTempFile, place: &Path) -> Result<()> {
    keep(temporary, place, |temporary| temporary.persist(place))
}

/// As [`persist`], if nothing has the name yet; else that is the error.
pub fn persist_new(temporary: NamedTempFile, place: &Path) -> Result<()> {
    keep(temporary, place, |temporary| temporary.persist_noclobber(place))
}

fn keep(
    temporary: NamedTempFile,
    place: &Path,
    name: impl FnOnce(NamedTempFile) -> Result<fs::File, PersistError>,
) -> Result<()> {
    let path = temporary.path().to_path_buf();
    let named =
        temporary.as_file().sync_all().and_then(|()| name(temporary).map_err(|error| error.error));
    temporary_files().remove(&path);
    named.and_then(|_| sync(folder_of(place))).at(place, "cannot be written")
}

fn folder_of(place: &Path) -> &Path {
    let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Flushes the names in a folder to disk, where its file system knows of such a thing.
fn sync(folder: &Path) -> io::Result<()> {
    use ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        Err(error) if [InvalidInput, Unsupported, PermissionDenied].contains(&error.kind()) => {
            Ok(())
        }
        synced => synced,
    }
}
