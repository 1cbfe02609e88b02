//! Pictures of the user's own in folders, a folder for each class, as torchvision's `ImageFolder` has them.
//!
//! Legend: N pictures of c channels with r x s pixels.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{self, available_parallelism};
use std::time::UNIX_EPOCH;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::csv::file;
use crate::data::picture::{self, PixelFormat, pictures_below};
use crate::data::preparation::channel_statistics;
use crate::data::{
    About, DataSet, Files, Inputs, Progress, RawDataset, Report, Scaling, Split, Targets,
};
use crate::files::At;
use crate::settings::domain::{any, choice};
use crate::settings::{ConfigError, Domain, Reader, Refusal, named};
use crate::tensor_file::{self, TensorFile};

standardized! {
    /// Pictures (PNG, JPEG) in folders, a folder for each class.
    pub struct Folder => checked {
        /// Folder to train on; in it is a folder for each class, named like the class.
        train: PathBuf, file();
        /// Folder to test on, with the same classes.
        test: PathBuf, file();
        /// Height and width that pictures are scaled to, a number or `[height, width]`; `null`: all have
        /// one size.
        size: Option<Size> = None, size().or_null();
        /// Whether pictures become grey or coloured.
        color: Color = Color::Auto, choice();
        /// Mean of the pixels in [0, 1], one or one for each channel; `null`: that of the training set.
        mean: Option<Vec<f64>> = None,
            numbers("a number from 0 to 1, or a list of them", 0.0..=1.0).or_null();
        /// Their standard deviation; `null`: that of the training set.
        standard_deviation: Option<Vec<f64>> = None,
            numbers("a number from 1e-6 to 1, or a list of them", 1e-6..=1.0).or_null();
    }
}

named! {
    /// Whether pictures become grey or coloured.
    pub enum Color {
        /// As the first training picture is.
        Auto = "auto",
        /// One channel.
        Grey = "grey",
        /// Three channels: red, green, blue.
        Rgb = "rgb",
    }
}

/// A size of pictures: of squares, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Height and width.
    Square(u16),
    /// Height, width.
    Sides([u16; 2]),
}

fn size() -> Domain<Size> {
    let side = json!({"type": "integer", "minimum": 1, "maximum": 4096});
    let sides = json!({"type": "array", "items": side, "minItems": 2, "maxItems": 2});
    let schema = json!({"anyOf": [side, sides]});
    let valid = |side: &u16| (1..=4096).contains(side);
    any("a number from 1 to 4096, or a list of two: height, width", schema).only(move |size| {
        match size {
            Size::Square(side) => valid(side),
            Size::Sides(sides) => sides.iter().all(valid),
        }
    })
}

/// Numbers in a range: one, or a list.
fn numbers(expected: &str, range: RangeInclusive<f64>) -> Domain<Vec<f64>> {
    let schema = json!({"type": ["number", "array"], "items": {"type": "number"}});
    Domain::new(expected, schema, move |value| {
        let values = value.as_sequence().map_or(std::slice::from_ref(value), Vec::as_slice);
        let numbers: Option<Vec<f64>> = values.iter().map(serde_yaml::Value::as_f64).collect();
        let valid = |it: &Vec<f64>| !it.is_empty() && it.iter().all(|it| range.contains(it));
        numbers.filter(valid).ok_or_else(String::new)
    })
}

const NAME: &str = "folder";

impl DataSet for Folder {
    fn about(&self) -> About {
        About::new(NAME)
    }

    fn read(&self, files: &Files, report: Report) -> Result<RawDataset> {
        let directory = &files.directory;
        let [train, test] = [&self.train, &self.test].map(|path| directory.find_folder(path));
        let (train, test) = (train?, test?);
        let classes = classes(&train)?;
        if classes.len() < 2 {
            bail!(
                "{}: has one folder in it; there must be one for each of several classes",
                train.display()
            );
        }
        let parts = [pictures(&train, &classes)?, pictures(&test, &classes)?];
        let format = self.format(&parts[0][0].path)?;
        let [train_pixels, test_pixels] = pixels(&parts, format, &directory.folder(NAME), report)?;
        let scaling = self.scaling(&train_pixels, format.shape[0] as usize)?;
        let PixelFormat { shape, resized } = format;
        let inputs = Inputs::Image { shape, largest: 255.0, scaling, resized, unbounded: false };
        let labels = |pictures: &[Picture]| {
            Tensor::from_slice(&pictures.iter().map(|it| it.class).collect::<Vec<_>>())
        };
        let splits = [
            Split::new(train_pixels, labels(&parts[0])),
            Split::new(test_pixels, labels(&parts[1])),
        ];
        let name = train.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(RawDataset::new(&name, inputs, Targets::classes(classes), splits))
    }
}

impl Folder {
    fn checked(self, reader: &mut Reader) -> Result<Folder, ConfigError> {
        let given = [("mean", &self.mean), ("standard_deviation", &self.standard_deviation)];
        if let Some((key, Some(numbers))) = given.iter().find(|(_, it)| it.is_some())
            && !self.standardize
        {
            let expected = "null, since `data.standardize` is false";
            return Err(reader.refuse(key, format!("{numbers:?}"), expected));
        }
        let [train, test] = [&self.train, &self.test].map(|path| reader.found_beside(path));
        Ok(Folder { train, test, ..self })
    }

    fn format(&self, first: &Path) -> Result<PixelFormat> {
        let (found, colored) = picture::about(first)?;
        let [height, width] = match self.size {
            None => found,
            Some(Size::Square(side)) => [side.into(); 2],
            Some(Size::Sides(sides)) => sides.map(i64::from),
        };
        let colored = match self.color {
            Color::Auto => colored,
            color => color == Color::Rgb,
        };
        let channels = if colored { 3 } else { 1 };
        Ok(PixelFormat { shape: [channels, height, width], resized: self.size.is_some() })
    }

    /// For each channel, of pixels in [0, 1].
    fn scaling(&self, training_pixels: &Tensor, channels: usize) -> Result<Vec<Scaling>> {
        if !self.standardize {
            return Ok(vec![Scaling::NONE; channels]);
        }
        let mut scaling = match (&self.mean, &self.standard_deviation) {
            (Some(_), Some(_)) => vec![Scaling::NONE; channels],
            _ => channel_statistics(training_pixels, channels as i64, 255.0),
        };
        let of_each = |key: &'static str, given: &[f64]| match given.len() {
            1 => Ok(vec![given[0]; channels]),
            count if count == channels => Ok(given.to_vec()),
            count => {
                let expected = format!("one number, or {channels}: one for each channel");
                Err(Refusal::new(key, format!("a list of {count}"), expected))
            }
        };
        if let Some(mean) = &self.mean {
            let means = of_each("data.mean", mean)?;
            scaling.iter_mut().zip(means).for_each(|(it, mean)| it.mean = mean);
        }
        if let Some(deviation) = &self.standard_deviation {
            let all = of_each("data.standard_deviation", deviation)?;
            scaling.iter_mut().zip(all).for_each(|(it, value)| it.standard_deviation = value);
        }
        Ok(scaling)
    }
}

struct Picture {
    path: PathBuf,
    class: i64,
}

/// The names of the folders in a folder, sorted.
fn classes(folder: &Path) -> Result<Vec<String>> {
    let mut classes = Vec::new();
    for entry in fs::read_dir(folder).at(folder, "cannot be read")? {
        let entry = entry.at(folder, "cannot be read")?;
        let name = entry.file_name();
        if !entry.path().is_dir() || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match name.into_string() {
            Ok(name) => classes.push(name),
            Err(name) => bail!("{}: is not a name in UTF-8", folder.join(name).display()),
        }
    }
    classes.sort();
    if classes.is_empty() {
        bail!("{}: has no folders in it; there must be one for each class", folder.display());
    }
    Ok(classes)
}

/// The pictures of a folder class by class, each class's sorted by their paths, at any depth.
fn pictures(folder: &Path, classes: &[String]) -> Result<Vec<Picture>> {
    if let Some(unknown) = self::classes(folder)?.iter().find(|it| !classes.contains(it)) {
        bail!("{}: is a class that the training set does not have", folder.join(unknown).display());
    }
    let mut found = Vec::new();
    for (class, name) in (0..).zip(classes) {
        let place = folder.join(name);
        if !place.is_dir() {
            continue; // a test set can do without a class
        }
        let pictures = pictures_below(&place)?;
        if pictures.is_empty() {
            bail!("{}: has no PNG or JPEG files", place.display());
        }
        found.extend(pictures.into_iter().map(|path| Picture { path, class }));
    }
    Ok(found)
}

/// The pixels `[N, c·r·s]` of the training and the test pictures, unsigned bytes: from the cache if it has
/// them, else decoded, and kept there.
fn pixels(
    parts: &[Vec<Picture>; 2],
    format: PixelFormat,
    cache: &Path,
    report: Report,
) -> Result<[Tensor; 2]> {
    let place = cache.join(format!("{}.safetensors", cache_key(parts, format)?));
    let size: i64 = format.shape.iter().product();
    let shapes = parts.each_ref().map(|part| [part.len() as i64, size]);
    if place.exists() {
        match cached(&place, shapes) {
            Ok(found) => return Ok(found),
            Err(error) => {
                report(Progress::Note(&format!("{error:#}; the pictures are read again")))
            }
        }
    }
    let all: Vec<&Picture> = parts.iter().flatten().collect();
    let bytes = decoded(&all, format, size as usize, report)?;
    let all = Tensor::from_slice(&bytes).reshape([-1, size]);
    drop(bytes);
    let [train, test] = shapes.map(|[count, _]| count);
    let found = [all.narrow(0, 0, train), all.narrow(0, train, test)];
    let tensors = NAMES.into_iter().zip(&found);
    let tensors = tensors.map(|(name, it)| (name.to_string(), it.shallow_clone())).collect();
    let kept = fs::create_dir_all(cache).at(cache, "cannot be created");
    if let Err(error) = kept.and_then(|()| tensor_file::write(&place, tensors, Default::default()))
    {
        report(Progress::Note(&format!("{error:#}; the pictures will be read again next time")));
    }
    Ok(found)
}

const NAMES: [&str; 2] = ["train", "test"];

fn cached(place: &Path, shapes: [[i64; 2]; 2]) -> Result<[Tensor; 2]> {
    let mut file = TensorFile::open(place)?;
    let mut read = |index: usize| -> Result<Tensor> {
        let like = Tensor::empty(shapes[index], (Kind::Uint8, Device::Cpu));
        tensor_file::fill(&like, &file.read(NAMES[index], &like)?);
        Ok(like)
    };
    Ok([read(0)?, read(1)?])
}

/// What tells these pictures in this format from others: their paths, sizes and times.
fn cache_key(parts: &[Vec<Picture>; 2], format: PixelFormat) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("1 {format:?}"));
    for part in parts {
        hash.update(part.len().to_le_bytes());
        for Picture { path, class } in part {
            let about = fs::metadata(path).at(path, "cannot be read")?;
            let changed = about.modified().ok().and_then(|it| it.duration_since(UNIX_EPOCH).ok());
            let absolute = std::path::absolute(path).at(path, "cannot be read")?;
            hash.update(format!("{absolute:?} {class} {} {changed:?};", about.len()));
        }
    }
    Ok(format!("{:x}", hash.finalize())[..16].to_string())
}

/// The pixels of all pictures, one behind the other, by as many threads as there are cores.
fn decoded(
    pictures: &[&Picture],
    format: PixelFormat,
    size: usize,
    report: Report,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; pictures.len() * size];
    let work = Mutex::new(pictures.iter().zip(bytes.chunks_exact_mut(size)));
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let decode = |done: mpsc::Sender<Result<()>>| {
        while let Some((picture, place)) = next() {
            let outcome = picture::read(&picture.path, format).map(|it| place.copy_from_slice(&it));
            let failed = outcome.is_err();
            if done.send(outcome).is_err() || failed {
                return; // nobody wants more
            }
        }
    };
    let of = pictures.len() as u64;
    thread::scope(|scope| -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            let sender = sender.clone();
            scope.spawn(|| decode(sender));
        }
        drop(sender);
        for (done, outcome) in (1..).zip(receiver) {
            outcome?;
            report(Progress::Work { what: "reading pictures", done, of });
        }
        Ok(())
    })?;
    Ok(bytes)
}
