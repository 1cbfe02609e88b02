//! Tensors that live in files: for networks that are larger than memory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use tch::{Device, Kind, Tensor};

use crate::native;

/// A folder whose files stand in for memory. The files have no name as soon as they are in use, so
/// that nothing is left of them when the program ends, however it does.
#[derive(Clone, Debug)]
pub struct Offload {
    folder: PathBuf,
}

impl Offload {
    /// Uses this folder, which is made if it is not there.
    pub fn new(folder: &Path) -> Result<Offload> {
        fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot be created", folder.display()))?;
        native::keep_freed_memory(1, 1);
        Ok(Offload { folder: folder.to_path_buf() })
    }

    /// Moves the elements of a float32 tensor on the CPU into a file; whoever holds the tensor sees
    /// them there. From then on they are in memory only while the system has room for them.
    pub fn take(&self, tensor: &Tensor) -> Result<()> {
        let place = || format!("{}: parameters cannot be kept here", self.folder.display());
        let mut file = tempfile::Builder::new()
            .prefix("f3-tch-")
            .tempfile_in(&self.folder)
            .with_context(place)?;
        // Written, not just made long: a full disk is noticed here, as an error.
        let elements = tensor.detach().contiguous();
        file.write_all(native::bytes(&elements)?)
            .and_then(|()| file.flush())
            .with_context(place)?;
        let path = file.path().to_str().ok_or_else(|| anyhow!("a name that is not UTF-8"));
        let (path, float) = (path.with_context(place)?, (Kind::Float, Device::Cpu));
        let mapped = Tensor::f_from_file(path, true, tensor.numel() as i64, float)?;
        tensor.shallow_clone().f_set_data(&mapped.f_reshape(tensor.size())?)?;
        native::drop_pages(tensor)
    }
}
