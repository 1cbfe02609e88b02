//! The files of a data set, found where they lie, or brought there.
//!
//! No byte is used that does not have the known hash, and no file has its name before it is whole:
//! it is written under a temporary name in the same folder, checked, and renamed.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::catalog::KnownFile;
use super::file::{File, open};
use super::sources::Sources;
use super::{DataDirectory, DatasetName};
use crate::files;
use crate::messages::say;

/// The files of a data set, all there.
pub struct Fetched {
    folder: PathBuf,
    contents: Vec<(&'static str, File)>,
    /// How many files were not there before.
    pub new_files: usize,
}

impl Fetched {
    /// Where the files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checked content of a file.
    pub(super) fn content(&self, name: &str) -> &File {
        let found = self.contents.iter().find(|(known, _)| *known == name);
        &found.expect("asked for by a name in the catalog").1
    }
}

/// Sees to it that the files of a data set are there, getting those that are missing.
///
/// A file that is there, but has not the known hash, is set aside with `.altered` at the end of
/// its name.
pub fn fetch(dataset: DatasetName, directory: &DataDirectory) -> Result<Fetched> {
    let mut fetched = Fetched { folder: directory.of(dataset), contents: Vec::new(), new_files: 0 };
    let Some(publication) = dataset.publication() else {
        return Ok(fetched);
    };
    let folder = fetched.folder.clone();
    let mut sources = Sources::new(publication, &folder);
    for file in publication.files {
        let mut found = find(&folder, file)?;
        while let Found::Altered(path) = &found {
            let aside = set_aside(path)?;
            say(format_args!(
                "{}: is truncated or altered (its SHA-256 is not that of {dataset}); set aside \
                 as {}",
                path.display(),
                aside.display()
            ));
            found = find(&folder, file)?;
        }
        if let Found::Nothing = found {
            fs::create_dir_all(&folder)
                .with_context(|| format!("{}: cannot be created", folder.display()))?;
            sources
                .get(file)
                .with_context(|| format!("{dataset}: `{}` could not be fetched", file.name))?;
            fetched.new_files += 1;
            found = find(&folder, file)?;
        }
        let Found::Good(path, bytes) = found else {
            bail!("{}: was altered by another program", folder.join(file.name).display());
        };
        let origin = path.display().to_string();
        fetched.contents.push((file.name, File { origin, bytes }));
    }
    Ok(fetched)
}

pub(super) enum Found {
    Good(PathBuf, Vec<u8>),
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

/// Writes what is read to the file's place, if it is what it should be.
pub(super) fn store(reader: &mut dyn Read, file: &KnownFile, folder: &Path) -> Result<()> {
    let place = folder.join(file.name);
    let mut temporary = files::temporary_beside(&place)?;
    let bar = ProgressBar::new(file.bytes).with_message(file.name);
    bar.set_style(
        ProgressStyle::with_template("{msg:25} {bar:40} {bytes:>10} of {total_bytes}")
            .expect("the template is valid"),
    );
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
        bar.set_position(total);
    }
    bar.finish_and_clear();
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
