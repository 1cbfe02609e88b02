//! Samples to be predicted, some at a time: rows of a table, images of an IDX file, picture files, arrays.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, stdin};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use flate2::bufread::MultiGzDecoder;
use tch::{Kind, Tensor};

use super::array::{Archive, Array};
use super::file::open;
use super::picture::{self, PixelFormat, is_picture, pictures_below};
use super::preparation::{Column, Inputs, Markers, Preparation, scale_pixels};
use super::table::{Header, Rows, TableFormat, listed};
use crate::files::At;

/// Who was trained on other numbers than bytes cannot be told how those stand for pixels.
const TRAINED_ON_NUMBERS: &str =
    "the network was trained on numbers, not on bytes: give an array (.npy) of such numbers";

/// The most inputs that are in memory at once, even if more samples are asked for.
const MOST_NUMBERS: usize = 1 << 24;

/// Samples from a file or folder, prepared as a network's training set was.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use std::path::Path;
///
/// use f3_tch::data::Samples;
/// use f3_tch::model::Model;
/// use f3_tch::tch::Device;
///
/// let model = Model::open(Path::new("runs/mnist/001/model.safetensors"), Device::Cpu)?;
/// let description = model.description();
/// let pictures = Path::new("pictures");
/// let mut samples = Samples::open(pictures, description.table, &description.preparation)?;
/// while let Some(part) = samples.next(1000)? {
///     model.answer(&part.inputs)?.print(); // a row for each sample
///     part.refused.values().for_each(|error| eprintln!("{error:#}"));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Samples<'a> {
    /// The columns that are there beside the inputs, such as an identifier.
    pub others: Vec<String>,
    most: usize,
    source: Source<'a>,
}

/// Some samples.
pub struct SampleBatch {
    /// `[b, n_0]`, with zeros for those that cannot be used.
    pub inputs: Tensor,
    /// What stands in the other columns: a row for each sample, or nothing.
    pub others: Vec<Vec<String>>,
    /// The samples, by their place in this part, that cannot be used, and why.
    pub refused: BTreeMap<usize, Error>,
}

/// Gives up to so many further samples; none at the end.
type Source<'a> = Box<dyn FnMut(usize) -> Result<Option<SampleBatch>> + 'a>;

impl<'a> Samples<'a> {
    /// Opens a table (CSV), an IDX file of images, both also with `.gz`, a PNG or JPEG file, a folder of
    /// these, or an array of NumPy's (`.npy`; of an `.npz` the one called `x_test` or `x`, or the only one);
    /// `-` is a table, an IDX file or a `.npy` from standard input. A table must have the columns of the
    /// training set under their names, in any order, and may have others; without names, it must have all
    /// columns of the training set's table. For a network that was trained on images, it must have a column
    /// for each pixel; beside others, these are told by names that count up. An array is `[N, m]`, or images
    /// as `[N, height, width]` or `[N, channels, height, width]`, of the kind of number that the network was
    /// trained on.
    ///
    /// # Errors
    /// If it cannot be read, or is not what the network was trained on.
    pub fn open(
        path: &Path,
        format: TableFormat,
        preparation: &'a Preparation,
    ) -> Result<Samples<'a>> {
        let (mut origin, inputs) = (path.display().to_string(), &preparation.inputs);
        let (others, source) = if path.is_dir() {
            let pictures = pictures_below(path)?;
            if pictures.is_empty() {
                bail!("{origin}: holds no PNG or JPEG files");
            }
            open_pictures(path, pictures, inputs)?
        } else if is_picture(path) {
            let folder = path.parent().unwrap_or(Path::new(""));
            open_pictures(folder, vec![path.to_path_buf()], inputs)?
        } else if let Some(ending @ ("npy" | "npz")) = path.extension().and_then(|it| it.to_str()) {
            let array = match ending {
                "npy" => Array::open(path)?,
                _ => Archive::open(path)?.read_one_of(&["x_test", "x"])?,
            };
            (Vec::new(), open_array(array, format.kind, inputs)?)
        } else {
            let content: Box<dyn Read> = match path.to_str() {
                Some("-") => {
                    origin = "standard input".to_string();
                    Box::new(stdin())
                }
                _ => open(path)?,
            };
            let mut content: Box<dyn BufRead> = Box::new(BufReader::new(content));
            if let [0x1f, 0x8b, ..] = content.fill_buf().at(path, "cannot be read")? {
                content = Box::new(BufReader::new(MultiGzDecoder::new(content)));
            }
            match content.fill_buf().at(path, "cannot be read")? {
                [0, 0, ..] => (Vec::new(), open_idx(origin, content, inputs)?),
                [0x93, b'N', ..] => {
                    (Vec::new(), open_array(Array::read(origin, content)?, format.kind, inputs)?)
                }
                [b'P', b'K', 3, 4, ..] => {
                    bail!("{origin}: is an archive, which cannot be read from there; give a .npy")
                }
                [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => {
                    bail!("{origin}: is a picture; give it as a file ending in .png or .jpg")
                }
                _ => open_table(origin, content, format, preparation)?,
            }
        };
        let most = MOST_NUMBERS / inputs.width().max(1) as usize;
        Ok(Samples { others, most: most.max(1), source })
    }

    /// Up to `most` further samples; none at the end.
    ///
    /// # Errors
    /// If the file cannot be read any further, with the place.
    pub fn next(&mut self, most: usize) -> Result<Option<SampleBatch>> {
        (self.source)(most.clamp(1, self.most))
    }
}

fn open_table<'a>(
    origin: String,
    content: impl Read + 'static,
    format: TableFormat,
    preparation: &'a Preparation,
) -> Result<(Vec<String>, Source<'a>)> {
    let inputs = &preparation.inputs;
    let mut rows = Rows::new(origin, Box::new(content), format)?;
    let (origin, found) = (&rows.origin, rows.names.len());
    let places: Vec<usize> = match inputs {
        Inputs::Table { columns, .. } => {
            let places = columns.iter().map(|column| rows.column(&column.name));
            let places = places.collect::<Result<Vec<_>>>()?;
            let all = places.len() + format.others;
            if format.header == Header::Row && found != all {
                bail!(
                    "{origin}: has {found} column(s); without names they are told by their places, so all \
                     {all} of the training set must be there"
                );
            }
            places
        }
        Inputs::Image { .. } => {
            let pixels = inputs.width() as usize;
            let places = columns_of_pixels(&rows.names, pixels).with_context(|| {
                format!(
                    "{origin}: has {found} column(s); an image of the training set has {pixels} pixels. \
                     Other columns may stand beside them if the pixels' columns are counted, such as \
                     pixel0, pixel1, …, and no other {pixels} columns are"
                )
            })?;
            places.collect()
        }
    };
    let used: HashSet<usize> = places.iter().copied().collect();
    let others: Vec<usize> = (0..found).filter(|place| !used.contains(place)).collect();
    let names = others.iter().map(|&place| rows.names[place].clone()).collect();
    let cells = Cells::of(inputs);
    let source = move |most: usize| {
        let (mut numbers, mut kept, mut refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        while kept.len() < most && rows.advance_to_any()? {
            let start = numbers.len();
            let read = rows.check_width().and_then(|()| {
                for (index, &place) in places.iter().enumerate() {
                    numbers.push(cells.number(&rows, place, index)?);
                }
                Ok(())
            });
            if let Err(error) = read {
                refused.insert(kept.len(), error);
                numbers.truncate(start);
                numbers.resize(start + places.len(), 0.0);
            }
            let text = |&place: &usize| String::from_utf8_lossy(rows.cell(place)).into_owned();
            kept.push(others.iter().map(text).collect());
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let raw = Tensor::from_slice(&numbers).reshape([kept.len() as i64, -1]);
        let inputs = inputs.encode(&raw.to_kind(format.kind));
        Ok(Some(SampleBatch { inputs, others: kept, refused }))
    };
    Ok((names, Box::new(source)))
}

/// Which columns are pixels: all; among others, those that stand side by side with names that count up, if
/// there is one such group of that many.
fn columns_of_pixels(names: &[String], pixels: usize) -> Option<Range<usize>> {
    if names.len() == pixels {
        return Some(0..pixels);
    }
    let counted = |name: &String| {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (text, number) = name.split_at(name.len() - digits);
        Some((text.to_string(), number.parse::<u64>().ok()?))
    };
    let counted: Vec<Option<(String, u64)>> = names.iter().map(counted).collect();
    let follows = |pair: &[Option<(String, u64)>]| match pair {
        [Some((text, number)), Some((next_text, next))] => {
            text == next_text && number.checked_add(1) == Some(*next)
        }
        _ => false,
    };
    let (mut start, mut found) = (0, None);
    for end in 1..=names.len() {
        if end == names.len() || !follows(&counted[end - 1..=end]) {
            if end - start == pixels && found.replace(start..end).is_some() {
                return None;
            }
            start = end;
        }
    }
    found
}

/// How cells become numbers.
enum Cells<'a> {
    /// For each column the places of its values, unless it has numbers.
    Table { columns: Vec<(&'a Column, HashMap<&'a [u8], usize>)>, missing: Markers<'a> },
    /// What pixels can be.
    Pixels(RangeInclusive<f64>),
}

impl<'a> Cells<'a> {
    fn of(inputs: &'a Inputs) -> Cells<'a> {
        match inputs {
            Inputs::Image { unbounded: true, .. } => Cells::Pixels(f64::MIN..=f64::MAX),
            Inputs::Image { largest, .. } => Cells::Pixels(0.0..=*largest),
            Inputs::Table { columns, missing } => {
                let places = |column: &'a Column| {
                    let values = column.coding.values().unwrap_or_default();
                    (column, values.iter().map(|it| it.as_bytes()).zip(0..).collect())
                };
                let columns = columns.iter().map(places).collect();
                Cells::Table { columns, missing: Markers::new(missing) }
            }
        }
    }

    /// A cell at a place in the row: a number, the place of its value in the list of the column at `index`, or
    /// a pixel.
    fn number(&self, rows: &Rows, place: usize, index: usize) -> Result<f64> {
        let (columns, missing) = match self {
            Cells::Table { columns, missing } => (columns, missing),
            Cells::Pixels(range) => match rows.number(place)? {
                pixel if range.contains(&pixel) => return Ok(pixel),
                _ => return Err(rows.refuse(place, &format!("a pixel, 0 to {}", range.end()))),
            },
        };
        let ((column, places), cell) = (&columns[index], rows.cell(place));
        let is_missing = missing.mark(cell);
        let Some(values) = column.coding.values() else {
            return match column.fill {
                Some(_) if is_missing => Ok(f64::NAN),
                None if is_missing => {
                    let expected =
                        "a number (training with `data.impute: median` or `mean` fills it in)";
                    Err(rows.refuse(place, expected))
                }
                _ => rows.number(place),
            };
        };
        let value = if is_missing { missing.name().as_bytes() } else { cell };
        match places.get(value) {
            Some(place) => Ok(*place as f64),
            None if column.unseen => Ok(values.len() as f64),
            None => Err(rows.refuse(place, &format!("one of {}", listed(values, 20)))),
        }
    }
}

fn open_idx(
    origin: String,
    mut content: impl Read + 'static,
    inputs: &Inputs,
) -> Result<Source<'_>> {
    let Inputs::Image { shape: [channels, height, width], largest, unbounded, .. } = *inputs else {
        bail!("{origin}: holds images; the network was trained on rows of a table");
    };
    if unbounded {
        bail!("{origin}: holds bytes; {TRAINED_ON_NUMBERS}");
    }
    let mut header = [0u8; 16];
    content.read_exact(&mut header).with_context(|| format!("{origin}: is too short for IDX"))?;
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    if header[..4] != [0, 0, 8, 3] {
        bail!("{origin}: is no IDX file of images: it starts with {:?}", &header[..4]);
    }
    let (h, w) = (i64::from(number(8)), i64::from(number(12)));
    if (channels, h, w) != (1, height, width) {
        bail!(
            "{origin}: holds images of {h} x {w}; the network was trained on {channels} x {height} x \
             {width}"
        );
    }
    let mut left = u64::from(number(4));
    Ok(Box::new(move |most| {
        let count = left.min(most as u64);
        left -= count;
        if count == 0 {
            if content.read(&mut [0]).with_context(|| origin.clone())? != 0 {
                bail!("{origin}: is longer than it says");
            }
            return Ok(None);
        }
        let size = count * inputs.width() as u64;
        let mut bytes = Vec::new(); // grows with what is there, not with what is said
        let read = content.by_ref().take(size).read_to_end(&mut bytes);
        read.with_context(|| format!("{origin}: cannot be read"))?;
        if (bytes.len() as u64) < size {
            bail!("{origin}: ends before the last image");
        }
        let bytes = Tensor::from_slice(&bytes).reshape([count as i64, -1]);
        // Where pixels are fractions, those of a file of bytes are 0 to 255.
        let inputs = match largest {
            1.0 => inputs.encode(&(bytes.to_kind(Kind::Double) / 255.0)),
            _ => inputs.encode(&bytes),
        };
        Ok(Some(SampleBatch { inputs, others: Vec::new(), refused: BTreeMap::new() }))
    }))
}

/// Rows `[N, m]` or images; the network was trained on such arrays, or on what can be given as one.
fn open_array(array: Array, kind: Kind, inputs: &Inputs) -> Result<Source<'_>> {
    let (origin, shape) = (array.origin.clone(), array.shape());
    let bytes = array.values.kind() == Kind::Uint8;
    let wanted = match inputs {
        Inputs::Image { shape: [channels, height, width], unbounded, .. } => {
            if bytes == *unbounded {
                let (found, other) = (array.values_are(), if bytes { "numbers" } else { "bytes" });
                bail!("{origin}: holds {found}; the network was trained on {other}");
            }
            match channels {
                1 if shape.len() == 3 => vec![*height, *width],
                _ if shape.len() == 2 => vec![inputs.width()],
                _ => vec![*channels, *height, *width],
            }
        }
        Inputs::Table { columns, .. } => {
            if let Some(column) = columns.iter().find(|it| it.coding.values().is_some()) {
                let name = &column.name;
                bail!(
                    "{origin}: is an array of numbers; column `{name}` has names, which a table can have"
                );
            }
            vec![columns.len() as i64]
        }
    };
    if shape.len() < 2 || shape[1..] != wanted {
        let sizes: Vec<String> = wanted.iter().map(i64::to_string).collect();
        bail!("{origin}: is {shape:?}; the network needs [N, {}]", sizes.join(", "));
    }
    let values = array.values.flatten(1, -1);
    let (count, mut start) = (shape[0], 0);
    Ok(Box::new(move |most| {
        let part = (count - start).min(most as i64);
        if part == 0 {
            return Ok(None);
        }
        let values = values.narrow(0, start, part);
        let (is_good, reason) = usable(&values, inputs);
        let is_good = is_good.all_dim(1, true);
        let mut refused = BTreeMap::new();
        for place in (0..part).filter(|place| is_good.int64_value(&[*place, 0]) == 0) {
            let sample = start + place + 1;
            refused.insert(place as usize, anyhow!("{origin}: sample {sample} {reason}"));
        }
        let values = match refused.is_empty() {
            true => values,
            false => values.where_self(&is_good, &values.zeros_like()),
        };
        start += part;
        let values =
            if matches!(inputs, Inputs::Table { .. }) { values.to_kind(kind) } else { values };
        Ok(Some(SampleBatch { inputs: inputs.encode(&values), others: Vec::new(), refused }))
    }))
}

/// Which of the numbers `[b, m]` can be used, and what is wrong with the others.
fn usable(values: &Tensor, inputs: &Inputs) -> (Tensor, String) {
    let finite = || values.to_kind(Kind::Float).isfinite();
    let numbers = "has numbers that are NaN, infinite or beyond float32".to_string();
    match inputs {
        Inputs::Image { largest, unbounded: false, .. } => {
            (values.le(*largest), format!("has pixels above {largest}"))
        }
        Inputs::Image { .. } => (finite(), numbers),
        Inputs::Table { columns, .. } => {
            let fills: Vec<bool> = columns.iter().map(|it| it.fill.is_some()).collect();
            // Where training knew missing numbers, NaN is one.
            let missing = values.isnan().logical_and(&Tensor::from_slice(&fills));
            (finite().logical_or(&missing), numbers)
        }
    }
}

/// Pictures are told by their paths in the folder.
fn open_pictures<'a>(
    folder: &Path,
    mut left: Vec<PathBuf>,
    inputs: &'a Inputs,
) -> Result<(Vec<String>, Source<'a>)> {
    let Inputs::Image { shape, scaling, resized, unbounded, .. } = inputs else {
        bail!("images were given to a network that was trained on rows of a table");
    };
    if *unbounded {
        bail!("{}: holds bytes; {TRAINED_ON_NUMBERS}", left[0].display());
    }
    let folder = folder.to_path_buf();
    let form = PixelFormat { shape: *shape, resized: *resized };
    let size = shape.iter().product::<i64>() as usize;
    let source = move |most: usize| {
        let (mut pixels, mut others, mut refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        for path in left.drain(..most.min(left.len())) {
            match picture::read(&path, form) {
                Ok(picture) => pixels.extend(picture),
                Err(error) => {
                    refused.insert(others.len(), error);
                    pixels.resize(pixels.len() + size, 0);
                }
            }
            let name = path.strip_prefix(&folder).unwrap_or(&path);
            others.push(vec![name.to_string_lossy().into_owned()]);
        }
        if others.is_empty() {
            return Ok(None);
        }
        let pixels = Tensor::from_slice(&pixels).reshape([others.len() as i64, -1]);
        Ok(Some(SampleBatch { inputs: scale_pixels(&pixels, 255.0, scaling), others, refused }))
    };
    Ok((vec!["file".to_string()], Box::new(source)))
}
