//! Data sets of the user's own: one table that is split, or a table for training and one for
//! testing.

mod categories;
mod reading;

use std::collections::HashSet;
use std::ops::Bound;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use serde_yaml::Value;
use tch::Kind;

use crate::data::{About, DataSet, Files, Header, RawDataset, Report, TableFormat, Task};
use crate::settings::domain::{choice, number, show, text, truth, whole};
use crate::settings::{ConfigError, Domain, Key, Reader, named, section};

standardized! {
    /// A data set in files of comma-separated values.
    pub struct Csv => checked {
        /// Where the rows are.
        #[serde(flatten)]
        files: CsvFiles => read();
        /// Character between the cells of a row; `\t` is a tab.
        delimiter: char = ',', letter().then(|letter| Ok(letter.unwrap_or(',')));
        /// Whether the first row names the columns; otherwise they are called 0, 1, 2, ….
        header: bool = true, truth();
        /// Character with which comment lines start; `null`: there are none.
        comment: Option<char> = None, letter();
        /// The column to predict; a regression can have several.
        targets: Vec<String>, columns().only(|columns| !columns.is_empty());
        /// What the network is trained for.
        task: Task, choice();
        /// Columns whose values are names, not numbers.
        categorical: Vec<String> = Vec::new(), columns();
        /// How the values of categorical columns become numbers.
        encoding: Encoding = Encoding::Ordinal, choice();
        /// What becomes of a value of a categorical column that only other tables have: the test set's,
        /// where it is a file of its own, or one that is predicted or evaluated later.
        unseen: Unseen = Unseen::Refuse, choice();
        /// Columns that are not used.
        ignore: Vec<String> = Vec::new(), columns();
        /// Marker for missing values, or a list of them; rows that have one in a used column are dropped.
        ///
        /// `""` stands for empty cells.
        missing: Vec<String> = Vec::new(), markers();
        /// What stands for missing inputs, whose rows are then kept.
        impute: Option<Impute> = None, choice().or_null();
        /// Ending that is removed from classes, such as the `.` in the test file of census income.
        class_suffix: Option<String> = None, text("a text").or_null();
    }
}

named! {
    /// What becomes of a value that a categorical column did not have in training.
    pub enum Unseen {
        /// An error.
        Refuse = "refuse",
        /// All such values share a place of their own, behind the known ones. Training does not see it.
        OwnPlace = "own_place",
    }
}

named! {
    /// What stands for a missing input. Missing values of a categorical column are a value of their own, with
    /// each of these.
    pub enum Impute {
        /// For a number, the median of the column's training rows.
        Median = "median",
        /// For a number, the mean of the column's training rows.
        Mean = "mean",
        /// Only for categorical columns: rows without a number are dropped.
        Category = "category",
    }
}

/// The files of a [`Csv`]. A path that is not absolute is looked for in the current folder, beside the
/// configuration, then in the data directory.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum CsvFiles {
    /// One file, some of whose rows are the test set.
    One(OneFile),
    /// A file to train on and a file to test on.
    Two(TwoFiles),
}

section! {
    /// One file that is split as scikit-learn's `train_test_split` does.
    pub struct OneFile {
        /// Table that is split into training and test rows.
        path: PathBuf, file();
        /// Share of the rows of `data.path` that is the test set.
        test_fraction: f64 = 0.2,
            number("a number between 0 and 1", (Bound::Excluded(0.0), Bound::Excluded(1.0)));
        /// Seed of the split: `random_state` of scikit-learn's `train_test_split`.
        split_seed: u32 = 1, whole(0..=u32::MAX);
    }
}

section! {
    /// Two files with the same columns and classes.
    pub struct TwoFiles {
        /// Table to train on, in place of `data.path`.
        train: PathBuf, file();
        /// Table to test on, with the same columns and classes.
        test: PathBuf, file();
    }
}

named! {
    /// How the values of a categorical column become numbers.
    pub enum Encoding {
        /// Each value is its place in the sorted list of all values: one input.
        Ordinal = "ordinal",
        /// An input for each value, 1 where the column has that value.
        OneHot = "one_hot",
    }
}

impl Csv {
    fn checked(self, reader: &mut Reader) -> Result<Csv, ConfigError> {
        if self.task == Task::Classification && self.targets.len() > 1 {
            let found = format!("[{}]", self.targets.join(", "));
            let expected = "one column, since the task is classification";
            return Err(reader.refuse("targets", found, expected));
        }
        let mut seen = HashSet::new();
        for (key, columns) in [
            ("targets", &self.targets),
            ("categorical", &self.categorical),
            ("ignore", &self.ignore),
        ] {
            if let Some(twice) = columns.iter().find(|column| !seen.insert(column.as_str())) {
                let expected = "columns that are named once, as targets, categorical or ignored";
                return Err(reader.refuse(key, twice, expected));
            }
        }
        if self.comment == Some(self.delimiter) {
            let expected = "another one than `data.delimiter`";
            return Err(reader.refuse("comment", self.delimiter, expected));
        }
        if let (Task::Regression, Some(suffix)) = (self.task, &self.class_suffix) {
            let expected = "null, since the targets are numbers";
            return Err(reader.refuse("class_suffix", suffix, expected));
        }
        if let (Some(impute), []) = (self.impute, &*self.missing) {
            let expected = "null, since `data.missing` names no marker";
            return Err(reader.refuse("impute", impute, expected));
        }
        if self.encoding == Encoding::OneHot && self.categorical.is_empty() {
            let expected = "ordinal, since no column is listed as `data.categorical`";
            return Err(reader.refuse("encoding", "one_hot", expected));
        }
        Ok(self)
    }
}

impl CsvFiles {
    pub(crate) fn keys() -> Vec<Key> {
        [OneFile::keys(), TwoFiles::keys()].concat()
    }

    pub(crate) fn read_keys(reader: &mut Reader) -> Result<CsvFiles, ConfigError> {
        let either = "either `path`, or `train` and `test`";
        match ["path", "train", "test"].map(|key| reader.has(key)) {
            [true, true, _] => Err(reader.refuse_unread("train", either)),
            [true, _, true] => Err(reader.refuse_unread("test", either)),
            [true, ..] => {
                let mut file = OneFile::read_keys(reader)?;
                file.path = reader.found_beside(&file.path);
                Ok(CsvFiles::One(file))
            }
            [_, true, true] => {
                let mut files = TwoFiles::read_keys(reader)?;
                for path in [&mut files.train, &mut files.test] {
                    *path = reader.found_beside(path);
                }
                Ok(CsvFiles::Two(files))
            }
            [_, true, _] => Err(reader.missing("test", "the path of a file beside `train`")),
            [_, _, true] => Err(reader.missing("train", "the path of a file beside `test`")),
            _ => {
                let expected = "the path of a file (or two, as `train` and `test`)";
                Err(reader.missing("path", expected))
            }
        }
    }
}

impl DataSet for Csv {
    fn about(&self) -> About {
        About {
            task: self.task,
            table_format: TableFormat {
                delimiter: self.delimiter as u8,
                header: if self.header { Header::Names } else { Header::Row },
                comment: self.comment.map(|comment| comment as u8),
                kind: Kind::Float,
                others: self.targets.len() + self.ignore.len(),
            },
            ..About::new("csv")
        }
    }

    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        let (paths, split) = match &self.files {
            CsvFiles::One(one) => (vec![&one.path], Some(one)),
            CsvFiles::Two(two) => (vec![&two.train, &two.test], None),
        };
        let paths: Vec<PathBuf> =
            paths.into_iter().map(|path| files.directory.find(path)).collect::<Result<_>>()?;
        let reading::Tables { mut columns, targets, splits: mut tables, mut notes } =
            reading::read(self, &paths)?;
        let parts = match split {
            Some(OneFile { test_fraction, split_seed, .. }) => tables[0]
                .train_test(*test_fraction, *split_seed)
                .with_context(|| paths[0].display().to_string())?,
            None => [tables.remove(0), tables.remove(0)],
        };
        let name = paths[0].file_name().unwrap_or_default().to_string_lossy();
        if let Some(impute) = self.impute {
            reading::fill(&mut columns, impute, &parts[0]).with_context(|| name.to_string())?;
        }
        let doubts = reading::doubts(self, &columns, &targets, &parts[0]);
        notes.extend(doubts.into_iter().map(|note| format!("{name}: {note}")));
        let raw = RawDataset::rows(&name, columns, targets, parts, self.standardize);
        Ok(raw.with_missing(&self.missing).with_notes(notes))
    }
}

/// The names of some columns: one, or a list; without a header a column's name is its number.
fn columns() -> Domain<Vec<String>> {
    let name = json!({"type": ["string", "number"]});
    let schema = json!({"anyOf": [name, {"type": "array", "items": name}]});
    Domain::new("the name of a column, or a list of them", schema, |value| {
        let columns = match value {
            Value::Sequence(columns) => columns.as_slice(),
            column => std::slice::from_ref(column),
        };
        let name = |column: &Value| match column {
            Value::String(_) | Value::Number(_) => Ok(show(column)),
            _ => Err(String::new()),
        };
        columns.iter().map(name).collect()
    })
}

/// Markers of missing values: one, or a list.
fn markers() -> Domain<Vec<String>> {
    let text = json!({"type": ["string", "number"]});
    let schema = json!({"anyOf": [text, {"type": "null"}, {"type": "array", "items": text}]});
    Domain::new("a text, or a list of texts", schema, |value| {
        let markers = match value {
            Value::Null => &[],
            Value::Sequence(markers) => markers.as_slice(),
            marker => std::slice::from_ref(marker),
        };
        let text = |marker: &Value| match marker {
            Value::String(text) => Ok(text.trim().to_string()), // as cells are
            Value::Number(_) => Ok(show(marker)),
            _ => Err(String::new()),
        };
        markers.iter().map(text).collect()
    })
}

/// A path, which can look like a number.
pub(super) fn file() -> Domain<PathBuf> {
    let path = text("the path of a file").only(|path| !path.is_empty());
    path.then(|path| Ok(PathBuf::from(path)))
}

/// A character that is one byte, or `null`.
fn letter() -> Domain<Option<char>> {
    let schema = json!({"type": ["string", "null"]});
    Domain::new("one ASCII character, or \\t", schema, |value| {
        let letter = match value.as_str() {
            None if value.is_null() => return Ok(None),
            Some("\\t") => Some('\t'), // a tab is hard to write otherwise
            text => text.and_then(|text| text.parse().ok()),
        };
        let valid = |letter: &char| letter.is_ascii() && !matches!(letter, '\n' | '\r' | '"');
        letter.filter(valid).map(Some).ok_or_else(String::new)
    })
}
