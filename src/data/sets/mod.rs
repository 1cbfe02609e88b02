//! The data sets: a file for each format.

/// Declares a data set with the key `standardize` behind its other keys.
macro_rules! standardized {
    ($(#[doc = $doc:literal])* pub struct $type:ident $(=> $check:ident)? { $($keys:tt)* }) => {
        $crate::settings::section! {
            $(#[doc = $doc])*
            pub struct $type $(=> $check)? {
                $($keys)*
                /// Whether inputs and numeric targets are scaled to mean 0 and standard deviation 1.
                ///
                /// Both are those of the training set. With `false`, images are in [0, 1].
                standardize: bool = true, $crate::settings::domain::truth();
            }
        }
    };
}

mod cifar10;
mod csv;
mod digits;
mod fashion_mnist;
mod folder;
mod mnist;
mod npz;
mod sgemm;
mod wine_quality;

pub use cifar10::Cifar10;
pub use csv::{Csv, CsvFiles, Encoding, Impute, OneFile, TwoFiles, Unseen};
pub use digits::Digits;
pub use fashion_mnist::FashionMnist;
pub use folder::{Color, Folder, Size};
pub use mnist::Mnist;
pub use npz::{EachArray, Npz, NpzFiles, OneArchive};
pub use sgemm::Sgemm;
pub use wine_quality::WineQuality;

use super::DataSet;
use crate::settings::{Name, Source, section};

section! {
    /// The data set.
    pub enum KnownDataSet: DataSet {
        /// handwritten digits, 28 x 28, 10 classes, 60,000 + 10,000
        Mnist = "mnist" (Mnist),
        /// clothing, 28 x 28, 10 classes, 60,000 + 10,000
        FashionMnist = "fashion_mnist" (FashionMnist),
        /// handwritten digits, 8 x 8, 10 classes, 1,438 + 359
        Digits = "digits" (Digits),
        /// colour photographs, 32 x 32, 10 classes, 50,000 + 10,000
        Cifar10 = "cifar10" (Cifar10),
        /// 12 measurements of a wine, quality 0 to 10, 5,197 + 1,300
        WineQuality = "wine_quality" (WineQuality),
        /// 14 settings of a GPU kernel, run time, 773,120 + 193,280
        Sgemm = "sgemm" (Sgemm),
        /// tables of your own
        Csv = "csv" (Csv),
        /// pictures of your own, a folder for each class
        Folder = "folder" (Folder),
        /// arrays of your own, from NumPy
        Npz = "npz" (Npz),
    }
}

impl KnownDataSet {
    /// Those that need no settings, with these left at their defaults.
    pub fn all() -> impl Iterator<Item = (Name, KnownDataSet)> {
        KnownDataSet::NAMES.iter().filter_map(|(name, summary)| {
            let source = Source::parse("a data set", &format!("name: {name}")).ok()?;
            Some(((*name, *summary), source.peek(&[], KnownDataSet::read_keys)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_set_is_found_under_its_name() {
        for ((name, _), set) in KnownDataSet::all() {
            let about = set.about();
            assert_eq!(about.name, name);
            assert!(about.training_shape.is_some(), "{name}");
            let keys = serde_yaml::to_value(&set).unwrap();
            assert_eq!(keys["name"], name);
        }
        assert_eq!(
            KnownDataSet::all().count(),
            KnownDataSet::NAMES.len() - 3,
            "all but those of your own"
        );
    }
}
