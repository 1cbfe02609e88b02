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
pub static DATA_SETS: &[Registration] = &[
    mnist::KIND,
    fashion_mnist::KIND,
    digits::KIND,
    cifar10::KIND,
    wine_quality::KIND,
    sgemm::KIND,
    csv::KIND,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_set_is_found_under_its_name() {
        for registration in DATA_SETS {
            let Some(set) = registration.default() else { continue };
            assert_eq!(set.name(), registration.name);
            assert!(set.training_shape().is_some(), "{}", set.name());
            let keys = serde_yaml::to_value(&*set).unwrap();
            assert_eq!(keys["name"], registration.name);
            let raw = serde_yaml::to_value(&*set.not_standardized()).unwrap();
            assert_eq!(raw.get("standardize").is_some(), keys.get("standardize").is_some());
            assert_ne!(raw.get("standardize"), Some(&true.into()), "{}", set.name());
        }
    }
}
