//! The files of a data set, complete and checked: those on this machine, and those fetched to it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::file::{File, Wanted, find};
use super::sources::{Publication, Sources};
use crate::files::At;

/// Who is told of the progress: `&mut |progress| …`.
pub type Report<'a> = &'a mut dyn FnMut(Progress);

/// What happens while files are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A line of text: where a file is fetched from, or what a person should know of the data.
    Note(&'a str),
    /// A file is being written. When all of its bytes are there, its hash is still to be checked.
    Transfer {
        /// The file's name.
        file: &'a str,
        /// How many bytes are there.
        bytes: u64,
        /// How many bytes it has when complete.
        of: u64,
    },
    /// Many equal pieces of work.
    Work {
        /// What is done.
        what: &'a str,
        /// How many pieces are done.
        done: u64,
        /// How many there are.
        of: u64,
    },
}

/// The folder that holds a folder for each data set.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::data::{DataDirectory, DataSet, Mnist};
/// use f3_tch::tch::Device;
///
/// let directory = DataDirectory::locate(None); // $F3_DATA_DIR, the checkout's data/, the user's cache
/// let mnist = Mnist { standardize: true };
/// let data = mnist.load(&directory, Device::Cpu, &mut |progress| eprintln!("{progress:?}"))?;
/// assert_eq!(data.train.inputs.size(), [60_000, 784]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DataDirectory(PathBuf);

impl DataDirectory {
    /// The first of these that applies: the folder given, the one that `F3_DATA_DIR` names, `data/` in
    /// the checkout that the program lies in, the user's cache directory. It need not exist.
    pub fn locate(given: Option<&Path>) -> DataDirectory {
        let from_environment = || std::env::var_os("F3_DATA_DIR").filter(|dir| !dir.is_empty());
        let path = given
            .map(Path::to_path_buf)
            .or_else(|| from_environment().map(PathBuf::from))
            .or_else(|| Some(checkout()?.join("data")))
            .or_else(|| Some(dirs::cache_dir()?.join("f3-tch")))
            .unwrap_or_else(|| PathBuf::from("data"));
        DataDirectory(path)
    }

    /// The folder of what belongs to the data sets of this name.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where a folder of the user's own is, as [`DataDirectory::find`] finds files.
    pub(super) fn find_folder(&self, path: &Path) -> Result<PathBuf> {
        self.find_where(path, Path::is_dir, "folder")
    }

    /// Where a file of the user's own is: at this path, or at this path below the directory.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn find(&self, path: &Path) -> Result<PathBuf> {
        self.find_where(path, Path::is_file, "file")
    }

    fn find_where(&self, path: &Path, is: fn(&Path) -> bool, what: &str) -> Result<PathBuf> {
        let places = [path.to_path_buf(), self.0.join(path)];
        if let Some(found) = places.iter().find(|path| is(path)) {
            return Ok(found.clone());
        }
        if let Some(other) = places.iter().find(|path| path.exists()) {
            bail!("{}: is no {what}", other.display());
        }
        bail!(
            "{}: no such {what}, neither here nor beside the configuration nor in {}",
            path.display(),
            self.0.display()
        )
    }
}

/// The checkout that this program lies in, if it lies in one.
fn checkout() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let is_checkout = |folder: &&Path| {
        folder.join("Cargo.toml").is_file() && folder.join("configs/mnist.yaml").is_file()
    };
    program.ancestors().find(is_checkout).map(Path::to_path_buf)
}

/// The files that a data set is prepared from.
pub struct Files {
    /// Where files of the user's own can be found, too.
    pub directory: DataDirectory,
    /// The folder of the published files.
    pub folder: PathBuf,
    /// The contents of the published files, checked, in the publication's order.
    pub contents: Vec<File>,
    /// How many published files were missing and have been fetched.
    pub new_files: usize,
}

/// Gets hold of the published files of the data set of this name, fetching those that are missing.
///
/// A file whose hash is wrong stays as it is: it may be the user's own. It is an error, unless a good one
/// stands beside it.
pub(super) fn fetch(
    name: &str,
    publication: Option<&'static Publication>,
    directory: &DataDirectory,
    report: Report,
) -> Result<Files> {
    let folder = directory.folder(name);
    let mut contents = Vec::new();
    let mut new_files = 0;
    if let Some(publication) = publication {
        let mut sources = Sources::new(publication);
        for file in publication.files {
            let mut wanted = Wanted { file, folder: &folder, report };
            let mut altered = Vec::new();
            let mut found = find(&folder, file, |path| {
                altered.push(path.to_path_buf());
                Ok(())
            })?;
            if let (None, [path, ..]) = (&found, &*altered) {
                bail!(
                    "{}: is truncated or altered (its SHA-256 is not that of {name}); rename or delete it, \
                     and it is fetched anew",
                    path.display()
                );
            }
            let place = folder.join(file.name);
            if found.is_none() && fs::symlink_metadata(&place).is_ok() {
                bail!(
                    "{}: is a folder, or a link to what is not there; move it away, and the file is fetched",
                    place.display()
                );
            }
            if found.is_none() {
                fs::create_dir_all(&folder).at(&folder, "cannot be created")?;
                let fetched = sources.get(&mut wanted);
                fetched.with_context(|| format!("{name}: `{}` could not be fetched", file.name))?;
                new_files += 1;
                found = find(&folder, file, |_| Ok(()))?;
            }
            contents.push(found.with_context(|| {
                format!("{}: was altered by another program", folder.join(file.name).display())
            })?);
        }
    }
    Ok(Files { directory: directory.clone(), folder, contents, new_files })
}
