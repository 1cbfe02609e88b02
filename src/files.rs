//! Files that are either whole or not there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// A new file with a temporary name in the folder of `place`, readable as the user's mask allows.
pub(crate) fn temporary_beside(place: &Path) -> Result<NamedTempFile> {
    let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
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

/// Flushes a temporary file to disk and gives it its name, replacing what had it.
pub(crate) fn persist(temporary: NamedTempFile, place: &Path) -> Result<()> {
    temporary
        .as_file()
        .sync_all()
        .and_then(|()| temporary.persist(place).map_err(|error| error.error))
        .with_context(|| format!("{}: cannot be written", place.display()))?;
    Ok(())
}
