//! The data sets: one file for each.

mod cifar10;
mod csv;
mod digits;
mod fashion_mnist;
mod mnist;
mod sgemm;
mod wine_quality;

pub use cifar10::Cifar10;
pub use csv::{Csv, CsvFiles, Encoding};
pub use digits::Digits;
pub use fashion_mnist::FashionMnist;
pub use mnist::Mnist;
pub use sgemm::Sgemm;
pub use wine_quality::WineQuality;

use super::Registration;

/// All kinds of data sets, in the order in which they are listed.
pub static DATA_SETS: [&Registration; 7] = [
    &mnist::REGISTRATION,
    &fashion_mnist::REGISTRATION,
    &digits::REGISTRATION,
    &cifar10::REGISTRATION,
    &wine_quality::REGISTRATION,
    &sgemm::REGISTRATION,
    &csv::REGISTRATION,
];
