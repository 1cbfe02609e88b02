//! One file of a data set: in memory, found on this machine, taken out of an archive, written in one
//! piece.
//!
//! Content is used only if it has the known hash. A file gets its name when it is complete: it is
//! written under a temporary name in the same folder, checked, and renamed.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::{GzDecoder, MultiGzDecoder};
use sha2::{Digest, Sha256};

use super::{Progress, Report};
use crate::files::{self, At};

/// How many bytes of a decompressed tar archive are read; a member behind them is not found.
const MOST_UNPACKED: u64 = 256 << 20;

/// A file of a data set, as it is after decompression.
#[derive(Debug)]
pub struct KnownFile {
    /// Its name.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content, in lower-case hexadecimal digits.
    pub sha256: &'static str,
}

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
    let opened = BufReader::new(files::open(path)?);
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if compressed { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) })
}

/// Looks for a file, plain or with `.gz`, and checks it; `altered` is told of one that has the name, but
/// another content.
pub(super) fn find(
    folder: &Path,
    file: &KnownFile,
    mut altered: impl FnMut(&Path) -> Result<()>,
) -> Result<Option<File>> {
    for name in [file.name.to_string(), format!("{}.gz", file.name)] {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let reader = open(&path)?;
        let mut bytes = Vec::with_capacity(file.bytes as usize);
        // One byte more than there should be is enough to see that a file is too long.
        match reader.take(file.bytes + 1).read_to_end(&mut bytes) {
            Ok(_) if format!("{:x}", Sha256::digest(&bytes)) == file.sha256 => {
                return Ok(Some(File { origin: path.display().to_string(), bytes }));
            }
            // A broken compression is an alteration, a broken disk is not.
            Err(error) if error.raw_os_error().is_some() => {
                return Err(error).at(&path, "cannot be read");
            }
            _ => altered(&path)?,
        }
    }
    Ok(None)
}

/// A file that is to be written to a folder.
pub(super) struct Wanted<'a> {
    pub file: &'a KnownFile,
    pub folder: &'a Path,
    pub report: Report<'a>,
}

impl Wanted<'_> {
    /// Writes what a reader gives to the file's place.
    ///
    /// # Errors
    /// If the content is not that of the file; nothing is left in the folder.
    pub fn store(&mut self, mut reader: impl Read) -> Result<()> {
        let KnownFile { name, bytes, sha256 } = *self.file;
        let place = self.folder.join(name);
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
            if total > bytes {
                bail!("is longer than the {bytes} bytes it should have");
            }
            hash.update(&buffer[..count]);
            temporary.write_all(&buffer[..count]).at(&place, "cannot be written")?;
            (self.report)(Progress::Transfer { file: name, bytes: total, of: bytes });
        }
        if format!("{:x}", hash.finalize()) != sha256 {
            bail!(
                "is truncated or altered: {total} bytes came, and their SHA-256 is not the known one"
            );
        }
        files::persist(temporary, &place)
    }

    /// Stores the member of an archive that has the file's name, whatever its folder in the archive.
    /// Other members are not unpacked. If the archive's name does not end in `.zip`, it is a tar archive,
    /// compressed by gzip.
    pub fn unpack(&mut self, archive: &Path) -> Result<()> {
        let name = self.file.name;
        let wanted = |path: &Path| path.file_name().is_some_and(|it| it == name);
        let content = BufReader::new(fs::File::open(archive)?);
        if archive.extension().is_some_and(|ending| ending == "zip") {
            let mut zip = zip::ZipArchive::new(content)?;
            for index in 0..zip.len() {
                let entry = zip.by_index(index)?;
                if entry.is_file() && wanted(Path::new(entry.name()?.as_ref())) {
                    return self.store(entry);
                }
            }
        } else {
            let content = GzDecoder::new(content).take(MOST_UNPACKED);
            for entry in tar::Archive::new(content).entries()? {
                let entry = entry?;
                if entry.header().entry_type().is_file() && wanted(&entry.path()?) {
                    return self.store(entry);
                }
            }
        }
        bail!("has no {name}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;

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
        let find = || {
            let mut altered = Vec::new();
            let found = find(folder.path(), &FILE, |path| {
                altered.push(path.to_path_buf());
                Ok(())
            });
            (found.unwrap().is_some(), altered)
        };
        assert_eq!(find(), (true, vec![]));
        fs::write(&compressed, &gzip(CONTENT)[..20]).unwrap();
        assert_eq!(find(), (false, vec![compressed.clone()]));
        fs::write(&plain, b"0123456789x").unwrap();
        assert_eq!(find(), (false, vec![plain.clone(), compressed]));
        fs::write(&plain, CONTENT).unwrap();
        assert_eq!(find(), (true, vec![]));
    }

    fn unpack(archive: &Path, folder: &Path) -> Result<()> {
        Wanted { file: &FILE, folder, report: &mut |_| {} }.unpack(archive)
    }

    /// Appends a member to a tar archive; if it is a link, to a file outside.
    fn append(
        builder: &mut tar::Builder<impl Write>,
        name: &str,
        kind: tar::EntryType,
        content: impl Read,
        size: u64,
    ) {
        let mut header = tar::Header::new_gnu();
        // Not by `set_path`, which refuses to write what others write.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_link_name("/etc/hostname").unwrap();
        header.set_size(size);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    /// An archive with files that are not wanted, a link with the wanted name, and the wanted file,
    /// which claims a place outside the folder.
    fn archive(ending: &str) -> Vec<u8> {
        let wanted = "../../ten-digits";
        let members = [
            ("package/other", &b"x"[..]),
            ("../../outside", b"x"),
            ("/tmp/outside", b"x"),
            (wanted, CONTENT),
        ];
        match ending {
            "tar.gz" => {
                let mut builder = tar::Builder::new(Vec::new());
                append(&mut builder, wanted, tar::EntryType::Symlink, io::empty(), 0);
                for (name, content) in members {
                    let size = content.len() as u64;
                    append(&mut builder, name, tar::EntryType::Regular, content, size);
                }
                gzip(&builder.into_inner().unwrap())
            }
            _ => {
                let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
                for (name, content) in members {
                    writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
                    writer.write_all(content).unwrap();
                }
                writer.finish().unwrap().into_inner()
            }
        }
    }

    #[test]
    fn only_the_wanted_member_of_an_archive_is_stored() {
        for ending in ["tar.gz", "zip"] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join(format!("archive.{ending}"));
            fs::write(&path, archive(ending)).unwrap();
            let around = TempDir::new().unwrap();
            let target = around.path().join("a/b/c");
            fs::create_dir_all(&target).unwrap();
            unpack(&path, &target).unwrap();
            assert_eq!(names(&target), [FILE.name]);
            assert_eq!(fs::read(target.join(FILE.name)).unwrap(), CONTENT);
            assert!(target.join(FILE.name).symlink_metadata().unwrap().is_file());
            assert_eq!(names(around.path()), ["a"]);
            assert_eq!(names(&around.path().join("a")), ["b"]);
            assert!(!Path::new("/tmp/outside").exists());
            fs::write(&path, &archive(ending)[..40]).unwrap();
            unpack(&path, &target).unwrap_err();
        }
    }

    #[test]
    fn archive_is_unpacked_up_to_its_limit() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("archive.tar.gz");
        for (before, is_found) in [(1 << 20, true), (MOST_UNPACKED, false)] {
            let file = fs::File::create(&path).unwrap();
            let mut builder = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
            let kind = tar::EntryType::Regular;
            append(&mut builder, "zeros", kind, io::repeat(0).take(before), before);
            append(&mut builder, FILE.name, kind, CONTENT, CONTENT.len() as u64);
            builder.into_inner().unwrap().finish().unwrap();
            let unpacked = unpack(&path, folder.path());
            assert_eq!(unpacked.is_ok(), is_found, "{unpacked:?}");
        }
    }
}
