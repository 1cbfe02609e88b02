//! Data sets: described by settings, fetched, prepared, and in memory as tensors.
//!
//! A kind of data set is a file in `sets/` with a [`DataSet`] and a line in [`KnownDataSet`]. Its
//! published files are found or fetched ([`Files`]), read ([`RawDataset`]) and prepared as a
//! [`Dataset`]. Nothing is printed: callers are told of a [`Progress`].
//!
//! Legend: N samples, n_0 inputs, C outputs, b batch.

mod array;
mod dataset;
mod fetch;
mod file;
mod idx;
mod picture;
mod preparation;
mod raw;
mod samples;
mod selection;
mod set;
mod sets;
mod sources;
mod split;
mod table;

pub use dataset::{Batch, Dataset, Split, TrainingShape};
pub use fetch::{DataDirectory, Files, Progress, Report};
pub use file::{File, KnownFile};
pub use preparation::{Coding, Column, Inputs, Preparation, Scaling, Targets};
pub use raw::RawDataset;
pub use samples::{SampleBatch, Samples};
pub use selection::{DataSelection, ValidationSize, ValidationSplit};
pub use set::{About, DataSet};
pub use sets::{
    Cifar10, Color, Csv, CsvFiles, Digits, EachArray, Encoding, FashionMnist, Folder, Impute,
    KnownDataSet, Mnist, Npz, NpzFiles, OneArchive, OneFile, Sgemm, Size, TwoFiles, Unseen,
    WineQuality,
};
pub use sources::{Place, Publication};
pub use table::{Header, TableFormat};

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
