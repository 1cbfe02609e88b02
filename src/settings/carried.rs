//! The configurations that the program carries.

macro_rules! carried {
    ($($name:literal)*) => {
        /// Their names and texts.
        pub(super) const CARRIED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../configs/", $name, ".yaml")))),*];
    };
}

// Every file of `configs/`, in the order in which they are listed.
carried! {
    "mnist" "mnist_bp" "mnist_dfa" "mnist_drtp" "mnist_llo" "mnist_pepita" "mnist_cnn" "mnist_vit"
    "mnist_predicted"
    "fashion_mnist" "digits" "cifar10"
    "wine_quality" "wine_quality_bp" "wine_quality_classes" "wine_quality_dfa" "wine_quality_drtp"
    "wine_quality_llo"
    "sgemm" "sgemm_bp" "sgemm_dfa" "sgemm_drtp" "sgemm_llo" "sgemm_predicted"
    "census_income" "kddcup99" "susy"
}

/// Their names.
pub fn names() -> Vec<&'static str> {
    CARRIED.iter().map(|(name, _)| *name).collect()
}
