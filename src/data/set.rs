//! A kind of data set, with its settings.

use anyhow::Result;
use tch::Device;

use super::fetch::{Files, fetch};
use super::{
    DataDirectory, Dataset, Header, Preparation, Progress, Publication, RawDataset, Report,
    TableFormat, Task, TrainingShape,
};

/// What is known of a data set before its files are read.
pub struct About {
    /// Its name in configurations, and that of its folder in the data directory.
    pub name: &'static str,
    /// What a network is trained for.
    pub task: Task,
    /// The shape of the training set, unless it depends on files of the user's own.
    pub training_shape: Option<TrainingShape>,
    /// Where its files are published; none if the program carries it, or if the files are the
    /// user's own.
    pub publication: Option<&'static Publication>,
    /// How tables of such samples are written.
    pub table_format: TableFormat,
}

impl About {
    /// A classification of samples that nothing else is known of. In tables of them, commas separate
    /// numbers, such as pixels, whose columns may have names or not.
    pub fn new(name: &'static str) -> About {
        About {
            name,
            task: Task::Classification,
            training_shape: None,
            publication: None,
            table_format: TableFormat { header: Header::Either, ..TableFormat::default() },
        }
    }
}

/// One kind of data set, with the settings by which it is prepared.
///
/// To add one, write a file in `sets/` that declares its keys and implements this trait, and enter it in
/// [`KnownDataSet`](super::KnownDataSet).
pub trait DataSet {
    /// What is known before its files are read.
    fn about(&self) -> About;

    /// Reads the samples from the files, and says how they are to be prepared. Who waits for much to be
    /// read is told of it.
    ///
    /// # Errors
    /// If the content of a file cannot be used.
    fn read(&self, files: &Files, report: Report) -> Result<RawDataset>;

    /// Finds its published files in the directory, fetching those that are missing.
    ///
    /// # Errors
    /// If a file is missing and no mirror has it; the text says what the user can do.
    fn fetch(&self, directory: &DataDirectory, report: Report) -> Result<Files> {
        let About { name, publication, .. } = self.about();
        fetch(name, publication, directory, report)
    }

    /// Loads the data set onto a device, fetching the files that are missing.
    ///
    /// # Errors
    /// If a file cannot be found or fetched, or its content cannot be used.
    fn load(&self, directory: &DataDirectory, device: Device, report: Report) -> Result<Dataset> {
        Ok(raw(self, directory, report)?.prepare(device))
    }

    /// Loads the data set, but prepares it as another one was: the one that a network was trained on.
    ///
    /// # Errors
    /// As [`DataSet::load`], and if the two do not have the same columns, or if this one has
    /// categories or classes that the other does not have.
    fn load_as(
        &self,
        preparation: &Preparation,
        directory: &DataDirectory,
        device: Device,
        report: Report,
    ) -> Result<Dataset> {
        Ok(raw(self, directory, report)?.prepared_as(preparation)?.prepare(device))
    }
}

/// The samples of a data set, and what a person should know of them.
fn raw(
    set: &(impl DataSet + ?Sized),
    directory: &DataDirectory,
    report: Report,
) -> Result<RawDataset> {
    let files = set.fetch(directory, report)?;
    let raw = set.read(&files, report)?;
    raw.notes().iter().for_each(|note| report(Progress::Note(note)));
    Ok(raw)
}
