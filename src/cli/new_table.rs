//! A table of results that is written whole or not at all, and over nothing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use f3_tch::files::{self, At};
use tempfile::NamedTempFile;

/// A table that has no name yet.
pub struct NewTable {
    path: PathBuf,
    writer: csv::Writer<NamedTempFile>,
}

impl NewTable {
    /// Refuses a name that something has.
    pub fn check(path: &Path) -> Result<()> {
        if path.exists() {
            bail!("{}: exists already; name another file", path.display());
        }
        Ok(())
    }

    /// Starts a table, to be called so in the end.
    pub fn start(path: &Path) -> Result<NewTable> {
        let writer = csv::Writer::from_writer(files::temporary_beside(path)?);
        Ok(NewTable { path: path.to_path_buf(), writer })
    }

    /// Appends a row.
    pub fn write<T: AsRef<[u8]>>(&mut self, row: impl IntoIterator<Item = T>) -> Result<()> {
        self.writer.write_record(row).at(&self.path, "cannot be written")
    }

    /// Gives the table its name.
    pub fn finish(self) -> Result<()> {
        let file = self.writer.into_inner().map_err(|error| error.into_error());
        files::persist_new(file.at(&self.path, "cannot be written")?, &self.path)
    }
}
