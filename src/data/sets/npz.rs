//! Arrays of the user's own, as NumPy saves them.
//!
//! Legend: N samples, c channels of r x s pixels, C outputs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::csv::file;
use crate::data::array::{Archive, Array};
use crate::data::preparation::channel_statistics;
use crate::data::{
    About, Column, DataDirectory, DataSet, Files, Inputs, RawDataset, Report, Scaling, Split,
    Targets, Task,
};
use crate::settings::domain::choice;
use crate::settings::{ConfigError, Key, Reader, section};

standardized! {
    /// Arrays that NumPy has saved: `.npz`, or a `.npy` for each.
    pub struct Npz {
        /// Where the arrays are.
        #[serde(flatten)]
        files: NpzFiles => read();
        /// What the network is trained for: to tell classes, whole numbers or rows with a single 1, or to
        /// predict numbers.
        task: Task = Task::Classification, choice();
    }
}

/// The files of an [`Npz`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum NpzFiles {
    /// One file with all arrays.
    One(OneArchive),
    /// A file for each array.
    Each(EachArray),
}

section! {
    /// One file with the arrays `x_train`, `y_train`, `x_test` and `y_test`.
    pub struct OneArchive {
        /// File with the arrays `x_train`, `y_train`, `x_test` and `y_test`, as `numpy.savez` writes it.
        path: PathBuf, file();
    }
}

section! {
    /// A file for each array.
    pub struct EachArray {
        /// Inputs to train on, in place of `data.path`: `[N, …]` in a `.npy`, or in an `.npz`, as its only
        /// array or by the name of this key.
        x_train: PathBuf, file();
        /// Targets to train on: labels `[N]`, or numbers `[N]` or `[N, C]`.
        y_train: PathBuf, file();
        /// Inputs to test on.
        x_test: PathBuf, file();
        /// Targets to test on.
        y_test: PathBuf, file();
    }
}

const ARRAYS: [&str; 4] = ["x_train", "y_train", "x_test", "y_test"];

impl NpzFiles {
    pub(crate) fn keys() -> Vec<Key> {
        [OneArchive::keys(), EachArray::keys()].concat()
    }

    pub(crate) fn read_keys(reader: &mut Reader) -> Result<NpzFiles, ConfigError> {
        let either = "either `path`, or a file for each of x_train, y_train, x_test and y_test";
        match (reader.has("path"), ARRAYS.into_iter().find(|array| reader.has(array))) {
            (true, Some(array)) => Err(reader.refuse_unread(array, either)),
            (true, None) => {
                let OneArchive { path } = OneArchive::read_keys(reader)?;
                Ok(NpzFiles::One(OneArchive { path: reader.found_beside(&path) }))
            }
            (false, Some(_)) => {
                let mut files = EachArray::read_keys(reader)?;
                let EachArray { x_train, y_train, x_test, y_test } = &mut files;
                for path in [x_train, y_train, x_test, y_test] {
                    *path = reader.found_beside(path);
                }
                Ok(NpzFiles::Each(files))
            }
            (false, None) => Err(reader.missing("path", either)),
        }
    }

    /// The four arrays, and the name of the first file.
    fn read(&self, directory: &DataDirectory) -> Result<([Array; 4], String)> {
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            NpzFiles::One(OneArchive { path }) => {
                let path = directory.find(path)?;
                let mut archive = Archive::open(&path).context(
                    "`data.path` is one .npz with all arrays; files for each are `data.x_train`, …",
                )?;
                let [a, b, c, d] = ARRAYS.map(|array| archive.read(array));
                Ok(([a?, b?, c?, d?], name(&path)))
            }
            NpzFiles::Each(EachArray { x_train, y_train, x_test, y_test }) => {
                let read = |key: &str, path: &PathBuf| {
                    let path = directory.find(path)?;
                    match path.extension().is_some_and(|ending| ending == "npz") {
                        true => Archive::open(&path)?.read_one_of(&[key]),
                        false => Array::open(&path),
                    }
                };
                let arrays = [
                    read("x_train", x_train)?,
                    read("y_train", y_train)?,
                    read("x_test", x_test)?,
                    read("y_test", y_test)?,
                ];
                Ok((arrays, name(x_train)))
            }
        }
    }
}

const NAME: &str = "npz";

impl DataSet for Npz {
    fn about(&self) -> About {
        About { task: self.task, ..About::new(NAME) }
    }

    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        let ([x_train, y_train, x_test, y_test], name) = self.files.read(&files.directory)?;
        for (x, y) in [(&x_train, &y_train), (&x_test, &y_test)] {
            check_samples(x, y)?;
        }
        if x_train.shape()[1..] != x_test.shape()[1..] {
            let (found, expected) = (x_test.shape(), x_train.shape());
            bail!("{}: is {found:?}; training inputs are {expected:?}", x_test.origin);
        }
        let (targets, y_train, y_test) = self.targets(&y_train, &y_test)?;
        let flat = |x: &Array| x.values.flatten(1, -1);
        let parts = [Split::new(flat(&x_train), y_train), Split::new(flat(&x_test), y_test)];
        let Some(shape) = image(&x_train) else {
            let columns = (0..parts[0].input_count()).map(|it| Column::number(it.to_string()));
            return Ok(RawDataset::rows(
                &name,
                columns.collect(),
                targets,
                parts,
                self.standardize,
            ));
        };
        let are_bytes = |x: &Array| x.values.kind() == Kind::Uint8;
        if are_bytes(&x_train) != are_bytes(&x_test) {
            bail!(
                "{}: holds {}; training inputs are {}",
                x_test.origin,
                x_test.values_are(),
                x_train.values_are()
            );
        }
        let bytes = are_bytes(&x_train);
        let largest = if bytes { 255.0 } else { 1.0 };
        let scaling = match self.standardize {
            true => channel_statistics(&parts[0].inputs, shape[0], largest),
            false => vec![Scaling::NONE; shape[0] as usize],
        };
        let inputs = Inputs::Image { shape, largest, scaling, resized: false, unbounded: !bytes };
        let raw = RawDataset::new(&name, inputs, targets, parts);
        let raw = raw.with_notes(channels_seem_last(&x_train));
        Ok(if self.standardize { raw.with_standardized_targets() } else { raw })
    }
}

/// Refuses inputs and targets that do not go together.
fn check_samples(x: &Array, y: &Array) -> Result<()> {
    let (x_shape, y_shape) = (x.shape(), y.shape());
    if !(2..=4).contains(&x_shape.len()) || x_shape.contains(&0) {
        bail!(
            "{}: is {x_shape:?}; inputs are [N, m], [N, height, width] or [N, channels, height, width]",
            x.origin
        );
    }
    if !(1..=2).contains(&y_shape.len()) || y_shape[0] != x_shape[0] || y_shape.contains(&0) {
        bail!(
            "{}: is {y_shape:?}; of {} samples the targets are [N] or [N, C]",
            y.origin,
            x_shape[0]
        );
    }
    for array in [x, y] {
        let as_they_are_used = array.values.to_kind(Kind::Float);
        if as_they_are_used.isfinite().all().int64_value(&[]) == 0 {
            bail!("{}: holds numbers that are NaN, infinite or beyond float32", array.origin);
        }
    }
    Ok(())
}

/// Channels, height and width, if the inputs are images.
fn image(x: &Array) -> Option<[i64; 3]> {
    match x.shape()[1..] {
        [height, width] => Some([1, height, width]),
        [channels, height, width] => Some([channels, height, width]),
        _ => None,
    }
}

/// Says so if images seem to have their channels last.
fn channels_seem_last(x: &Array) -> Option<String> {
    let shape = x.shape();
    let [_, a, b, 1 | 3 | 4] = shape[..] else { return None };
    (a == b && a > 4).then(|| {
        format!(
            "{}: is {shape:?}, which is read as [N, channels, height, width], with {a} channels; if the \
             channels are last, save x.transpose(0, 3, 1, 2)",
            x.origin
        )
    })
}

impl Npz {
    /// What the targets mean, and those of the two parts: labels `[N]` or numbers `[N, C]`.
    fn targets(&self, train: &Array, test: &Array) -> Result<(Targets, Tensor, Tensor)> {
        if self.task == Task::Regression {
            let rows = |array: &Array| array.values.reshape([array.shape()[0], -1]);
            let (train_rows, test_rows) = (rows(train), rows(test));
            if train_rows.size()[1] != test_rows.size()[1] {
                bail!(
                    "{}: has {} numbers a sample; the training set has {}",
                    test.origin,
                    test_rows.size()[1],
                    train_rows.size()[1]
                );
            }
            return Ok((Targets::numbers(0..train_rows.size()[1]), train_rows, test_rows));
        }
        let (train_labels, test_labels) = (labels(train)?, labels(test)?);
        let width = |array: &Array| array.shape().get(1).copied().filter(|width| *width > 1);
        let last = |labels: &Tensor| labels.max().int64_value(&[]);
        let classes = width(train).unwrap_or(last(&train_labels) + 1);
        if last(&test_labels) >= classes {
            bail!(
                "{}: has label {}; the training set has {classes} classes, from 0",
                test.origin,
                last(&test_labels)
            );
        }
        if classes < 2 {
            bail!("{}: holds one class only; two are needed", train.origin);
        }
        Ok((Targets::classes(0..classes), train_labels, test_labels))
    }
}

/// Whether each row has a single 1 and else zeros.
fn is_one_hot(values: &Tensor) -> bool {
    let size = values.size();
    if size.len() != 2 || size[1] < 2 {
        return false;
    }
    let all = |truth: Tensor| truth.all().int64_value(&[]) != 0;
    let is_bit = values.eq(0.0).logical_or(&values.eq(1.0));
    all(is_bit) && all(values.sum_dim_intlist([1i64].as_slice(), false, Kind::Double).eq(1.0))
}

/// A label above this was probably meant to be a number.
const MOST_CLASSES: i64 = 10_000;

/// Labels `[N]` from 0.
fn labels(array: &Array) -> Result<Tensor> {
    let values = &array.values;
    if is_one_hot(values) {
        return Ok(values.argmax(1, false));
    }
    let flat = values.flatten(0, -1);
    if flat.size()[0] != array.shape()[0] {
        bail!("{}: is {:?}; labels are [N], or rows with a single 1", array.origin, array.shape());
    }
    let labels = flat.to_kind(Kind::Int64);
    let exact = labels.to_kind(Kind::Double).eq_tensor(&flat.to_kind(Kind::Double));
    let valid = exact.logical_and(&labels.ge(0)).logical_and(&labels.lt(MOST_CLASSES));
    if valid.all().int64_value(&[]) == 0 {
        bail!(
            "{}: labels are whole numbers from 0 and below {MOST_CLASSES}; to predict numbers, set \
             `data.task: regression`",
            array.origin
        );
    }
    Ok(labels)
}
