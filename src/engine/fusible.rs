//! Which blocks the fused kernels know, and who computes them.

use anyhow::{Context, Result, bail};
use tch::{Device, Tensor};

use super::{Engine, FusedDense, FusedTransformer, fused_dense, fused_transformer, parameters};
use crate::native::dense::{self, activation_number};
use crate::network::{Block, Dense, TransformerBlock};
use crate::optimizer::OptimizerSettings;

/// A block as the fused kernels know it.
pub(super) enum Fusible<'b> {
    Dense(&'b Dense),
    Transformer(&'b TransformerBlock),
}

/// The block as the kernels know it.
///
/// # Errors
/// If they do not, with the reason: this is the only place that tells.
pub(super) fn fusible(block: &dyn Block) -> Result<Fusible<'_>> {
    if parameters(block).iter().any(|it| it.device() != Device::Cpu) {
        bail!("the fused kernels are for the CPU");
    }
    let (fusible, activation) = match (block.as_dense(), block.as_transformer()) {
        (Some(dense), _) => (Fusible::Dense(dense), dense.activation()),
        (_, Some(block)) => (Fusible::Transformer(block), block.shape().activation),
        (None, None) => bail!("the fused kernels are for `model.name: mlp` and `vit`"),
    };
    if activation_number(activation).is_none() {
        bail!("the fused kernels have no `model.activation: {activation}`");
    }
    Ok(fusible)
}

/// Refuses blocks of which one cannot be computed by the fused kernels, with the reason.
pub fn all_can_be_fused<'b>(blocks: impl IntoIterator<Item = &'b dyn Block>) -> Result<()> {
    for (index, block) in blocks.into_iter().enumerate() {
        fusible(block).with_context(|| format!("layer {} cannot be fused", index + 1))?;
    }
    Ok(())
}

/// The outputs `[r, n]` of a block in use for inputs `[r, m]`, by the fused kernels or by libtorch's.
///
/// # Errors
/// If the kernels do not know the block.
pub fn forward(block: &dyn Block, fused: bool, input: &Tensor) -> Result<Tensor> {
    if !fused {
        return Ok(block.forward(input));
    }
    match fusible(block)? {
        Fusible::Dense(block) => dense::forward(fused_dense::layer(block), input),
        Fusible::Transformer(block) => fused_transformer::forward(block, input),
    }
}

/// The fused engine of a block; `half` as for [`FusedDense::new`].
///
/// # Errors
/// If the block cannot be fused, with the reason.
pub(super) fn engine(
    block: &dyn Block,
    optimizer: &OptimizerSettings,
    half: bool,
) -> Result<Box<dyn Engine>> {
    Ok(match fusible(block)? {
        Fusible::Dense(block) => Box::new(FusedDense::new(block, optimizer, half)?),
        Fusible::Transformer(block) => Box::new(FusedTransformer::new(block, optimizer)?),
    })
}
