//! Archives of published files, of which one file is taken.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Result, bail};
use flate2::read::GzDecoder;

use super::known_file::store;
use super::{ArchiveKind, KnownFile, Progress};

/// How many bytes of a decompressed tar archive are read; a member behind them is not found.
const MOST_UNPACKED: u64 = 256 << 20;

/// Stores the member of an archive that has the file's name, whatever its folder in the archive.
/// Other members are not unpacked.
pub(super) fn unpack(
    archive: &Path,
    kind: ArchiveKind,
    file: &KnownFile,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let wanted = |path: &Path| path.file_name().is_some_and(|name| name == file.name);
    let content = BufReader::new(File::open(archive)?);
    match kind {
        ArchiveKind::TarGz => {
            let content = GzDecoder::new(content).take(MOST_UNPACKED);
            for entry in tar::Archive::new(content).entries()? {
                let mut entry = entry?;
                if entry.header().entry_type().is_file() && wanted(&entry.path()?) {
                    return store(&mut entry, file, folder, progress);
                }
            }
        }
        ArchiveKind::Zip => {
            let mut zip = zip::ZipArchive::new(content)?;
            for index in 0..zip.len() {
                let mut entry = zip.by_index(index)?;
                if entry.is_file() && wanted(Path::new(entry.name()?.as_ref())) {
                    return store(&mut entry, file, folder, progress);
                }
            }
        }
    }
    bail!("has no {}", file.name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Write};

    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::super::known_file::tests::{CONTENT, FILE, gzip, names};
    use super::*;

    /// An archive with files that are not wanted, a link with the wanted name, and the wanted file,
    /// which claims a place outside the folder.
    fn archive(kind: ArchiveKind) -> Vec<u8> {
        let wanted = "../../ten-digits";
        let members = [
            ("package/other", &b"x"[..]),
            ("../../outside", b"x"),
            ("/tmp/outside", b"x"),
            (wanted, CONTENT),
        ];
        match kind {
            ArchiveKind::TarGz => {
                let mut builder = tar::Builder::new(Vec::new());
                let mut append = |name: &str, kind: tar::EntryType, content: &[u8]| {
                    let mut header = tar::Header::new_gnu();
                    // Not by `set_path`, which refuses to write what others write.
                    header.as_gnu_mut().unwrap().name[..name.len()]
                        .copy_from_slice(name.as_bytes());
                    header.set_entry_type(kind);
                    header.set_size(content.len() as u64);
                    if kind.is_symlink() {
                        header.set_link_name("/etc/hostname").unwrap();
                    }
                    header.set_cksum();
                    builder.append(&header, content).unwrap();
                };
                append(wanted, tar::EntryType::Symlink, b"");
                for (name, content) in members {
                    append(name, tar::EntryType::Regular, content);
                }
                gzip(&builder.into_inner().unwrap())
            }
            ArchiveKind::Zip => {
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
        for kind in [ArchiveKind::TarGz, ArchiveKind::Zip] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("archive");
            fs::write(&path, archive(kind)).unwrap();
            let around = TempDir::new().unwrap();
            let target = around.path().join("a/b/c");
            fs::create_dir_all(&target).unwrap();
            unpack(&path, kind, &FILE, &target, &mut |_| {}).unwrap();
            assert_eq!(names(&target), [FILE.name]);
            assert_eq!(fs::read(target.join(FILE.name)).unwrap(), CONTENT);
            assert!(target.join(FILE.name).symlink_metadata().unwrap().is_file());
            assert_eq!(names(around.path()), ["a"]);
            assert_eq!(names(&around.path().join("a")), ["b"]);
            assert!(!Path::new("/tmp/outside").exists());
            fs::write(&path, &archive(kind)[..40]).unwrap();
            unpack(&path, kind, &FILE, &target, &mut |_| {}).unwrap_err();
        }
    }

    #[test]
    fn archive_is_unpacked_up_to_its_limit() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("archive");
        for (before, is_found) in [(1 << 20, true), (MOST_UNPACKED, false)] {
            let mut header = tar::Header::new_gnu();
            header.set_path("zeros").unwrap();
            header.set_size(before);
            header.set_cksum();
            let file = File::create(&path).unwrap();
            let mut builder = tar::Builder::new(GzEncoder::new(file, flate2::Compression::fast()));
            builder.append(&header, io::repeat(0).take(before)).unwrap();
            header.set_path(FILE.name).unwrap();
            header.set_size(CONTENT.len() as u64);
            header.set_cksum();
            builder.append(&header, CONTENT).unwrap();
            builder.into_inner().unwrap().finish().unwrap();
            let unpacked = unpack(&path, ArchiveKind::TarGz, &FILE, folder.path(), &mut |_| {});
            assert_eq!(unpacked.is_ok(), is_found, "{unpacked:?}");
        }
    }
}
