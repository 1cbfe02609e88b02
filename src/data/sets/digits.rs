//! 1,797 handwritten digits of 8 x 8 pixels from the UCI repository (Alpaydin & Kaynak 1998, CC BY
//! 4.0), which the program carries.

use anyhow::Result;

use crate::data::{
    About, DataSet, File, Files, Inputs, RawDataset, Report, Scaling, Targets, TrainingShape, idx,
};
use crate::settings::section;

section! {
    /// The small handwritten digits; pixels are in [0, 1].
    pub struct Digits {}
}

const NAME: &str = "digits";

impl DataSet for Digits {
    fn about(&self) -> About {
        let shape = TrainingShape { samples: 1_438, outputs: 10, image: Some([1, 8, 8]) };
        About { training_shape: Some(shape), ..About::new(NAME) }
    }

    /// Every fifth sample is a test sample.
    fn read(&self, _: &Files, _: Report) -> Result<RawDataset> {
        let images = include_bytes!("../digits/images-idx3-ubyte.gz");
        let labels = include_bytes!("../digits/labels-idx1-ubyte.gz");
        let images = File::embedded("digits (images)", images)?;
        let all = idx::samples(&images, &File::embedded("digits (labels)", labels)?)?;
        let parts = [false, true].map(|is_test| {
            let positions = (0..all.len()).filter(|position| (position % 5 == 4) == is_test);
            all.select(&positions.collect::<Vec<_>>())
        });
        let scaling = vec![Scaling::NONE];
        let inputs = Inputs::image([1, 8, 8], 16.0, scaling);
        Ok(RawDataset::new(NAME, inputs, Targets::classes(0..10), parts))
    }
}
