//! One published file on this machine: found, checked, or written in one piece.
//!
//! Content is used only if it has the known hash. A file gets its name when it is complete: it is
//! written under a temporary name in the same folder, checked, and renamed.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::file::open;
use super::{KnownFile, Progress};
use crate::files;

/// What was found in a folder.
pub(super) enum Found {
    /// The file and its content.
    Good(PathBuf, Vec<u8>),
    /// A file of this name with another content.
    Altered(PathBuf),
    Nothing,
}

/// Looks for a file, plain or with `.gz`, and checks it.
pub(super) fn find(folder: &Path, file: &KnownFile) -> Result<Found> {
    for name in [file.name.to_string(), format!("{}.gz", file.name)] {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let reader = open(&path)?;
        let mut bytes = Vec::with_capacity(file.bytes as usize);
        // One byte more than there should be is enough to see that a file is too long.
        match reader.take(file.bytes + 1).read_to_end(&mut bytes) {
            Ok(_) if hex(&Sha256::digest(&bytes)) == file.sha256 => {
                return Ok(Found::Good(path, bytes));
            }
            // A broken compression is an alteration, a broken disk is not.
            Err(error) if error.raw_os_error().is_some() => {
                return Err(error).with_context(|| format!("{}: cannot be read", path.display()));
            }
            _ => return Ok(Found::Altered(path)),
        }
    }
    Ok(Found::Nothing)
}

/// Renames a file, with `.altered` at the end.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".altered");
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)
        .with_context(|| format!("{}: is altered and cannot be renamed", path.display()))?;
    Ok(aside)
}

/// Writes what a reader gives to the file's place in a folder.
///
/// # Errors
/// If the content is not that of the file; nothing is left in the folder.
pub(super) fn store(
    reader: &mut dyn Read,
    file: &KnownFile,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let place = folder.join(file.name);
    let mut temporary = files::temporary_beside(&place)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer).context("the transfer broke off")?;
        if count == 0 {
            break;
        }
        total += count as u64;
        if total > file.bytes {
            bail!("is longer than the {} bytes it should have", file.bytes);
        }
        hash.update(&buffer[..count]);
        temporary
            .write_all(&buffer[..count])
            .with_context(|| format!("{}: cannot be written", place.display()))?;
        progress(Progress::Transfer { file: file.name, bytes: total, of: file.bytes });
    }
    if hex(&hash.finalize()) != file.sha256 {
        bail!(
            "is truncated or altered: {total} bytes came, and their SHA-256 is not the known one"
        );
    }
    files::persist(temporary, &place)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    pub const CONTENT: &[u8] = b"0123456789";
    pub static FILE: KnownFile = KnownFile {
        name: "ten-digits",
        bytes: 10,
        sha256: "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
    };

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn altered_file_is_found_out_plain_and_compressed() {
        let folder = TempDir::new().unwrap();
        let plain = folder.path().join(FILE.name);
        let compressed = folder.path().join(format!("{}.gz", FILE.name));
        fs::write(&compressed, gzip(CONTENT)).unwrap();
        assert!(matches!(find(folder.path(), &FILE), Ok(Found::Good(..))));
        fs::write(&compressed, &gzip(CONTENT)[..20]).unwrap();
        assert!(matches!(find(folder.path(), &FILE), Ok(Found::Altered(_))));
        fs::write(&plain, b"0123456789x").unwrap();
        assert!(matches!(find(folder.path(), &FILE), Ok(Found::Altered(_))));
        fs::write(&plain, CONTENT).unwrap();
        assert!(matches!(find(folder.path(), &FILE), Ok(Found::Good(..))));
    }
}
