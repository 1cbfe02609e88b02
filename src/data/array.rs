//! Arrays as NumPy saves them: `.npy`, and several of them in an `.npz`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use npyz::half::f16;
use npyz::{DType, NpyFile, Order, TypeChar};
use tch::{Kind, Tensor};
use zip::ZipArchive;

use crate::files::{self, At};

/// An `.npz` file: arrays with names.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// The arrays' names.
    pub names: Vec<String>,
}

impl Archive {
    /// Reads what arrays there are.
    pub fn open(path: &Path) -> Result<Archive> {
        let opened = ZipArchive::new(BufReader::new(files::open(path)?));
        let zip = opened.at(path, "is no .npz file")?;
        let names = zip.file_names().collect::<Result<Vec<_>, _>>();
        let names = names.at(path, "is no .npz file")?;
        let names = names.iter().map(|name| name.trim_end_matches(".npy").to_string()).collect();
        Ok(Archive { path: path.to_path_buf(), zip, names })
    }

    /// The only array, or the first one there is of these names.
    pub fn read_one_of(&mut self, wanted: &[&str]) -> Result<Array> {
        let name = match &*self.names {
            [only] => Some(only.clone()),
            names => wanted.iter().map(|it| it.to_string()).find(|it| names.contains(it)),
        };
        let name = name.with_context(|| {
            let (shown, wanted, names) =
                (self.path.display(), wanted.join("` or `"), self.names.join(", "));
            format!("{shown}: has no array `{wanted}`, and not a single one; it has {names}")
        })?;
        self.read(&name)
    }

    /// The array of this name; the error lists the names that there are.
    pub fn read(&mut self, name: &str) -> Result<Array> {
        let Archive { path, zip, names } = self;
        let shown = path.display();
        if !names.iter().any(|it| it == name) {
            bail!("{shown}: has no array `{name}`; it has {}", names.join(", "));
        }
        let origin = format!("{shown}, `{name}`");
        let entry = zip.by_name(&format!("{name}.npy")).with_context(|| origin.clone())?;
        Array::read(origin, entry)
    }
}

/// An array with its place, for messages.
pub(super) struct Array {
    /// The file's path, and the array's name in an archive.
    pub origin: String,
    /// Of any shape; uint8, int64 or double.
    pub values: Tensor,
}

impl Array {
    /// The array of a `.npy` file.
    pub fn open(path: &Path) -> Result<Array> {
        Array::read(path.display().to_string(), BufReader::new(files::open(path)?))
    }

    /// The array that a reader gives; messages call it `origin`.
    pub fn read(origin: String, content: impl Read) -> Result<Array> {
        let unread = || format!("{origin}: cannot be read as an array of NumPy");
        let file = NpyFile::new(content).with_context(unread)?;
        let shape: Vec<i64> = file.shape().iter().map(|&size| size as i64).collect();
        let count = shape.iter().try_fold(1i64, |count, size| count.checked_mul(*size));
        if count.is_none_or(|count| count >= 1 << 40) {
            bail!("{origin}: says that it is {shape:?}, which no memory holds");
        }
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
            (TypeChar::Uint, 8) => {
                let found = file.into_vec::<u64>().with_context(unread)?;
                let found = found.into_iter().map(i64::try_from).collect::<Result<Vec<_>, _>>();
                whole(found.with_context(|| format!("{origin}: has a number beyond int64"))?)
            }
            (TypeChar::Float, 2) => {
                let found = file.into_vec::<f16>().with_context(unread)?;
                Tensor::from_slice(&found.into_iter().map(f64::from).collect::<Vec<_>>())
            }
            (TypeChar::Float, 4) => {
                Tensor::from_slice(&file.into_vec::<f32>().with_context(unread)?)
                    .to_kind(Kind::Double)
            }
            (TypeChar::Float, 8) => {
                Tensor::from_slice(&file.into_vec::<f64>().with_context(unread)?)
            }
            _ => bail!("{origin}: holds {kind}; whole numbers or float16 to float64 are needed"),
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

    /// Its sizes.
    pub fn shape(&self) -> Vec<i64> {
        self.values.size()
    }

    /// What the values are, for messages.
    pub fn values_are(&self) -> &'static str {
        if self.values.kind() == Kind::Uint8 { "bytes" } else { "numbers that are no bytes" }
    }
}

fn whole<T: Into<i64>>(numbers: Vec<T>) -> Tensor {
    Tensor::from_slice(&numbers.into_iter().map(Into::into).collect::<Vec<i64>>())
}
