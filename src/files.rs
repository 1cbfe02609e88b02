//! Files that are either whole or not there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tempfile::{NamedTempFile, PersistError};

/// The temporary files that have no other name yet.
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary_files() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files that nobody will finish, for a program that ends at once.
pub fn remove_temporary_files() {
    for path in temporary_files().iter() {
        let _ = fs::remove_file(path); // is not there if it has been given up
    }
}

/// A new file with a temporary name in the folder of `place`, readable as the user's mask allows.
pub fn temporary_beside(place: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(place);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = builder
        .tempfile_in(folder)
        .with_context(|| format!("{}: cannot be written to", folder.display()))?;
    temporary_files().insert(file.path().to_path_buf());
    Ok(file)
}

/// Flushes a temporary file to disk and gives it its name, replacing what had it. When this returns, the
/// file would outlive a power cut.
pub fn persist(temporary: NamedTempFile, place: &Path) -> Result<()> {
    keep(temporary, place, |temporary| temporary.persist(place))
}

/// As [`persist`], if nothing has the name yet.
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
    named
        .and_then(|_| sync(folder_of(place)))
        .with_context(|| format!("{}: cannot be written", place.display()))
}

fn folder_of(place: &Path) -> &Path {
    let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Flushes the names in a folder to disk.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}
