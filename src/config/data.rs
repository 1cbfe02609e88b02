//! The section `data`: the data set and how it is cut.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_yaml::Value;

use super::ConfigError;
use super::section::Section;
use super::source::Source;
use crate::data::{
    Cifar10, Csv, CsvFiles, DATA_SETS, DataSelection, DataSet, Digits, Encoding, FashionMnist,
    Mnist, Sgemm, Task, WineQuality,
};

/// The data set and how it is cut.
#[derive(Clone, Debug, Serialize)]
pub struct DataConfig {
    /// Which one, and how it is prepared.
    #[serde(flatten, serialize_with = "keys_of")]
    pub set: Arc<dyn DataSet>,
    /// How many training samples, the first ones, are used; none: all.
    pub train_samples: Option<usize>,
    /// Samples per training step.
    pub batch_size: i64,
    /// Samples per forward pass when evaluating.
    pub eval_batch_size: i64,
}

impl DataConfig {
    /// Reads the section alone, as a model has it that was trained on these data; `name` stands in
    /// complaints.
    pub fn from_value(name: &str, section: &serde_json::Value) -> Result<DataConfig, ConfigError> {
        let source = Source::parse(name, &serde_json::json!({ "data": section }).to_string())?;
        let mut remarks = Vec::new();
        let mut root = Section::root(&source, &mut remarks)?;
        let mut section = root.section("data")?;
        let data = DataConfig::read(&mut section, false)?;
        section.finish()?;
        Ok(data)
    }

    /// The part of the data set that is used.
    pub fn selection(&self) -> DataSelection {
        DataSelection { set: self.set.clone(), train_samples: self.train_samples, validation: None }
    }

    pub(super) fn read(section: &mut Section, pepita: bool) -> Result<DataConfig, ConfigError> {
        let set = read_set(section, !pepita)?;
        if pepita && set.task() == Task::Regression {
            let expected = "a data set of classes (or `data.task: classification`): `pepita` \
                            classifies with softmax outputs";
            return Err(section.refuse("name", set.name(), expected));
        }
        Ok(DataConfig {
            set,
            train_samples: section.whole_or_null("train_samples", 1..=usize::MAX)?,
            batch_size: section.whole("batch_size", 1..=i64::MAX)?.unwrap_or(if pepita {
                64
            } else {
                50
            }),
            eval_batch_size: section.whole("eval_batch_size", 1..=i64::MAX)?.unwrap_or(1000),
        })
    }
}

fn read_set(section: &mut Section, standardized: bool) -> Result<Arc<dyn DataSet>, ConfigError> {
    let names = DATA_SETS.map(|it| it.name);
    let place = section
        .one_of("name", &names)?
        .ok_or_else(|| section.missing("name", "a data set, such as mnist"))?;
    let name = names[place];
    if name == "digits" {
        return Ok(Arc::new(Digits)); // it has no key `standardize`
    }
    let standardize = section.truth("standardize")?.unwrap_or(standardized);
    Ok(match name {
        "mnist" => Arc::new(Mnist { standardize }),
        "fashion_mnist" => Arc::new(FashionMnist { standardize }),
        "cifar10" => Arc::new(Cifar10 { standardize }),
        "sgemm" => Arc::new(Sgemm { standardize }),
        "wine_quality" => Arc::new(WineQuality {
            task: section.choice("task")?.unwrap_or(Task::Regression),
            standardize,
        }),
        "csv" => Arc::new(read_csv(section, standardize)?),
        _ => unreachable!("every registered data set is listed above"),
    })
}

/// `#[serde(flatten)]` does not reach through an `Arc` by itself.
fn keys_of<S: Serializer>(set: &Arc<dyn DataSet>, serializer: S) -> Result<S::Ok, S::Error> {
    set.serialize(serializer)
}

fn read_csv(section: &mut Section, standardize: bool) -> Result<Csv, ConfigError> {
    let task = section
        .choice("task")?
        .ok_or_else(|| section.missing("task", "regression or classification"))?;
    let header = section.truth("header")?.unwrap_or(true);
    let targets = columns(section, "targets")?;
    if targets.is_empty() {
        return Err(section.missing("targets", "the name of the column to be predicted"));
    }
    if task == Task::Classification && targets.len() > 1 {
        let found = format!("[{}]", targets.join(", "));
        return Err(section.refuse(
            "targets",
            found,
            "one column, since the task is classification",
        ));
    }
    let categorical = columns(section, "categorical")?;
    let ignore = columns(section, "ignore")?;
    let mut seen = HashSet::new();
    for (key, list) in [("targets", &targets), ("categorical", &categorical), ("ignore", &ignore)] {
        if let Some(twice) = list.iter().find(|column| !seen.insert(column.as_str())) {
            let expected = "columns that are named once, as targets, categorical or ignored";
            return Err(section.refuse(key, twice, expected));
        }
    }
    let delimiter = letter(section, "delimiter")?.unwrap_or(',');
    let comment = letter(section, "comment")?;
    if comment == Some(delimiter) {
        return Err(section.refuse("comment", delimiter, "another one than `data.delimiter`"));
    }
    let class_suffix = text_or_null(section, "class_suffix")?;
    if let (Task::Regression, Some(suffix)) = (task, &class_suffix) {
        return Err(section.refuse("class_suffix", suffix, "null, since the targets are numbers"));
    }
    let encoding = section.choice("encoding")?.unwrap_or(Encoding::Ordinal);
    if encoding == Encoding::OneHot && categorical.is_empty() {
        let expected = "ordinal, since no column is listed as `data.categorical`";
        return Err(section.refuse("encoding", "one_hot", expected));
    }
    Ok(Csv {
        files: read_files(section)?,
        delimiter,
        header,
        comment,
        targets,
        task,
        categorical,
        encoding,
        ignore,
        missing: text_or_null(section, "missing")?,
        class_suffix,
        standardize,
    })
}

fn read_files(section: &mut Section) -> Result<CsvFiles, ConfigError> {
    let mut file = |key| section.text(key, "the path of a file", |path| !path.is_empty());
    let (path, train, test) = (file("path")?, file("train")?, file("test")?);
    match (path, train, test) {
        (Some(path), None, None) => Ok(CsvFiles::One {
            path: PathBuf::from(path),
            test_fraction: section
                .number("test_fraction", "a number between 0 and 1", |share| {
                    share > 0.0 && share < 1.0
                })?
                .unwrap_or(0.2),
            split_seed: section.whole("split_seed", 0..=u32::MAX)?.unwrap_or(1),
        }),
        (None, Some(train), Some(test)) => {
            Ok(CsvFiles::Two { train: PathBuf::from(train), test: PathBuf::from(test) })
        }
        (Some(_), Some(train), _) => {
            Err(section.refuse("train", train, "either `path`, or `train` and `test`"))
        }
        (Some(_), None, Some(test)) => {
            Err(section.refuse("test", test, "either `path`, or `train` and `test`"))
        }
        (None, Some(_), None) => Err(section.missing("test", "the path of a file beside `train`")),
        (None, None, Some(_)) => Err(section.missing("train", "the path of a file beside `test`")),
        (None, None, None) => {
            Err(section.missing("path", "the path of a file (or two, as `train` and `test`)"))
        }
    }
}

/// The names of some columns: one, or a list; without a header a column's name is its number.
fn columns(section: &mut Section, key: &'static str) -> Result<Vec<String>, ConfigError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<Value>),
        One(Value),
    }
    let named = |columns: &OneOrMany| match columns {
        OneOrMany::Many(columns) => columns.iter().map(as_text).collect::<Option<Vec<_>>>(),
        OneOrMany::One(column) => as_text(column).map(|name| vec![name]),
    };
    let expected = "the name of a column, or a list of them";
    let columns = section.checked(key, expected, |columns| named(columns).is_some())?;
    Ok(columns.and_then(|columns| named(&columns)).unwrap_or_default())
}

/// A character that is one byte, or null.
fn letter(section: &mut Section, key: &'static str) -> Result<Option<char>, ConfigError> {
    // A tab is hard to write otherwise.
    let read = |text: &str| if text == "\\t" { Some('\t') } else { text.parse::<char>().ok() };
    let valid = |letter: char| letter.is_ascii() && !matches!(letter, '\n' | '\r' | '"');
    let expected = "one ASCII character, or \\t";
    let text = section.checked(key, expected, |text: &Option<String>| {
        text.as_ref().is_none_or(|text| read(text).is_some_and(valid))
    })?;
    Ok(text.flatten().as_deref().and_then(read))
}

/// A text, which may be empty, or null.
fn text_or_null(section: &mut Section, key: &'static str) -> Result<Option<String>, ConfigError> {
    let valid = |value: &Value| value.is_null() || as_text(value).is_some();
    Ok(section.checked(key, "null or a text", valid)?.as_ref().and_then(as_text))
}

/// A text, or a number as it is written.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
