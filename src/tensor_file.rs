//! Files of tensors in the safetensors format, which PyTorch loads: written whole or not at all, and
//! read with distrust.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use tch::{Device, Kind, Tensor};

use crate::files::{self, At, Damage, damage};

/// Of a file's header, in bytes; what claims to be larger is no such file.
const LARGEST_HEADER: u64 = 100_000_000;

/// Where the metadata of a checkpoint have its header: it holds more tensors than a network's.
pub(crate) const CHECKPOINT: &str = "f3_tch_checkpoint";

/// Where the metadata have a CRC-32 of every tensor, and of every other text in the metadata.
const CHECKSUMS: &str = "f3_tch_crc32";

/// Writes tensors and some texts beside them; the file is on disk, under its name, when this returns,
/// or it is not there. One tensor at a time is copied: networks may be larger than memory.
pub(crate) fn write(
    path: &Path,
    mut tensors: Vec<(String, Tensor)>,
    texts: HashMap<String, String>,
) -> Result<()> {
    let failed = || format!("{}: could not be written", path.display());
    // As others write them: those of larger elements first, so that all are aligned.
    tensors.sort_by(|(a, x), (b, y)| element_size(y).cmp(&element_size(x)).then(a.cmp(b)));
    let header = header(&tensors, texts).with_context(failed)?;
    if header.len() as u64 > LARGEST_HEADER {
        bail!("{}: its header would be larger than the format allows", path.display());
    }

    let mut temporary = files::temporary_beside(path).with_context(failed)?;
    let start = [(header.len() as u64).to_le_bytes().to_vec(), header].concat();
    for bytes in iter::once(start).chain(tensors.iter().map(|(_, tensor)| bytes_of(tensor))) {
        temporary.as_file_mut().write_all(&bytes).with_context(failed)?;
    }
    files::persist(temporary, path).with_context(failed)
}

/// What stands before the tensors, which lie one behind the other: their names, kinds, shapes and
/// places, and the texts.
fn header(tensors: &[(String, Tensor)], mut texts: HashMap<String, String>) -> Result<Vec<u8>> {
    texts.insert("format".to_string(), "pt".to_string());
    let of_texts = texts.iter().map(|(key, text)| (text_name(key), checksum(text.as_bytes())));
    let of_tensors = tensors.iter().map(|(name, it)| (name.clone(), checksum(&bytes_of(it))));
    let checksums: BTreeMap<String, u32> = of_texts.chain(of_tensors).collect();
    texts.insert(CHECKSUMS.to_string(), serde_json::to_string(&checksums)?);
    let mut infos = Vec::new();
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.numel() * element_size(tensor);
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        let (dtype, data_offsets) = (dtype(tensor.kind())?, (start, end));
        infos.push((name.clone(), TensorInfo { dtype, shape, data_offsets }));
    }
    // As a value its keys are sorted: what is the same gives the same file.
    let header = serde_json::to_value(Metadata::new(Some(texts), infos)?)?;
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// In bytes.
fn element_size(tensor: &Tensor) -> usize {
    tensor.kind().elt_size_in_bytes()
}

/// How a kind of tensor is stored.
fn dtype(kind: Kind) -> Result<Dtype> {
    Ok(match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Int64 => Dtype::I64,
        Kind::Uint8 => Dtype::U8,
        other => bail!("tensors of {other:?} are not stored"),
    })
}

/// The elements, little-endian, in row-major order.
pub(crate) fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; element_size(&tensor) * tensor.numel()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// A file that has been opened: its header is read and checked, its tensors are not.
pub(crate) struct TensorFile {
    pub path: PathBuf,
    file: File,
    start: u64, // of the tensors
    metadata: Metadata,
    checksums: Option<BTreeMap<String, u32>>, // others' files have none
}

impl TensorFile {
    /// Reads the header.
    pub fn open(path: &Path) -> Result<TensorFile> {
        let shown = path.display();
        let mut file = files::open(path)?;
        let cut = || Damage(format!("{shown}: is no safetensors file, or was cut off"));
        let length = file.metadata().at(path, "cannot be read")?.len();
        let mut size = [0u8; 8];
        file.read_exact(&mut size).map_err(|_| cut())?;
        let size = u64::from_le_bytes(size);
        if size > LARGEST_HEADER || size + 8 > length {
            return Err(cut().into());
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).at(path, "cannot be read")?;
        // Also sees to it that tensors lie one behind the other, and are as long as their shapes say.
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| Damage(format!("{shown}: is no safetensors file ({error})")))?;
        if (metadata.data_len() as u64).checked_add(8 + size) != Some(length) {
            damage!("{shown}: is not as long as its header says; was it cut off?");
        }
        let path = path.to_path_buf();
        let mut opened = TensorFile { path, file, start: 8 + size, metadata, checksums: None };
        let checksums = opened.text(CHECKSUMS).map(serde_json::from_str).transpose();
        opened.checksums = checksums.map_err(|_| Damage(format!("{shown}: {ALTERED}")))?;
        for (key, text) in opened.metadata.metadata().iter().flatten() {
            if key != CHECKSUMS {
                opened.check(&text_name(key), text.as_bytes())?;
            }
        }
        Ok(opened)
    }

    /// Whether there are checksums, without which damage goes unnoticed.
    pub fn is_checked(&self) -> bool {
        self.checksums.is_some()
    }

    fn check(&self, name: &str, bytes: &[u8]) -> Result<()> {
        match &self.checksums {
            Some(checksums) if checksums.get(name) != Some(&checksum(bytes)) => {
                damage!("{}: `{name}` {ALTERED}", self.path.display())
            }
            _ => Ok(()),
        }
    }

    /// Of all tensors together.
    pub fn bytes(&self) -> usize {
        self.metadata.data_len()
    }

    /// A text that was written beside the tensors.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        self.metadata
            .info(name)
            .with_context(|| format!("{}: has no `{name}`", self.path.display()))
    }

    /// Refuses a tensor that has not the shape and the kind of this one.
    pub fn check_shape(&self, name: &str, like: &Tensor) -> Result<()> {
        let info = self.info(name)?;
        let shape: Vec<i64> = info.shape.iter().map(|&size| size as i64).collect();
        let wanted = dtype(like.kind())?;
        if shape != like.size() || info.dtype != wanted {
            let (shown, found, size) = (self.path.display(), info.dtype, like.size());
            bail!("{shown}: `{name}` is {found:?} {shape:?}; {wanted:?} {size:?} is needed");
        }
        Ok(())
    }

    /// The bytes of a tensor, which must have the shape and the kind of this one.
    pub fn read(&mut self, name: &str, like: &Tensor) -> Result<Vec<u8>> {
        self.check_shape(name, like)?;
        self.read_bytes(name)
    }

    /// The bytes of a tensor of any shape and kind.
    pub fn read_bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        let (from, to) = self.info(name)?.data_offsets;
        let mut bytes = vec![0; to - from];
        let read = self.file.seek(SeekFrom::Start(self.start + from as u64));
        read.and_then(|_| self.file.read_exact(&mut bytes)).at(&self.path, "cannot be read")?;
        self.check(name, &bytes)?;
        Ok(bytes)
    }
}

const ALTERED: &str = "has changed since it was written";

/// What the checksum of a text in the metadata is called; no tensor is called so.
fn text_name(key: &str) -> String {
    format!("metadata {key}")
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Writes the bytes of a tensor of this kind and shape into it.
pub(crate) fn fill(tensor: &Tensor, bytes: &[u8]) {
    let read = Tensor::from_data_size(bytes, &tensor.size(), tensor.kind());
    tensor.shallow_clone().copy_(&read.to_device(tensor.device()));
}
