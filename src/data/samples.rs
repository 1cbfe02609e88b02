//! Samples to be predicted, some at a time: rows of a table, images of an IDX file, picture files.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tch::{Kind, Tensor};

use super::file::open;
use super::preparation::{Inputs, Preparation, scale_pixels};
use super::table::{Header, Rows, TableFormat};

/// The most inputs that are in memory at once, even if more samples are asked for.
const MOST_NUMBERS: usize = 1 << 24;

/// Samples from a file or folder, prepared as a network's training set was.
pub struct Samples<'a> {
    preparation: &'a Preparation,
    source: Source,
}

enum Source {
    /// A table, the positions of the wanted columns in it, and the kind that numbers are read as.
    Table(Box<Rows<'static>>, Vec<usize>, Kind),
    /// The rest of an IDX file, and how many images are left in it.
    Idx { origin: String, content: Box<dyn Read>, left: u64 },
    /// Picture files that have not been read yet.
    Pictures(Vec<PathBuf>),
}

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
        let origin = path.display().to_string();
        let unread = || format!("{origin}: cannot be read");
        let source = if path.is_dir() {
            let entries = fs::read_dir(path).with_context(unread)?;
            let mut pictures: Vec<PathBuf> = entries
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<_>>()
                .with_context(unread)?;
            pictures.retain(|path| is_picture(path));
            pictures.sort();
            if pictures.is_empty() {
                bail!("{origin}: holds no PNG or JPEG files");
            }
            Source::Pictures(pictures)
        } else if is_picture(path) {
            Source::Pictures(vec![path.to_path_buf()])
        } else {
            let mut content = BufReader::new(open(path)?);
            let start = content.fill_buf().with_context(unread)?;
            match start.starts_with(&[0, 0]) {
                true => open_idx(origin, content, &preparation.inputs)?,
                false => open_table(origin, content, format, &preparation.inputs)?,
            }
        };
        Ok(Samples { preparation, source })
    }

    /// The inputs `[b, n_0]` of up to `most` further samples; none at the end.
    ///
    /// # Errors
    /// If a sample cannot be read, with its place.
    pub fn next(&mut self, most: usize) -> Result<Option<Tensor>> {
        let (width, _) = self.preparation.widths();
        let most = most.clamp(1, (MOST_NUMBERS / width.max(1) as usize).max(1));
        let inputs = &self.preparation.inputs;
        let Some(raw) = self.source.next(most, inputs)? else { return Ok(None) };
        Ok(Some(match inputs {
            Inputs::Table { columns } => {
                let cells = (0..).map(|index| raw.select(1, index));
                let parts = columns.iter().zip(cells).map(|(column, cells)| column.encode(&cells));
                Tensor::cat(&parts.collect::<Vec<_>>(), 1)
            }
            Inputs::Image { largest, scaling, .. } => {
                let is_picture = matches!(self.source, Source::Pictures(_));
                scale_pixels(&raw, if is_picture { 255.0 } else { *largest }, scaling)
            }
        }))
    }
}

impl Source {
    /// Up to `most` further samples as they stand there: cells or pixels `[b, n]`.
    fn next(&mut self, most: usize, inputs: &Inputs) -> Result<Option<Tensor>> {
        match (self, inputs) {
            (Source::Table(rows, places, kind), _) => {
                let cell = |rows: &Rows, index: usize| cell(rows, places[index], index, inputs);
                rows.matrix(most, (places.len(), *kind), cell)
            }
            (Source::Idx { origin, content, left }, Inputs::Image { shape, .. }) => {
                let count = (*left).min(most as u64) as usize;
                if count == 0 {
                    let mut more = [0];
                    if content.read(&mut more).with_context(|| origin.clone())? != 0 {
                        bail!("{origin}: is longer than it says");
                    }
                    return Ok(None);
                }
                let size = shape.iter().product::<i64>() as usize;
                let mut bytes = Vec::new(); // grows with what is there, not with what is said
                let read = content.take((count * size) as u64).read_to_end(&mut bytes);
                read.with_context(|| format!("{origin}: cannot be read"))?;
                if bytes.len() < count * size {
                    bail!("{origin}: ends before the last image");
                }
                *left -= count as u64;
                Ok(Some(Tensor::from_slice(&bytes).reshape([count as i64, size as i64])))
            }
            (Source::Pictures(left), Inputs::Image { shape, .. }) => {
                let next = left.drain(..most.min(left.len()));
                let pictures = next.map(|path| read_picture(&path, *shape));
                let pictures = pictures.collect::<Result<Vec<_>>>()?;
                Ok((!pictures.is_empty()).then(|| Tensor::cat(&pictures, 0)))
            }
            (_, Inputs::Table { .. }) => {
                bail!("images were given to a network that was trained on rows of a table")
            }
        }
    }
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].contains(&ending.to_ascii_lowercase().as_str())
}

fn open_table(
    origin: String,
    content: impl Read + 'static,
    format: TableFormat,
    inputs: &Inputs,
) -> Result<Source> {
    let rows = Box::new(Rows::new(origin, Box::new(content), format)?);
    let (origin, found) = (&rows.origin, rows.names.len());
    let places = match inputs {
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
        Inputs::Image { shape, .. } => {
            let pixels = shape.iter().product::<i64>() as usize;
            if found != pixels {
                bail!(
                    "{origin}: has {found} column(s); an image of the training set has {pixels} pixels"
                );
            }
            (0..pixels).collect()
        }
    };
    Ok(Source::Table(rows, places, format.kind))
}

fn open_idx(origin: String, mut content: impl Read + 'static, inputs: &Inputs) -> Result<Source> {
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
    Ok(Source::Idx { origin, content: Box::new(content), left: u64::from(number(4)) })
}

/// A cell of a table: a number, the place of its value in the list of the column at `index`, or a
/// pixel.
fn cell(rows: &Rows, place: usize, index: usize, inputs: &Inputs) -> Result<f64> {
    match inputs {
        Inputs::Table { columns } => {
            let Some(values) = columns[index].coding.values() else { return rows.number(place) };
            let known = values.iter().position(|value| value.as_bytes() == rows.cell(place));
            Ok(known.ok_or_else(|| rows.refuse(place, &format!("one of {}", listed(values))))?
                as f64)
        }
        Inputs::Image { largest, .. } => match rows.number(place)? {
            pixel if (0.0..=*largest).contains(&pixel) => Ok(pixel),
            _ => Err(rows.refuse(place, &format!("a pixel, 0 to {largest}"))),
        },
    }
}

fn listed(values: &[String]) -> String {
    let shown = values[..values.len().min(20)].join(", ");
    if values.len() > 20 { format!("{shown}, …") } else { shown }
}

/// The pixels `[1, channels · height · width]` of a picture file, unsigned bytes.
fn read_picture(path: &Path, [channels, height, width]: [i64; 3]) -> Result<Tensor> {
    let shown = path.display();
    let unread = || format!("{shown}: cannot be read as a picture");
    let reader = || {
        let reader = image::ImageReader::open(path).with_context(unread)?;
        reader.with_guessed_format().with_context(unread)
    };
    let (w, h) = reader()?.into_dimensions().with_context(unread)?;
    if [i64::from(h), i64::from(w)] != [height, width] {
        bail!("{shown}: is {h} x {w}; the network was trained on {height} x {width}");
    }
    let picture = reader()?.decode().with_context(unread)?;
    let bytes = match channels {
        1 => picture.to_luma8().into_raw(),
        3 => picture.to_rgb8().into_raw(),
        _ => bail!("the network was trained on images of {channels} channels, not on pictures"),
    };
    // Channels last, as pictures have it.
    let pixels = Tensor::from_slice(&bytes).reshape([height, width, channels]);
    Ok(pixels.permute([2, 0, 1]).contiguous().reshape([1, -1]))
}
