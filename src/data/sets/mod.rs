//! The data sets: a file for each format.

/// Declares a data set whose only key is `standardize`, and its registration.
macro_rules! standardized {
    ($(#[doc = $doc:literal])* $type:ident, $kind:ident, $name:literal, $summary:literal) => {
        $crate::settings::section! {
            $(#[doc = $doc])*
            pub struct $type {
                /// Whether inputs and numeric targets are scaled to mean 0 and standard deviation 1.
                ///
                /// Both are those of the training set. With `false`, images are in [0, 1].
                standardize: bool = true, $crate::settings::domain::truth();
            }
        }

        pub(super) const $kind: $crate::data::Registration = $crate::data::Registration {
            name: $name,
            summary: $summary,
            keys: $type::keys,
            read: |reader| Ok(std::sync::Arc::new($type::read_keys(reader)?)),
        };
    };
}

mod cifar10;
mod csv;
mod digits;
mod mnist;
mod sgemm;
mod wine_quality;

pub use cifar10::Cifar10;
pub use csv::{Csv, CsvFiles, Encoding};
pub use digits::Digits;
pub use mnist::{FashionMnist, Mnist};
pub use sgemm::Sgemm;
pub use wine_quality::WineQuality;

use super::Registration;

/// All kinds of data sets, in the order in which they are listed.
pub static DATA_SETS: &[Registration] = &[
    mnist::KIND,
    mnist::FASHION,
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
            let about = set.about();
            assert_eq!(about.name, registration.name);
            assert!(about.training_shape.is_some(), "{}", about.name);
            let keys = serde_yaml::to_value(&*set).unwrap();
            assert_eq!(keys["name"], registration.name);
            let standardize = keys.get("standardize").is_some_and(|it| *it == true);
            assert_eq!(standardize, about.standardize, "{}", about.name);
        }
    }
}
