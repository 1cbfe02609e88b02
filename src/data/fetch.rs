//! The files of a data set, complete and checked: those on this machine, and those fetched to it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::file::File;
use super::known_file::{Found, find, set_aside};
use super::sources::Sources;
use super::{DataDirectory, Progress, Publication};

/// The files that a data set is prepared from.
pub struct Files {
    directory: DataDirectory,
    folder: PathBuf,
    contents: Vec<(&'static str, File)>,
    /// How many published files were missing and have been fetched.
    pub new_files: usize,
}

impl Files {
    /// The folder of the published files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checked content of a published file.
    ///
    /// # Panics
    /// If the publication does not list it.
    pub fn content(&self, name: &str) -> &File {
        let found = self.contents.iter().find(|(known, _)| *known == name);
        &found.expect("the publication lists every file that is asked for").1
    }

    /// Where a file of the user's own is: at this path, or at this path below the data directory.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn locate(&self, path: &Path) -> Result<PathBuf> {
        self.directory.locate_file(path)
    }
}

/// Gets hold of the published files of the data set of this name, fetching those that are missing.
///
/// A file whose hash is wrong is set aside: it is renamed, with `.altered` at the end.
pub(super) fn fetch(
    name: &str,
    publication: Option<&'static Publication>,
    directory: &DataDirectory,
    progress: &mut dyn FnMut(Progress),
) -> Result<Files> {
    let folder = directory.of(name);
    let mut files = Files {
        directory: directory.clone(),
        folder: folder.clone(),
        contents: Vec::new(),
        new_files: 0,
    };
    let Some(publication) = publication else {
        return Ok(files);
    };
    let mut sources = Sources::new(publication, &folder);
    for file in publication.files {
        let mut found = find(&folder, file)?;
        while let Found::Altered(path) = &found {
            let aside = set_aside(path)?;
            progress(Progress::Note(&format!(
                "{}: is truncated or altered (its SHA-256 is not that of {name}); set aside as {}",
                path.display(),
                aside.display()
            )));
            found = find(&folder, file)?;
        }
        if let Found::Nothing = found {
            fs::create_dir_all(&folder)
                .with_context(|| format!("{}: cannot be created", folder.display()))?;
            sources
                .get(file, progress)
                .with_context(|| format!("{name}: `{}` could not be fetched", file.name))?;
            files.new_files += 1;
            found = find(&folder, file)?;
        }
        let Found::Good(path, bytes) = found else {
            bail!("{}: was altered by another program", folder.join(file.name).display());
        };
        let origin = path.display().to_string();
        files.contents.push((file.name, File { origin, bytes }));
    }
    Ok(files)
}
