//! Networks as safetensors files, which PyTorch loads.

use std::path::Path;

use anyhow::{Context, Result};
use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Tensor};

use crate::files;
use crate::network::Network;

/// Saves weights, biases and feedback matrices under the names of
/// [`Network::named_tensors`], as float32.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    let tensors = network.named_tensors();
    let contents: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let shape = tensor.size().iter().map(|&size| size as usize).collect();
            (name, shape, bytes(&tensor))
        })
        .collect();
    let views = contents
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes)?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    let format = [("format".to_string(), "pt".to_string())].into();
    let content = safetensors::serialize(views, Some(format))?;
    files::write(path, &content)
        .with_context(|| format!("{}: the network could not be saved", path.display()))
}

/// The elements of a float tensor, little-endian.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    let flat = tensor.to_device(Device::Cpu).contiguous().flatten(0, -1);
    let mut values = vec![0f32; flat.numel()];
    flat.copy_data(&mut values, flat.numel());
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
