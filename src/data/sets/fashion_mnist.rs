//! Fashion-MNIST: 70,000 pieces of clothing of 28 x 28 pixels (Xiao et al. 2017).

use std::sync::Arc;

use anyhow::Result;
use serde_yaml::Value;
use tch::Device;

use super::mnist;
use crate::data::set::mapping;
use crate::data::{
    DataSet, Dataset, Files, KnownFile, Packing, Publication, Registration, Task, TrainingShape,
};
use crate::settings::domain::truth;
use crate::settings::section;

section! {
    /// Fashion-MNIST.
    pub struct FashionMnist {
        /// Whether inputs and numeric targets are scaled to mean 0 and standard deviation 1.
        ///
        /// Both are those of the training set. With `false`, images are in [0, 1].
        standardize: bool = true, truth();
    }
}

pub(super) const KIND: Registration = Registration {
    name: "fashion_mnist",
    summary: "clothing, 28 x 28, 10 classes, 60,000 + 10,000",
    keys: FashionMnist::keys,
    read: |reader| Ok(Arc::new(FashionMnist::read_keys(reader)?)),
};

impl DataSet for FashionMnist {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn settings(&self) -> Value {
        mapping(self)
    }

    fn prepare(&self, files: &Files, device: Device) -> Result<Dataset> {
        let classes = CLASSES.map(String::from).to_vec();
        mnist::prepare(self.name(), classes, files, self.standardize, device)
    }

    fn not_standardized(&self) -> Arc<dyn DataSet> {
        Arc::new(FashionMnist { standardize: false })
    }

    fn training_shape(&self) -> Option<TrainingShape> {
        Some(mnist::SHAPE)
    }

    fn publication(&self) -> Option<&'static Publication> {
        Some(&PUBLICATION)
    }
}

const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

static PUBLICATION: Publication = Publication {
    files: &[
        KnownFile {
            name: "train-images-idx3-ubyte",
            bytes: 47_040_016,
            sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        },
        KnownFile {
            name: "train-labels-idx1-ubyte",
            bytes: 60_008,
            sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        },
        KnownFile {
            name: "t10k-images-idx3-ubyte",
            bytes: 7_840_016,
            sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        },
        KnownFile {
            name: "t10k-labels-idx1-ubyte",
            bytes: 10_008,
            sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ],
    packing: Packing::Gzip,
    mirrors: &[
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
    npm_package: None,
    system_folder: Some(("/usr/share/datasets/fashion-mnist", "apt install dataset-fashion-mnist")),
};
