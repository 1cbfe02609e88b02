//! The rows of a run's epochs beside its checkpoints: a file that only grows, so that a checkpoint does
//! not have to hold them all.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::history::EpochRow;
use crate::files::{self, At, damage};
use crate::settings::parse_own_yaml;

/// The name of the file.
const NAME: &str = "rows.yaml";

/// How much of the file a checkpoint means: what is behind it may be of later epochs, or of a run that was
/// cut off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    bytes: u64,
    crc: u32,
}

/// The rows in the folder of a run's checkpoints, as they are written.
pub(super) struct Rows {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    count: usize, // rows
    crc: Crc,
    bytes: u64,
}

impl Rows {
    pub fn new(folder: &Path) -> Rows {
        Rows { path: folder.join(NAME), open: None }
    }

    /// Makes the file begin with these rows; they are on disk when this returns. They are those of the last
    /// call and further ones, or the process has just begun or gone back.
    pub fn write(&mut self, rows: &[EpochRow]) -> Result<Part> {
        let goes_on =
            |open: &Open| open.count <= rows.len() && files::is_at(&open.file, &self.path);
        let mut open = match self.open.take().filter(goes_on) {
            Some(open) => open,
            None => self.start(rows)?,
        };
        let text = yaml(&rows[open.count..])?;
        if !text.is_empty() {
            let written = open.file.write_all(text.as_bytes());
            written.and_then(|()| open.file.sync_data()).at(&self.path, "cannot be written")?;
            open.crc.update(text.as_bytes());
            open.bytes += text.len() as u64;
            open.count = rows.len();
        }
        let part = Part { bytes: open.bytes, crc: open.crc.sum() };
        self.open = Some(open);
        Ok(part)
    }

    /// The file with these rows and no others. Those of an earlier process that are the same stay where
    /// they are, for the checkpoints that mean them.
    fn start(&self, rows: &[EpochRow]) -> Result<Open> {
        let text = yaml(rows)?;
        let there = match files::read(&self.path) {
            Err(error) if files::is_not_found(&error) => Vec::new(),
            there => there?,
        };
        if there.is_empty() || !there.starts_with(text.as_bytes()) {
            files::write(&self.path, &text)?;
        }
        files::unshare(&self.path)?;
        let bytes = text.len() as u64;
        let opened = File::options().write(true).open(&self.path).and_then(|mut file| {
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        });
        let file = opened.at(&self.path, "cannot be written")?;
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        Ok(Open { file, count: rows.len(), crc, bytes })
    }
}

/// The rows that a checkpoint of this folder means.
///
/// # Errors
/// If they are not there or have changed.
pub(super) fn read(folder: &Path, part: Part) -> Result<Vec<EpochRow>> {
    let path = folder.join(NAME);
    let mut bytes = Vec::new();
    match files::open(&path) {
        Err(error) if files::is_not_found(&error) && part.bytes == 0 => {}
        Err(error) if files::is_not_found(&error) => {
            damage!("{}: is not there; it has the results of the epochs so far", path.display())
        }
        file => {
            let read = file?.take(part.bytes).read_to_end(&mut bytes);
            read.at(&path, "cannot be read")?;
        }
    }
    let mut crc = Crc::new();
    crc.update(&bytes);
    if bytes.len() as u64 != part.bytes || crc.sum() != part.crc {
        damage!("{}: has changed since it was written", path.display());
    }
    let text = std::str::from_utf8(&bytes).at(&path, "cannot be read")?;
    match text.is_empty() {
        true => Ok(Vec::new()),
        false => parse_own_yaml(text).at(&path, "cannot be read"),
    }
}

/// Lists of one, one behind the other, are a list.
fn yaml(rows: &[EpochRow]) -> Result<String> {
    let texts = rows.iter().map(|row| serde_yaml::to_string(&[row]));
    texts.collect::<Result<String, _>>().context("a row cannot be written as YAML")
}
