//! Data sets of the user's own: one table that is split, or a table for training and one for
//! testing.

mod categories;
mod reading;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use tch::{Device, Kind};

use crate::data::prepare::dataset;
use crate::data::set::mapping;
use crate::data::split::train_test;
use crate::data::{DataSet, Dataset, Files, Registration, TableFormat, Task};
use reading::Reading;

/// A data set in files of comma-separated values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Csv {
    /// Where the rows are.
    #[serde(flatten)]
    pub files: CsvFiles,
    /// The character between cells.
    pub delimiter: char,
    /// Whether the first row contains the columns' names; if not, they are called 0, 1, 2, …
    pub header: bool,
    /// The character that comment lines start with.
    pub comment: Option<char>,
    /// The columns to be predicted: one for classification, one or more for regression.
    pub targets: Vec<String>,
    /// What a network is trained for.
    pub task: Task,
    /// Columns whose values are names.
    pub categorical: Vec<String>,
    /// How those become numbers.
    pub encoding: Encoding,
    /// Columns that are not used.
    pub ignore: Vec<String>,
    /// The marker for missing values; rows that have it in a used column are dropped.
    pub missing: Option<String>,
    /// An ending that classes may have or not, such as `.` in the test file of census income.
    pub class_suffix: Option<String>,
    /// Whether the inputs, and the targets of a regression, are standardised.
    pub standardize: bool,
}

/// The files of a [`Csv`]. A relative path is looked for in the current folder, then in the data
/// directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CsvFiles {
    /// One file, which is split into a training and a test set as by scikit-learn's
    /// `train_test_split`.
    One {
        /// The file.
        path: PathBuf,
        /// The share of the rows that the test set gets.
        test_fraction: f64,
        /// The `random_state` of the split.
        split_seed: u32,
    },
    /// A file for training and a file for testing.
    Two {
        /// The training set's file.
        train: PathBuf,
        /// The test set's file.
        test: PathBuf,
    },
}

/// How the values of a categorical column become numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// One input: the value's position in the sorted list of all values.
    Ordinal,
    /// An input for each value: 1 for the value that the cell has, 0 for the others.
    OneHot,
}

pub(super) static REGISTRATION: Registration =
    Registration { name: "csv", summary: "tables of your own", default: None };

impl DataSet for Csv {
    fn name(&self) -> &'static str {
        REGISTRATION.name
    }

    fn task(&self) -> Task {
        self.task
    }

    fn settings(&self) -> Value {
        mapping(self)
    }

    fn prepare(&self, files: &Files, device: Device) -> Result<Dataset> {
        let mut reading = Reading::new(self);
        let (first, pair) = match &self.files {
            CsvFiles::One { path, test_fraction, split_seed } => {
                let path = files.locate(path)?;
                let raw = reading.read(&path)?;
                let table = reading.encode(raw)?;
                let (train, test) = train_test(table.inputs.size()[0], *test_fraction, *split_seed)
                    .with_context(|| path.display().to_string())?;
                (path, (table.select(&train), table.select(&test)))
            }
            CsvFiles::Two { train, test } => {
                let train = files.locate(train)?;
                let test = files.locate(test)?;
                let train_rows = reading.read(&train)?;
                let test_rows = reading.read(&test)?;
                (train, (reading.encode(train_rows)?, reading.encode(test_rows)?))
            }
        };
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        let (columns, targets) = reading.meaning();
        Ok(dataset(&name, columns, targets, pair, self.standardize, device))
    }

    fn not_standardized(&self) -> Arc<dyn DataSet> {
        Arc::new(Csv { standardize: false, ..self.clone() })
    }

    fn table_format(&self) -> TableFormat {
        TableFormat {
            delimiter: self.delimiter as u8,
            header: self.header.into(),
            comment: self.comment.map(|comment| comment as u8),
            kind: Kind::Float,
            others: self.targets.len() + self.ignore.len(),
        }
    }
}
