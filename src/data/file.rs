//! A file of a data set in memory.

use std::fs;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::{GzDecoder, MultiGzDecoder};

/// A file's content, and where it came from.
pub struct File {
    /// Its path or name, for messages.
    pub origin: String,
    /// Its decompressed content.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file that is compiled into the program, compressed by gzip.
    pub(crate) fn embedded(name: &str, compressed: &[u8]) -> Result<File> {
        let mut bytes = Vec::new();
        GzDecoder::new(compressed)
            .read_to_end(&mut bytes)
            .with_context(|| format!("{name}: cannot be decompressed"))?;
        Ok(File { origin: name.to_string(), bytes })
    }
}

/// Opens a file for reading, decompressing it if its name ends in `.gz`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let opened = fs::File::open(path)
        .map(BufReader::new)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if compressed { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) })
}
