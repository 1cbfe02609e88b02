//! 1,797 handwritten digits of 8 x 8 pixels from the UCI repository (Alpaydin & Kaynak 1998, CC BY
//! 4.0), which the program carries.

use std::sync::Arc;

use anyhow::Result;
use serde_yaml::{Mapping, Value};
use tch::{Device, Tensor};

use crate::data::images::Pixels;
use crate::data::{DataSet, Dataset, File, Files, Registration, Scaling, Task, TrainingShape, idx};

/// The small handwritten digits; pixels are in [0, 1].
#[derive(Clone, Debug)]
pub struct Digits;

pub(super) const KIND: Registration = Registration {
    name: "digits",
    summary: "handwritten digits, 8 x 8, 10 classes, 1,438 + 359",
    keys: Vec::new,
    read: |_| Ok(Arc::new(Digits)),
};

impl DataSet for Digits {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn settings(&self) -> Value {
        Value::Mapping(Mapping::new())
    }

    /// Every fifth sample is a test sample.
    fn prepare(&self, _: &Files, device: Device) -> Result<Dataset> {
        let images = include_bytes!("../digits/images-idx3-ubyte.gz");
        let images = idx::images(&File::embedded("digits (images)", images)?)?;
        let labels = include_bytes!("../digits/labels-idx1-ubyte.gz");
        let labels = idx::labels(&File::embedded("digits (labels)", labels)?, CLASSES)?;
        let pixels = Pixels { shape: [1, 8, 8], largest: 16.0, scaling: vec![Scaling::NONE] };
        let all = pixels.split(&images, &labels, CLASSES, device);
        let part = |is_test: bool| {
            let positions: Vec<i64> =
                (0..all.len()).filter(|position| (position % 5 == 4) == is_test).collect();
            all.select(&Tensor::from_slice(&positions))
        };
        let classes = (0..CLASSES).map(|class| class.to_string()).collect();
        Ok(pixels.dataset(self.name(), classes, part(false), part(true)))
    }

    fn not_standardized(&self) -> Arc<dyn DataSet> {
        Arc::new(Digits)
    }

    fn training_shape(&self) -> Option<TrainingShape> {
        let outputs = i64::from(CLASSES);
        Some(TrainingShape { samples: 1_438, outputs, image: Some([1, 8, 8]) })
    }
}

const CLASSES: u8 = 10;
