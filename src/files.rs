//! Files that are either whole or not there.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::{NamedTempFile, PersistError};

/// A new file with a temporary name in the folder of `place`, readable as the user's mask allows.
pub fn temporary_beside(place: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(place);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
        .tempfile_in(folder)
        .with_context(|| format!("{}: cannot be written to", folder.display()))
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
    temporary
        .as_file()
        .sync_all()
        .and_then(|()| name(temporary).map_err(|error| error.error))
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
