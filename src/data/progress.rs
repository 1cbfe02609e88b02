//! What happens while the files of a data set are fetched, told to the caller.

/// Something that the caller may want to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A line of text: where a file is fetched from, or that a damaged one was set aside.
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
}
