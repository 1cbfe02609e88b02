//! Files that come over the network: from a mirror by HTTPS, or through npm.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use tempfile::{NamedTempFile, TempDir};

use super::known_file::store;
use super::{Archive, KnownFile, Progress};
use crate::files;

/// A client that speaks HTTPS only and gives up on a server that does not answer.
pub(super) fn agent() -> ureq::Agent {
    let tls =
        ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    ureq::Agent::config_builder()
        .https_only(true)
        .tls_config(tls)
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(600)))
        .build()
        .into()
}

/// Downloads a file, decompressing it if the address ends in `.gz`, and stores it.
pub(super) fn download(
    agent: &ureq::Agent,
    address: &str,
    file: &KnownFile,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    progress(Progress::Note(&format!("fetching {address}")));
    let mut response = agent.get(address).call().with_context(|| address.to_string())?;
    let body = response.body_mut().as_reader();
    let stored = match address.ends_with(".gz") {
        true => store(&mut GzDecoder::new(body), file, folder, progress),
        false => store(&mut { body }, file, folder, progress),
    };
    stored.with_context(|| address.to_string())
}

/// Downloads an archive to a temporary file.
pub(super) fn download_archive(
    agent: &ureq::Agent,
    address: &str,
    archive: Archive,
    progress: &mut dyn FnMut(Progress),
) -> Result<NamedTempFile> {
    progress(Progress::Note(&format!("fetching {address}")));
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
pub(super) fn npm_pack(
    package: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<(TempDir, PathBuf)> {
    let folder = files::temporary_folder()?;
    progress(Progress::Note(&format!("fetching the npm package {package}")));
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::super::ArchiveKind;
    use super::super::known_file::tests::{CONTENT, FILE, gzip, names};
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
        let body = gzip(CONTENT);
        for (body, ending) in [(body, ".gz"), (CONTENT.to_vec(), "")] {
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
            };
            download(&agent, &address, &FILE, folder.path(), &mut progress).unwrap();
            assert_eq!((notes, transferred), (vec![format!("fetching {address}")], 10));
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
            let error = download(&agent, &address, &FILE, folder.path(), &mut |_| {}).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
            assert!(names(folder.path()).is_empty());
        }
    }

    #[test]
    fn archive_is_downloaded_up_to_its_limit() {
        let description = Archive { name: "a.zip", kind: ArchiveKind::Zip, most_bytes: 1000 };
        let agent = ureq::Agent::new_with_defaults();
        let body = vec![7; 900];
        let fetched = download_archive(
            &agent,
            &serve_once(body.clone(), body.len()),
            description,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(fs::read(fetched.path()).unwrap(), body);
        let oversized = vec![0; 5000];
        let error =
            download_archive(&agent, &serve_once(oversized, 5000), description, &mut |_| {});
        assert!(error.unwrap_err().to_string().contains("longer than the 1000 bytes"));
    }
}
