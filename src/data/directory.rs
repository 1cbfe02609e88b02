//! Where data sets lie on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

/// The folder that holds a folder for each data set.
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

    /// The folder of one data set.
    pub(super) fn of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where a file of the user's own is: at this path, or at this path below the directory.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn find(&self, path: &Path) -> Result<PathBuf> {
        let below = self.0.join(path);
        let found = [path, &below].into_iter().find(|path| path.is_file());
        found.map(Path::to_path_buf).ok_or_else(|| {
            let folder = self.0.display();
            anyhow!("{}: no such file, neither here nor in {folder}", path.display())
        })
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
