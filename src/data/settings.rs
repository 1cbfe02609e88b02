//! What a configuration says about the data set: which one, and how it is prepared.

use anyhow::Result;
use serde::Serialize;
use tch::Device;

use super::csv_files::{self, CsvSettings};
use super::preparation::Preparation;
use super::table::{Header, TableFormat};
use super::translate::translate;
use super::{DataDirectory, Dataset, DatasetName, Task, fetch, images, uci};

/// A data set and its preparation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum DataSettings {
    /// Handwritten digits.
    Mnist {
        /// Whether pixels have mean 0 and deviation 1, or are in [0, 1].
        standardize: bool,
    },
    /// Clothing.
    FashionMnist {
        /// Whether pixels are scaled by MNIST's mean and deviation, or are in [0, 1].
        standardize: bool,
    },
    /// The small handwritten digits that the program carries.
    Digits,
    /// Colour photographs.
    Cifar10 {
        /// Whether pixels have mean 0 and deviation 1 in each colour, or are in [0, 1].
        standardize: bool,
    },
    /// Wines.
    WineQuality {
        /// Whether the quality is a number or one of eleven classes.
        task: Task,
        /// Whether the inputs, and the targets of a regression, have mean 0 and deviation 1.
        standardize: bool,
    },
    /// Run times of a GPU's matrix product.
    Sgemm {
        /// Whether the inputs and the target have mean 0 and deviation 1.
        standardize: bool,
    },
    /// Files of the user's own.
    Csv(CsvSettings),
}

/// What a configuration must go with.
pub(crate) struct TrainingShape {
    /// N.
    pub samples: i64,
    /// C.
    pub outputs: i64,
    /// Channels, height and width, if the inputs are images.
    pub image: Option<[i64; 3]>,
}

impl DataSettings {
    /// How its tables are written; pixels may have no names.
    pub fn table_format(&self) -> TableFormat {
        let plain = TableFormat::default();
        match self {
            DataSettings::Csv(settings) => settings.table_format(),
            DataSettings::WineQuality { .. } => TableFormat { delimiter: b';', ..plain },
            DataSettings::Sgemm { .. } => plain,
            _ => TableFormat { header: Header::Either, ..plain },
        }
    }

    /// As [`DataSettings::load`], with another data set's preparation in place of its own.
    ///
    /// # Errors
    /// Also if the two do not have the same columns, or this one has categories or classes that the other
    /// has not.
    pub fn load_as(
        &self,
        preparation: &Preparation,
        directory: &DataDirectory,
        device: Device,
    ) -> Result<Dataset> {
        let data = self.load(directory, device)?;
        if data.preparation.as_ref() == Some(preparation) {
            return Ok(data);
        }
        drop(data); // one of the two at a time
        let raw = self.not_standardized().load(directory, Device::Cpu)?;
        let mut data = translate(raw, preparation)?;
        for split in [&mut data.train, &mut data.test] {
            split.inputs = split.inputs.to_device(device).into();
            split.targets = split.targets.to_device(device).into();
        }
        Ok(data)
    }

    fn not_standardized(&self) -> DataSettings {
        let mut settings = self.clone();
        match &mut settings {
            DataSettings::Mnist { standardize }
            | DataSettings::FashionMnist { standardize }
            | DataSettings::Cifar10 { standardize }
            | DataSettings::WineQuality { standardize, .. }
            | DataSettings::Sgemm { standardize }
            | DataSettings::Csv(CsvSettings { standardize, .. }) => *standardize = false,
            DataSettings::Digits => {}
        }
        settings
    }

    /// The data set's name, if the program knows it.
    pub fn known(&self) -> Option<DatasetName> {
        Some(match self {
            DataSettings::Mnist { .. } => DatasetName::Mnist,
            DataSettings::FashionMnist { .. } => DatasetName::FashionMnist,
            DataSettings::Digits => DatasetName::Digits,
            DataSettings::Cifar10 { .. } => DatasetName::Cifar10,
            DataSettings::WineQuality { .. } => DatasetName::WineQuality,
            DataSettings::Sgemm { .. } => DatasetName::Sgemm,
            DataSettings::Csv(_) => return None,
        })
    }

    /// What it is for.
    pub fn task(&self) -> Task {
        match self {
            DataSettings::WineQuality { task, .. } => *task,
            DataSettings::Csv(settings) => settings.task,
            DataSettings::Sgemm { .. } => Task::Regression,
            _ => Task::Classification,
        }
    }

    /// The shape of the training set, where it is known without reading it.
    pub(crate) fn training_shape(&self) -> Option<TrainingShape> {
        let images = |samples, image| TrainingShape { samples, outputs: 10, image: Some(image) };
        let table = |samples, outputs| TrainingShape { samples, outputs, image: None };
        Some(match self {
            DataSettings::Mnist { .. } | DataSettings::FashionMnist { .. } => {
                images(60_000, [1, 28, 28])
            }
            DataSettings::Digits => images(1_438, [1, 8, 8]),
            DataSettings::Cifar10 { .. } => images(50_000, [3, 32, 32]),
            DataSettings::WineQuality { task: Task::Classification, .. } => table(5_197, 11),
            DataSettings::WineQuality { task: Task::Regression, .. } => table(5_197, 1),
            DataSettings::Sgemm { .. } => table(773_120, 1),
            DataSettings::Csv(_) => return None,
        })
    }

    /// Loads the data set onto a device, fetching first what is missing in the directory.
    pub fn load(&self, directory: &DataDirectory, device: Device) -> Result<Dataset> {
        let files = |name| fetch(name, directory);
        match self {
            DataSettings::Mnist { standardize } => {
                let name = DatasetName::Mnist;
                images::mnist(name, &files(name)?, *standardize, device)
            }
            DataSettings::FashionMnist { standardize } => {
                let name = DatasetName::FashionMnist;
                images::mnist(name, &files(name)?, *standardize, device)
            }
            DataSettings::Digits => images::digits(device),
            DataSettings::Cifar10 { standardize } => {
                images::cifar10(&files(DatasetName::Cifar10)?, *standardize, device)
            }
            DataSettings::WineQuality { task, standardize } => {
                uci::wine_quality(&files(DatasetName::WineQuality)?, *task, *standardize, device)
            }
            DataSettings::Sgemm { standardize } => {
                uci::sgemm(&files(DatasetName::Sgemm)?, *standardize, device)
            }
            DataSettings::Csv(settings) => csv_files::load(settings, directory, device),
        }
    }
}
