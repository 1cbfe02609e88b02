//! The sweeps that the program carries: the figures of the paper.

macro_rules! carried {
    ($($name:literal)*) => {
        const CARRIED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../sweeps/", $name, ".yaml")))),*];
    };
}

// The files of `sweeps/` that are figures of the paper, in the order in which they are listed.
carried! {
    "fig2_mnist" "fig2_sgemm" "fig2_wine" "fig3_error_info" "fig3_feedback" "fig4_depth" "fig4_vit"
    "tables"
}

/// The text of a sweep that the program carries.
pub fn carried(name: &str) -> Option<&'static str> {
    CARRIED.iter().find(|(carried, _)| *carried == name).map(|(_, text)| *text)
}

/// Their names.
pub fn carried_names() -> impl Iterator<Item = &'static str> {
    CARRIED.iter().map(|(name, _)| *name)
}
