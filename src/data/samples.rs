//! Samples to be predicted, some at a time: rows of a table, images of an IDX file, picture files.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tch::Tensor;

use super::file::open;
use super::picture::{self, Form, is_picture};
use super::preparation::{Inputs, Preparation, scale_pixels};
use super::table::{Header, Rows, TableFormat, listed};
use crate::files::At;

/// The most inputs that are in memory at once, even if more samples are asked for.
const MOST_NUMBERS: usize = 1 << 24;

/// Samples from a file or folder, prepared as a network's training set was.
pub struct Samples<'a> {
    most: usize,
    source: Source<'a>,
}

/// Gives the inputs `[b, n_0]` of up to so many further samples; none at the end.
type Source<'a> = Box<dyn FnMut(usize) -> Result<Option<Tensor>> + 'a>;

impl<'a> Samples<'a> {
    /// Opens a table (CSV), an IDX file of images, both also with `.gz`, a PNG or JPEG file, or a folder
    /// of these. A table must have the columns of the training set under their names, in any order, and
    /// may have others; without names, it must have the training set's columns and no others. For a
    /// network that was trained on images, it must have a column for each pixel.
    ///
    /// # Errors
    /// If it cannot be read, or is not what the network was trained on.
    pub fn open(
        path: &Path,
        format: TableFormat,
        preparation: &'a Preparation,
    ) -> Result<Samples<'a>> {
        let (origin, inputs) = (path.display().to_string(), &preparation.inputs);
        let source = if path.is_dir() {
            let entries = fs::read_dir(path).at(path, "cannot be read")?;
            let entries = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>();
            let mut pictures: Vec<PathBuf> = entries.at(path, "cannot be read")?;
            pictures.retain(|path| is_picture(path));
            pictures.sort();
            if pictures.is_empty() {
                bail!("{origin}: holds no PNG or JPEG files");
            }
            open_pictures(pictures, inputs)?
        } else if is_picture(path) {
            open_pictures(vec![path.to_path_buf()], inputs)?
        } else {
            let mut content = BufReader::new(open(path)?);
            match content.fill_buf().at(path, "cannot be read")?.starts_with(&[0, 0]) {
                true => open_idx(origin, content, inputs)?,
                false => open_table(origin, content, format, inputs)?,
            }
        };
        let most = MOST_NUMBERS / inputs.width().max(1) as usize;
        Ok(Samples { most: most.max(1), source })
    }

    /// The inputs `[b, n_0]` of up to `most` further samples; none at the end.
    ///
    /// # Errors
    /// If a sample cannot be read, with its place.
    pub fn next(&mut self, most: usize) -> Result<Option<Tensor>> {
        (self.source)(most.clamp(1, self.most))
    }
}

fn open_table<'a>(
    origin: String,
    content: impl Read + 'static,
    format: TableFormat,
    inputs: &'a Inputs,
) -> Result<Source<'a>> {
    let mut rows = Rows::new(origin, Box::new(content), format)?;
    let (origin, found) = (&rows.origin, rows.names.len());
    let places: Vec<usize> = match inputs {
        Inputs::Table { columns } => {
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
            if found != pixels {
                bail!(
                    "{origin}: has {found} column(s); an image of the training set has {pixels} pixels"
                );
            }
            (0..pixels).collect()
        }
    };
    let shape = (places.len(), format.kind);
    Ok(Box::new(move |most| {
        let raw = rows.matrix(most, shape, |rows, numbers| {
            for (index, &place) in places.iter().enumerate() {
                numbers.push(cell(rows, place, index, inputs)?);
            }
            Ok(())
        })?;
        Ok(raw.map(|raw| inputs.encode(&raw)))
    }))
}

fn open_idx(
    origin: String,
    mut content: impl Read + 'static,
    inputs: &Inputs,
) -> Result<Source<'_>> {
    let Inputs::Image { shape: [channels, height, width], .. } = *inputs else {
        bail!("{origin}: holds images; the network was trained on rows of a table");
    };
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
        Ok(Some(inputs.encode(&Tensor::from_slice(&bytes).reshape([count as i64, -1]))))
    }))
}

fn open_pictures(mut left: Vec<PathBuf>, inputs: &Inputs) -> Result<Source<'_>> {
    let Inputs::Image { shape, scaling, resized, .. } = inputs else {
        bail!("images were given to a network that was trained on rows of a table");
    };
    let form = Form { shape: *shape, resized: *resized };
    Ok(Box::new(move |most| {
        let next = left.drain(..most.min(left.len()));
        let pictures = next.map(|path| picture::read(&path, form)).collect::<Result<Vec<_>>>()?;
        let all = |pixels: Vec<u8>| Tensor::from_slice(&pixels).reshape([pictures.len() as i64, -1]);
        Ok((!pictures.is_empty()).then(|| scale_pixels(&all(pictures.concat()), 255.0, scaling)))
    }))
}

/// A cell of a table: a number, the place of its value in the list of the column at `index`, or a
/// pixel.
fn cell(rows: &Rows, place: usize, index: usize, inputs: &Inputs) -> Result<f64> {
    match inputs {
        Inputs::Table { columns } => {
            let Some(values) = columns[index].coding.values() else { return rows.number(place) };
            let known = values.iter().position(|value| value.as_bytes() == rows.cell(place));
            Ok(known.ok_or_else(|| rows.refuse(place, &format!("one of {}", listed(values, 20))))?
                as f64)
        }
        Inputs::Image { largest, .. } => match rows.number(place)? {
            pixel if (0.0..=*largest).contains(&pixel) => Ok(pixel),
            _ => Err(rows.refuse(place, &format!("a pixel, 0 to {largest}"))),
        },
    }
}
