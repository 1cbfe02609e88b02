//! A kind of data set, with its settings.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::Result;
use serde::{Serialize, Serializer};
use serde_yaml::{Mapping, Value};
use tch::Device;

use super::fetch::{Files, fetch};
use super::translate::translate;
use super::{
    DATA_SETS, DataDirectory, Dataset, Header, Preparation, Progress, Publication, TableFormat,
    Task, TrainingShape,
};
use crate::settings::{Kind, Kinds};

/// One kind of data set, with the settings by which it is prepared.
///
/// To add one, write a file in `sets/` that implements this trait and declares its keys, and enter its
/// [`Registration`] in the list there.
pub trait DataSet: Send + Sync + Debug {
    /// Its name in configurations, and that of its folder in the data directory.
    fn name(&self) -> &'static str;

    /// What a network is trained for.
    fn task(&self) -> Task;

    /// Its other keys in a configuration and their values, as a mapping.
    fn settings(&self) -> Value;

    /// Makes tensors on a device of the files; the data set has no validation set yet.
    fn prepare(&self, files: &Files, device: Device) -> Result<Dataset>;

    /// The same data set with inputs and targets that are not standardised.
    fn not_standardized(&self) -> Arc<dyn DataSet>;

    /// The shape of the training set, where it is known before anything is read.
    fn training_shape(&self) -> Option<TrainingShape> {
        None
    }

    /// Where its files are published; none if the program carries it, or if the files are the
    /// user's own.
    fn publication(&self) -> Option<&'static Publication> {
        None
    }

    /// How tables of such samples are written. By default commas separate numbers, such as pixels,
    /// whose columns may have names or not.
    fn table_format(&self) -> TableFormat {
        TableFormat { header: Header::Either, ..TableFormat::default() }
    }

    /// Finds its published files in the directory, fetching those that are missing.
    ///
    /// # Errors
    /// If a file is missing and no mirror has it; the text says what the user can do.
    fn fetch(
        &self,
        directory: &DataDirectory,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Files> {
        fetch(self.name(), self.publication(), directory, progress)
    }

    /// Loads the data set onto a device, fetching the files that are missing.
    ///
    /// # Errors
    /// If a file cannot be found or fetched, or its content cannot be used.
    fn load(
        &self,
        directory: &DataDirectory,
        device: Device,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Dataset> {
        self.prepare(&self.fetch(directory, progress)?, device)
    }

    /// Loads the data set, but prepares it as another one was: the one that a network was trained on.
    ///
    /// # Errors
    /// As [`DataSet::load`], and if the two do not have the same columns, or if this one has categories or classes that
    /// the other does not have.
    fn load_as(
        &self,
        preparation: &Preparation,
        directory: &DataDirectory,
        device: Device,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Dataset> {
        let files = self.fetch(directory, progress)?;
        let data = self.prepare(&files, device)?;
        if data.preparation.as_ref() == Some(preparation) {
            return Ok(data);
        }
        drop(data); // only one of the two is in memory at a time
        let raw = self.not_standardized().prepare(&files, Device::Cpu)?;
        translate(raw, preparation)?.map(|split| Ok(split.to_device(device)))
    }
}

/// The keys of a configuration: `name`, then the settings.
impl Serialize for dyn DataSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = Mapping::from_iter([("name".into(), self.name().into())]);
        if let Value::Mapping(settings) = self.settings() {
            keys.extend(settings);
        }
        keys.serialize(serializer)
    }
}

/// Data sets with the same name and settings are equal.
impl PartialEq for dyn DataSet {
    fn eq(&self, other: &dyn DataSet) -> bool {
        self.name() == other.name() && self.settings() == other.settings()
    }
}

/// The settings of a data set as [`DataSet::settings`] gives them.
pub(super) fn mapping(settings: &impl Serialize) -> Value {
    serde_yaml::to_value(settings).expect("settings are plain data")
}

/// How configurations and `f3-tch data` find a kind of data set: its name, one line for people, its
/// keys and how they are read.
pub type Registration = Kind<Arc<dyn DataSet>>;

impl Kinds for Arc<dyn DataSet> {
    const KINDS: &'static [Registration] = DATA_SETS;
}
