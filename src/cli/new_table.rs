//! A table of results that is written whole or not at all, and over nothing; or to standard output.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use f3_tch::files::{self, At};
use tempfile::NamedTempFile;

use super::{print, written};

/// A table that has no name yet.
pub struct NewTable {
    path: PathBuf,
    writer: csv::Writer<Place>,
}

enum Place {
    File(NamedTempFile),
    /// Standard output, which gets the table in one piece.
    Output(File),
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Place::File(file) => file.write(bytes),
            Place::Output(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Place::File(file) => file.flush(),
            Place::Output(output) => output.flush(),
        }
    }
}

impl NewTable {
    /// Whether a path stands for standard output.
    pub fn is_output(path: &Path) -> bool {
        path.as_os_str() == "-"
    }

    /// Refuses a name that something has.
    pub fn check(path: &Path) -> Result<()> {
        if NewTable::is_output(path) { Ok(()) } else { files::refuse_existing(path) }
    }

    /// Starts a table, to be called so in the end.
    pub fn start(path: &Path) -> Result<NewTable> {
        let place = match NewTable::is_output(path) {
            true => Place::Output(tempfile::tempfile().context("no temporary file can be made")?),
            false => Place::File(files::temporary_beside(path)?),
        };
        Ok(NewTable { path: path.to_path_buf(), writer: csv::Writer::from_writer(place) })
    }

    /// Appends a row.
    pub fn write<T: AsRef<[u8]>>(&mut self, row: impl IntoIterator<Item = T>) -> Result<()> {
        self.writer.write_record(row).at(&self.path, "cannot be written")
    }

    /// Gives the table its name.
    pub fn finish(self) -> Result<()> {
        let place = self.writer.into_inner().map_err(|error| error.into_error());
        match place.at(&self.path, "cannot be written")? {
            Place::File(file) => files::persist_new(file, &self.path),
            Place::Output(mut table) => {
                table.rewind().context("the table cannot be read back")?;
                if stdout().is_terminal() {
                    // There, cells of others' tables may not be commands.
                    return print(
                        &io::read_to_string(table).context("the table cannot be read back")?,
                    );
                }
                let mut output = stdout().lock();
                written(io::copy(&mut table, &mut output).and_then(|_| output.flush()))
            }
        }
    }
}
