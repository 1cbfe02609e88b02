//! Networks as safetensors files, which PyTorch loads.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result};
use safetensors::tensor::{Dtype, View};
use tch::{Device, Tensor};

use crate::files;
use crate::network::Network;

/// Saves weights, biases and feedback matrices under the names of
/// [`Network::named_tensors`], as float32.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    let tensors = network.named_tensors().into_iter().map(|(name, tensor)| {
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        (name, Elements { tensor, shape })
    });
    let format = [("format".to_string(), "pt".to_string())].into();
    let failed = || format!("{}: the network could not be saved", path.display());
    let temporary = files::temporary_beside(path).with_context(failed)?;
    safetensors::serialize_to_file(tensors, Some(format), temporary.path()).with_context(failed)?;
    files::persist(temporary, path).with_context(failed)
}

/// A float tensor whose elements are copied when it is written, and not before: networks may be
/// larger than memory.
struct Elements {
    tensor: Tensor,
    shape: Vec<usize>,
}

impl View for Elements {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Little-endian.
    fn data(&self) -> Cow<'_, [u8]> {
        let flat = self.tensor.to_device(Device::Cpu).contiguous().flatten(0, -1);
        let mut values = vec![0f32; flat.numel()];
        flat.copy_data(&mut values, flat.numel());
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        4 * self.tensor.numel()
    }
}
