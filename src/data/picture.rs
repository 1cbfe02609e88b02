//! Picture files: PNG and JPEG.

use std::collections::HashSet;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, anyhow, bail};
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};

use crate::files::{self, At};

/// Whether a file is a picture, by its name.
pub(super) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].contains(&ending.to_ascii_lowercase().as_str())
}

/// The pictures in a folder, at any depth, sorted by their paths. Hidden files and folders are left out, and a
/// folder that links lead to twice is looked at once.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders, mut seen) =
        (Vec::new(), vec![folder.to_path_buf()], HashSet::new());
    while let Some(below) = folders.pop() {
        if !seen.insert(below.canonicalize().at(&below, "cannot be read")?) {
            continue;
        }
        for entry in fs::read_dir(&below).at(&below, "cannot be read")? {
            let path = entry.at(&below, "cannot be read")?.path();
            let hidden = path.file_name().is_some_and(|it| it.as_encoded_bytes()[0] == b'.');
            match path.is_dir() {
                _ if hidden => {}
                true => folders.push(path),
                false if is_picture(&path) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What becomes of a picture: planes of pixels, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PixelFormat {
    /// Channels (1 or 3), height and width.
    pub shape: [i64; 3],
    /// Whether pictures of another size are scaled to it.
    pub resized: bool,
}

/// What a picture may take in memory: some 16,000 x 16,000 in grey.
const MOST_BYTES: u64 = 256 << 20;

/// Height and width of a picture, and whether it has colours.
///
/// # Errors
/// If the file is no picture.
pub(super) fn about(path: &Path) -> Result<([i64; 2], bool)> {
    let decoder = decoder(path)?;
    let (width, height) = decoder.dimensions();
    Ok(([height.into(), width.into()], decoder.color_type().has_color()))
}

/// The pixels `[c, r, s]` of a picture, bytes. Grey is the luma of a colour (the weights of Rec. 709).
///
/// # Errors
/// If the file is no picture, or is of another size and not to be scaled.
pub(super) fn read(path: &Path, format: PixelFormat) -> Result<Vec<u8>> {
    let PixelFormat { shape: [channels, height, width], resized } = format;
    let shown = path.display();
    let decoder = decoder(path)?;
    let (w, h) = decoder.dimensions();
    let fits = [i64::from(h), i64::from(w)] == [height, width];
    if !fits && !resized {
        bail!(
            "{shown}: is {h} x {w}; pictures of {height} x {width} are needed (to scale them, train with \
             `data.size`)"
        );
    }
    if decoder.total_bytes() > MOST_BYTES {
        bail!("{shown}: is {h} x {w}, which is larger than any picture to learn from");
    }
    let decoded = DynamicImage::from_decoder(decoder);
    let mut picture = decoded.map_err(|error| unread(path, &error))?;
    if !fits {
        picture = picture.resize_exact(width as u32, height as u32, FilterType::Triangle);
    }
    match channels {
        1 => Ok(picture.to_luma8().into_raw()),
        3 => {
            let pixels = picture.to_rgb8().into_raw(); // channels last
            let plane = |channel: usize| pixels.iter().skip(channel).step_by(3).copied();
            Ok((0..3).flat_map(plane).collect())
        }
        _ => bail!("{shown}: images of {channels} channels are needed, which pictures are not"),
    }
}

fn decoder(path: &Path) -> Result<impl ImageDecoder> {
    let reader = ImageReader::new(BufReader::new(files::open(path)?));
    let open = || reader.with_guessed_format()?.into_decoder();
    open().map_err(|error| unread(path, &error))
}

/// What is wrong with a picture, in a line; the error's causes say it once more.
fn unread(path: &Path, error: &ImageError) -> Error {
    let reason = error.to_string().lines().collect::<Vec<_>>().join(" ");
    anyhow!("{}: cannot be read as a picture: {reason}", path.display())
}
