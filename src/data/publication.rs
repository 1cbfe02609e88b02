//! Where the files of a data set are published, and how one knows that they are the right ones.

/// Where a data set comes from.
#[derive(Debug)]
pub struct Publication {
    /// Its files.
    pub files: &'static [KnownFile],
    /// How the mirrors hold them.
    pub packing: Packing,
    /// Addresses of folders, to which the name of the file (or of the archive) is appended.
    pub mirrors: &'static [&'static str],
    /// An npm package, with its version, that contains the files.
    pub npm_package: Option<&'static str>,
    /// Where a system package puts the files, and the command that installs it.
    pub system_folder: Option<(&'static str, &'static str)>,
}

/// A file of a data set, as it is after decompression.
#[derive(Debug)]
pub struct KnownFile {
    /// Its name.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content, in lower-case hexadecimal digits.
    pub sha256: &'static str,
}

/// How a mirror holds the files.
#[derive(Clone, Copy, Debug)]
pub enum Packing {
    /// As they are.
    Plain,
    /// Each one compressed, with `.gz` at the end of its name.
    Gzip,
    /// All in one archive.
    Archive(Archive),
}

/// One file that contains others.
#[derive(Clone, Copy, Debug)]
pub struct Archive {
    /// Its name.
    pub name: &'static str,
    /// Its format.
    pub kind: ArchiveKind,
    /// The most that is downloaded.
    pub most_bytes: u64,
}

/// The format of an archive.
#[derive(Clone, Copy, Debug)]
pub enum ArchiveKind {
    /// ZIP.
    Zip,
    /// A tar archive, compressed by gzip.
    TarGz,
}
