//! Arrays of the user's own, as NumPy saves them.
//!
//! Legend: N samples, c channels of r x s pixels, C outputs.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use npyz::{DType, NpyFile, Order, TypeChar};
use serde::Serialize;
use tch::{Kind, Tensor};
use zip::ZipArchive;

use super::csv::file;
use crate::data::preparation::channel_statistics;
use crate::data::{
    About, Column, DataDirectory, DataSet, Files, Inputs, RawDataset, Scaling, Split, Targets, Task,
};
use crate::files::{self, At};
use crate::settings::domain::choice;
use crate::settings::{ConfigError, Key, Reader, section};

standardized! {
    /// Arrays that NumPy has saved: `.npz`, or a `.npy` for each.
    pub struct Npz {
        /// Where the arrays are.
        #[serde(flatten)]
        files: NpzFiles => read();
        /// What the network is trained for; `null`: whole numbers and rows with a single 1 are classes, other
        /// numbers are to be predicted.
        task: Option<Task> = None, choice().or_null();
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
        /// Inputs to train on, in place of `data.path`: a `.npy` of [N, …].
        x_train: PathBuf, file();
        /// Targets to train on: labels [N], or numbers [N] or [N, C].
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
                let opened = ZipArchive::new(BufReader::new(files::open(&path)?));
                let mut archive = opened.at(&path, "is no .npz file")?;
                let arrays = ARRAYS.map(|name| {
                    let entry = archive.by_name(&format!("{name}.npy"));
                    let entry = entry.map_err(|_| {
                        let has: Vec<String> = archive_names(&path);
                        anyhow!(
                            "{}: has no array `{name}`; it has {}",
                            path.display(),
                            has.join(", ")
                        )
                    })?;
                    Array::read(format!("{}, `{name}`", path.display()), entry)
                });
                let [a, b, c, d] = arrays;
                Ok(([a?, b?, c?, d?], name(&path)))
            }
            NpzFiles::Each(EachArray { x_train, y_train, x_test, y_test }) => {
                let read = |path: &PathBuf| {
                    let path = directory.find(path)?;
                    let content = BufReader::new(files::open(&path)?);
                    Array::read(path.display().to_string(), content)
                };
                let arrays = [read(x_train)?, read(y_train)?, read(x_test)?, read(y_test)?];
                Ok((arrays, name(x_train)))
            }
        }
    }
}

/// The names of the arrays in a file, for a complaint.
fn archive_names(path: &Path) -> Vec<String> {
    let archive = File::open(path).ok().and_then(|file| ZipArchive::new(file).ok());
    let names = archive.iter().flat_map(|archive| archive.file_names());
    names.flatten().map(|name| name.trim_end_matches(".npy").to_string()).collect()
}

/// An array with its place, for messages.
struct Array {
    origin: String,
    values: Tensor, // uint8, int64 or double
}

impl Array {
    fn read(origin: String, content: impl Read) -> Result<Array> {
        let unread = || format!("{origin}: cannot be read as an array of NumPy");
        let file = NpyFile::new(content).with_context(unread)?;
        let shape: Vec<i64> = file.shape().iter().map(|&size| size as i64).collect();
        let DType::Plain(kind) = file.dtype() else {
            bail!("{origin}: has fields with names; an array of numbers is needed");
        };
        let (order, letter, bytes) = (file.order(), kind.type_char(), kind.size_field());
        let flat = match (letter, bytes) {
            (TypeChar::Bool, _) => {
                let found: Vec<bool> = file.into_vec().with_context(unread)?;
                Tensor::from_slice(&found.into_iter().map(u8::from).collect::<Vec<u8>>())
            }
            (TypeChar::Uint, 1) => Tensor::from_slice(&file.into_vec::<u8>().with_context(unread)?),
            (TypeChar::Uint, 2) => whole(file.into_vec::<u16>().with_context(unread)?),
            (TypeChar::Uint, 4) => whole(file.into_vec::<u32>().with_context(unread)?),
            (TypeChar::Int, 1) => whole(file.into_vec::<i8>().with_context(unread)?),
            (TypeChar::Int, 2) => whole(file.into_vec::<i16>().with_context(unread)?),
            (TypeChar::Int, 4) => whole(file.into_vec::<i32>().with_context(unread)?),
            (TypeChar::Int, 8) => whole(file.into_vec::<i64>().with_context(unread)?),
            (TypeChar::Float, 4) => {
                Tensor::from_slice(&file.into_vec::<f32>().with_context(unread)?)
                    .to_kind(Kind::Double)
            }
            (TypeChar::Float, 8) => {
                Tensor::from_slice(&file.into_vec::<f64>().with_context(unread)?)
            }
            _ => bail!("{origin}: holds {kind}; whole numbers, float32 or float64 are needed"),
        };
        let values = match order {
            Order::C => flat.reshape(&shape),
            Order::Fortran => {
                let reversed: Vec<i64> = shape.iter().rev().copied().collect();
                let axes: Vec<i64> = (0..shape.len() as i64).rev().collect();
                flat.reshape(&reversed).permute(&axes).contiguous()
            }
        };
        Ok(Array { origin, values })
    }

    fn shape(&self) -> Vec<i64> {
        self.values.size()
    }
}

fn whole<T: Into<i64>>(numbers: Vec<T>) -> Tensor {
    Tensor::from_slice(&numbers.into_iter().map(Into::into).collect::<Vec<i64>>())
}

const NAME: &str = "npz";

impl DataSet for Npz {
    fn about(&self) -> About {
        About::new(NAME)
    }

    fn read(&self, files: &Files) -> Result<RawDataset> {
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
        let Some(shape) = image(&x_train)? else {
            let columns = (0..parts[0].input_count()).map(|it| Column::number(it.to_string()));
            return Ok(RawDataset::rows(
                &name,
                columns.collect(),
                targets,
                parts,
                self.standardize,
            ));
        };
        let largest = if x_train.values.kind() == Kind::Uint8 { 255.0 } else { 1.0 };
        let scaling = match self.standardize {
            true => channel_statistics(&parts[0].inputs, shape[0], largest),
            false => vec![Scaling::NONE; shape[0] as usize],
        };
        let inputs = Inputs::Image { shape, largest, scaling, resized: false };
        let raw = RawDataset::new(&name, inputs, targets, parts);
        Ok(if self.standardize { raw.with_standardized_targets() } else { raw })
    }
}

/// Refuses inputs and targets that do not go together.
fn check_samples(x: &Array, y: &Array) -> Result<()> {
    let (x_shape, y_shape) = (x.shape(), y.shape());
    if x_shape.len() < 2 || x_shape.contains(&0) {
        bail!(
            "{}: is {x_shape:?}; inputs are [N, m], [N, height, width] or [N, channels, height, width]",
            x.origin
        );
    }
    if y_shape.is_empty() || y_shape.len() > 2 || y_shape[0] != x_shape[0] {
        bail!(
            "{}: is {y_shape:?}; of {} samples the targets are [N] or [N, C]",
            y.origin,
            x_shape[0]
        );
    }
    for array in [x, y] {
        if array.values.kind() == Kind::Double
            && array.values.isfinite().all().int64_value(&[]) == 0
        {
            bail!("{}: holds numbers that are NaN or infinite", array.origin);
        }
    }
    Ok(())
}

/// Channels, height and width, if the inputs are images.
fn image(x: &Array) -> Result<Option<[i64; 3]>> {
    match x.shape()[1..] {
        [_] => Ok(None),
        [height, width] => Ok(Some([1, height, width])),
        [channels, height, width] => Ok(Some([channels, height, width])),
        _ => bail!(
            "{}: is {:?}; images are [N, height, width] or [N, channels, height, width]",
            x.origin,
            x.shape()
        ),
    }
}

impl Npz {
    /// What the targets mean, and those of the two parts: labels `[N]` or numbers `[N, C]`.
    fn targets(&self, train: &Array, test: &Array) -> Result<(Targets, Tensor, Tensor)> {
        let whole = |array: &Array| array.values.kind() != Kind::Double;
        let task = self.task.unwrap_or(match whole(train) || is_one_hot(&train.values) {
            true => Task::Classification,
            false => Task::Regression,
        });
        if task == Task::Regression {
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
    let most = 1_000_000;
    let exact = labels.to_kind(Kind::Double).eq_tensor(&flat.to_kind(Kind::Double));
    let valid = exact.logical_and(&labels.ge(0)).logical_and(&labels.lt(most));
    match valid.all().int64_value(&[]) {
        0 => bail!("{}: holds labels that are not whole numbers from 0", array.origin),
        _ => Ok(labels),
    }
}
