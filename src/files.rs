//! Files that are either whole or not there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use tempfile::{NamedTempFile, PersistError, TempDir};

/// That a file is not what was written: it was cut off, or has changed. What is told apart from it is a
/// file that is whole and cannot be used.
#[derive(Debug)]
pub(crate) struct Damage(pub String);

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Damage {}

impl Damage {
    /// Whether it is the cause of an error.
    pub fn caused(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| cause.is::<Damage>())
    }
}

/// Returns with [`Damage`] as the error.
macro_rules! damage {
    ($($text:tt)*) => { return Err($crate::files::Damage(format!($($text)*)).into()) };
}
pub(crate) use damage;

/// Opens a file for reading.
///
/// # Errors
/// If it cannot be opened. A pipe would let its reader wait for somebody to write, and is refused, unless
/// it is one that a shell hands over (`/dev/stdin`, `<(…)`).
pub(crate) fn open(place: &Path) -> Result<fs::File> {
    let mut options = fs::File::options();
    options.read(true);
    #[cfg(unix)]
    if !place.starts_with("/dev") && !place.starts_with("/proc") {
        use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
        options.custom_flags(libc::O_NONBLOCK); // nothing to a file
        let file = options.open(place).at(place, "cannot be opened")?;
        if file.metadata().at(place, "cannot be read")?.file_type().is_fifo() {
            bail!("{}: is a pipe; a file is needed", place.display());
        }
        return Ok(file);
    }
    options.open(place).at(place, "cannot be opened")
}

/// The text of a file.
///
/// # Errors
/// If it cannot be opened, is a pipe, or is no text in UTF-8.
pub fn read_to_string(place: &Path) -> Result<String> {
    io::read_to_string(open(place)?).at(place, "cannot be read")
}

/// The bytes of a file.
///
/// # Errors
/// If it cannot be opened or is a pipe.
pub fn read(place: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut open(place)?, &mut bytes).at(place, "cannot be read")?;
    Ok(bytes)
}

/// Whether an error comes of a file that is not there.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
}

/// Says where something went wrong: `runs/1/metrics.csv: cannot be written`, in front of the cause.
pub trait At<T> {
    /// Names the file or folder, and what cannot be done with it.
    fn at(self, path: &Path, what: &str) -> Result<T>;
}

impl<T, E> At<T> for Result<T, E>
where
    Result<T, E>: Context<T, E>,
{
    fn at(self, path: &Path, what: &str) -> Result<T> {
        self.with_context(|| format!("{}: {what}", path.display()))
    }
}

/// Around the random part of a temporary file's name, so that nobody's own files are taken for one.
const TEMPORARY_NAME: [&str; 2] = [".f3-tch-", ".tmp"];

/// Whether a file's name is one of [`temporary_beside`].
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    let [start, end] = TEMPORARY_NAME;
    let random = name.to_str().and_then(|name| name.strip_prefix(start)?.strip_suffix(end));
    random.is_some_and(|random| random.len() == 6 && random.chars().all(|it| it.is_alphanumeric()))
}

/// The temporary files that have no other name yet.
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary_files() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files and folders that nobody will finish, for a program that ends at once.
pub fn remove_temporary_files() {
    for path in temporary_files().iter() {
        // Those that have been given up are not there.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// A folder in the system's folder for such.
pub(crate) fn temporary_folder() -> Result<TempDir> {
    let folder = TempDir::new().context("no temporary folder can be made")?;
    temporary_files().insert(folder.path().to_path_buf());
    Ok(folder)
}

/// A new file with a temporary name in the folder of `place`, readable as the user's mask allows.
///
/// # Errors
/// If the folder is not there or cannot be written to.
pub fn temporary_beside(place: &Path) -> Result<NamedTempFile> {
    let folder = folder_of(place);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_NAME[0]).suffix(TEMPORARY_NAME[1]).rand_bytes(6);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let made = builder.tempfile_in(folder).map_err(|error| {
        let text = error.to_string();
        let reason = text.split_once(" at path ").map_or(&*text, |(reason, _)| reason); // no random name
        io::Error::new(error.kind(), reason.to_string())
    });
    let file = made.at(folder, "cannot be written to")?;
    temporary_files().insert(file.path().to_path_buf());
    Ok(file)
}

/// Writes a file whole or not at all, replacing what had the name.
///
/// # Errors
/// If it cannot be written; what had the name is still there.
pub fn write(place: &Path, text: &str) -> Result<()> {
    let mut file = temporary_beside(place)?;
    file.write_all(text.as_bytes()).at(place, "cannot be written")?;
    persist(file, place)
}

/// Writes a file whole or not at all, and over nothing.
///
/// # Errors
/// If it cannot be written, or something has the name.
pub fn write_new(place: &Path, bytes: &[u8]) -> Result<()> {
    refuse_existing(place)?;
    let mut file = temporary_beside(place)?;
    file.write_all(bytes).at(place, "cannot be written")?;
    persist_new(file, place)
}

/// Refuses a name that something has.
pub fn refuse_existing(place: &Path) -> Result<()> {
    if place.symlink_metadata().is_ok() {
        bail!("{}: exists already; name another file", place.display());
    }
    Ok(())
}

/// Flushes a temporary file and its name to disk, replacing what had the name.
///
/// # Errors
/// If the file cannot be flushed or named; what had the name is still there.
pub fn persist(temporary: NamedTempFile, place: &Path) -> Result<()> {
    keep(temporary, place, |temporary| temporary.persist(place))
}

/// As [`persist`], if nothing has the name yet; else that is the error.
pub fn persist_new(temporary: NamedTempFile, place: &Path) -> Result<()> {
    keep(temporary, place, |temporary| temporary.persist_noclobber(place))
}

fn keep(
    temporary: NamedTempFile,
    place: &Path,
    name: impl FnOnce(NamedTempFile) -> Result<fs::File, PersistError>,
) -> Result<()> {
    let path = temporary.path().to_path_buf();
    let named =
        temporary.as_file().sync_all().and_then(|()| name(temporary).map_err(|error| error.error));
    temporary_files().remove(&path);
    named.and_then(|_| sync(folder_of(place))).at(place, "cannot be written")
}

/// Gives a file another name, replacing what had it: as a link where the file system has such, else as a
/// copy. Whoever writes to one of them by [`persist`] does not change the other.
pub(crate) fn link(file: &Path, place: &Path) -> Result<()> {
    let temporary = temporary_beside(place)?;
    let path = temporary.path().to_path_buf();
    let linked = fs::remove_file(&path).and_then(|()| fs::hard_link(file, &path));
    if linked.is_ok() {
        return persist(temporary, place);
    }
    let mut copy = temporary_beside(place)?;
    let copied = fs::File::open(file).and_then(|mut file| io::copy(&mut file, &mut copy));
    copied.at(place, "cannot be written")?;
    persist(copy, place)
}

/// Gives a file whose data others have too, by a link of either kind, data of its own: who writes to it
/// from then on changes nothing elsewhere.
///
/// # Errors
/// If it cannot be read, or the copy cannot be written.
pub(crate) fn unshare(place: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(place) else { return Ok(()) };
    #[cfg(unix)]
    let names = std::os::unix::fs::MetadataExt::nlink(&found);
    #[cfg(not(unix))]
    let names = 1;
    if !found.is_symlink() && !found.is_file() {
        bail!("{}: is no file", place.display());
    }
    if !found.is_symlink() && names == 1 {
        return Ok(());
    }
    let mut copy = temporary_beside(place)?;
    match open(place) {
        Err(error) if is_not_found(&error) => {} // a link to nothing
        original => {
            io::copy(&mut original?, &mut copy).at(place, "cannot be copied")?;
        }
    }
    persist(copy, place)
}

/// Whether an open file is the one that has this name.
pub(crate) fn is_at(file: &fs::File, place: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(place)) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    }
    #[cfg(not(unix))]
    {
        open.len() == named.len()
    }
}

fn folder_of(place: &Path) -> &Path {
    let folder = place.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Flushes the names in a folder to disk, where its file system knows of such a thing.
fn sync(folder: &Path) -> io::Result<()> {
    use ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        Err(error) if [InvalidInput, Unsupported, PermissionDenied].contains(&error.kind()) => {
            Ok(())
        }
        synced => synced,
    }
}
