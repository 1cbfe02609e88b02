//! Data sets: described by settings, fetched, prepared, and in memory as tensors.
//!
//! A kind of data set is a file in `sets/` with a [`DataSet`] and an entry in [`DATA_SETS`]. Its
//! published files are found or fetched ([`Files`]) and prepared as a [`Dataset`]. Nothing is
//! printed: callers are told of a [`Progress`].
//!
//! Legend: N samples, n_0 inputs, C outputs, b batch.

mod archive;
mod cache;
mod dataset;
mod directory;
mod download;
mod fetch;
mod file;
mod idx;
mod images;
mod known_file;
mod preparation;
mod prepare;
mod progress;
mod publication;
mod samples;
mod selection;
mod selection_error;
mod set;
mod sets;
mod sources;
mod split;
mod table;
mod translate;
mod validation;

pub use cache::DataCache;
pub use dataset::{Batch, Dataset, Split, TrainingShape};
pub use directory::DataDirectory;
pub use fetch::Files;
pub use file::File;
pub use preparation::{Coding, Column, Inputs, Preparation, Scaling, Targets};
pub use progress::Progress;
pub use publication::{Archive, ArchiveKind, KnownFile, Packing, Publication};
pub use samples::Samples;
pub use selection::DataSelection;
pub use selection_error::SelectionError;
pub use set::{DataSet, Registration};
pub use sets::{
    Cifar10, Csv, CsvFiles, DATA_SETS, Digits, Encoding, FashionMnist, Mnist, Sgemm, WineQuality,
};
pub use table::{Header, TableFormat};
pub use validation::{ValidationSize, ValidationSplit};

pub use crate::native::SharedTensor;

use crate::settings::named;

named! {
    /// What a network is trained for.
    pub enum Task {
        /// The targets are classes.
        Classification = "classification",
        /// The targets are numbers.
        Regression = "regression",
    }
}
