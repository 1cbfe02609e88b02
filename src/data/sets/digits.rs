//! 1,797 handwritten digits of 8 x 8 pixels from the UCI repository (Alpaydin & Kaynak 1998, CC BY
//! 4.0), which the program carries.

use anyhow::Result;
use tch::{Device, Tensor};

use super::mnist::DIGITS;
use crate::data::{About, DataSet, Dataset, File, Files, Scaling, TrainingShape, idx, prepare};
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
    fn prepare(&self, _: &Files, _: bool, device: Device) -> Result<Dataset> {
        let images = include_bytes!("../digits/images-idx3-ubyte.gz");
        let images = idx::images(&File::embedded("digits (images)", images)?)?;
        let labels = include_bytes!("../digits/labels-idx1-ubyte.gz");
        let labels = idx::labels(&File::embedded("digits (labels)", labels)?, 10)?;
        let parts = [false, true].map(|is_test| {
            let positions = (0..images.size()[0]).filter(|position| (position % 5 == 4) == is_test);
            let positions = Tensor::from_slice(&positions.collect::<Vec<_>>());
            (images.index_select(0, &positions), labels.index_select(0, &positions))
        });
        let scaling = vec![Scaling::NONE];
        Ok(prepare::images(NAME, &DIGITS, ([1, 8, 8], 16.0, scaling), parts, device))
    }
}
