//! Samples to be predicted, some at a time: rows of a table, images of an IDX file, picture files.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::file::open;
use super::preparation::{Coding, Column, Inputs, Preparation, scale_columns, scale_pixels};
use super::table::{Header, Matrix, Rows, TableFormat};

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
    /// Picture files that have not been read yet, the last one first.
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
        let shown = path.display();
        if path.is_dir() {
            let entries = fs::read_dir(path).with_context(|| format!("{shown}: cannot be read"))?;
            let mut pictures: Vec<PathBuf> = entries
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<_>>()
                .with_context(|| format!("{shown}: cannot be read"))?;
            pictures.retain(|path| is_picture(path));
            pictures.sort();
            pictures.reverse();
            if pictures.is_empty() {
                bail!("{shown}: holds no PNG or JPEG files");
            }
            return Ok(Samples { preparation, source: Source::Pictures(pictures) });
        }
        if is_picture(path) {
            let source = Source::Pictures(vec![path.to_path_buf()]);
            return Ok(Samples { preparation, source });
        }
        let mut content = BufReader::new(open(path)?);
        let start = content.fill_buf().with_context(|| format!("{shown}: cannot be read"))?;
        let source = match start.starts_with(&[0, 0]) {
            true => open_idx(&shown.to_string(), content, preparation)?,
            false => open_table(&shown.to_string(), content, format, preparation)?,
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
        match (&mut self.source, &self.preparation.inputs) {
            (Source::Table(rows, places, kind), Inputs::Table { columns }) => {
                let cell = |rows: &Rows, index: usize| match &columns[index].coding {
                    Coding::Number => rows.number(places[index]),
                    Coding::Ordinal(values) | Coding::OneHot(values) => {
                        place_of(rows, places[index], values)
                    }
                };
                let Some(raw) = read_rows(rows, (places.len(), *kind), most, cell)? else {
                    return Ok(None);
                };
                let parts = columns
                    .iter()
                    .enumerate()
                    .map(|(index, column)| encode(&raw.narrow(1, index as i64, 1), column));
                Ok(Some(Tensor::cat(&parts.collect::<Vec<_>>(), 1)))
            }
            (Source::Table(rows, places, kind), Inputs::Image { largest, scaling, .. }) => {
                let pixel = |rows: &Rows, index: usize| match rows.number(places[index])? {
                    pixel if (0.0..=*largest).contains(&pixel) => Ok(pixel),
                    _ => Err(rows.refuse(places[index], &format!("a pixel, 0 to {largest}"))),
                };
                let raw = read_rows(rows, (places.len(), *kind), most, pixel)?;
                Ok(raw.map(|pixels| scale_pixels(&pixels, *largest, scaling)))
            }
            (Source::Idx { origin, content, left }, Inputs::Image { shape, largest, scaling }) => {
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
                let pixels = Tensor::from_slice(&bytes).reshape([count as i64, size as i64]);
                Ok(Some(scale_pixels(&pixels, *largest, scaling)))
            }
            (Source::Pictures(left), Inputs::Image { shape, scaling, .. }) => {
                let mut rows = Vec::new();
                while rows.len() < most
                    && let Some(path) = left.pop()
                {
                    rows.push(read_picture(&path, *shape)?);
                }
                if rows.is_empty() {
                    return Ok(None);
                }
                Ok(Some(scale_pixels(&Tensor::cat(&rows, 0), 255.0, scaling)))
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
    origin: &str,
    content: impl Read + 'static,
    format: TableFormat,
    preparation: &Preparation,
) -> Result<Source> {
    let rows = Box::new(Rows::new(origin.to_string(), Box::new(content), format)?);
    match &preparation.inputs {
        Inputs::Table { columns } => {
            let places = columns.iter().map(|column| rows.column(&column.name));
            let places = places.collect::<Result<Vec<_>>>()?;
            let (found, all) = (rows.names().len(), places.len() + format.others);
            if format.header == Header::Row && found != all {
                bail!(
                    "{origin}: has {found} column(s); without names they are told by their places, so all \
                     {all} of the training set must be there"
                );
            }
            Ok(Source::Table(rows, places, format.kind))
        }
        Inputs::Image { shape, .. } => {
            let pixels = shape.iter().product::<i64>() as usize;
            if rows.names().len() != pixels {
                bail!(
                    "{origin}: has {} column(s); an image of the training set has {pixels} pixels",
                    rows.names().len()
                );
            }
            Ok(Source::Table(rows, (0..pixels).collect(), format.kind))
        }
    }
}

fn open_idx(origin: &str, mut content: impl Read + 'static, from: &Preparation) -> Result<Source> {
    let Inputs::Image { shape: [channels, height, width], .. } = from.inputs else {
        bail!("{origin}: holds images; the network was trained on rows of a table");
    };
    let mut header = [0u8; 16];
    content.read_exact(&mut header).with_context(|| format!("{origin}: is too short for IDX"))?;
    let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    if header[..4] != [0, 0, 8, 3] {
        bail!("{origin}: is no IDX file of images: it starts with {:?}", &header[..4]);
    }
    let found = [i64::from(number(8)), i64::from(number(12))];
    if channels != 1 || found != [height, width] {
        bail!(
            "{origin}: holds images of {} x {}; the network was trained on {channels} x {height} x \
             {width}",
            found[0],
            found[1]
        );
    }
    let left = u64::from(number(4));
    Ok(Source::Idx { origin: origin.to_string(), content: Box::new(content), left })
}

/// Some rows of a table; `cell` reads a cell of the current row.
fn read_rows(
    rows: &mut Rows,
    (width, kind): (usize, Kind),
    most: usize,
    cell: impl Fn(&Rows, usize) -> Result<f64>,
) -> Result<Option<Tensor>> {
    let mut matrix = Matrix::new(width, kind);
    let mut count = 0;
    while count < most && rows.advance()? {
        for index in 0..width {
            matrix.push(cell(rows, index)?);
        }
        count += 1;
    }
    Ok((count > 0).then(|| matrix.finish()))
}

/// The position of a cell's value in a list.
fn place_of(rows: &Rows, column: usize, values: &[String]) -> Result<f64> {
    let cell = rows.cell(column);
    let known = values.iter().position(|value| value.as_bytes() == cell);
    let place = known.ok_or_else(|| rows.refuse(column, &format!("one of {}", listed(values))))?;
    Ok(place as f64)
}

fn listed(values: &[String]) -> String {
    let shown = values[..values.len().min(20)].join(", ");
    if values.len() > 20 { format!("{shown}, …") } else { shown }
}

/// A column `[b, 1]` as the network's inputs `[b, width]`.
fn encode(raw: &Tensor, column: &Column) -> Tensor {
    let numbers = match &column.coding {
        Coding::OneHot(values) => {
            let places = raw.flatten(0, -1).to_kind(Kind::Int64);
            places.onehot(values.len() as i64).to_kind(Kind::Float)
        }
        _ => raw.shallow_clone(),
    };
    scale_columns(numbers, &column.scaling)
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
    Ok(pixels.permute([2, 0, 1]).contiguous().reshape([1, -1]).to_device(Device::Cpu))
}
