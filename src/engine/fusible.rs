//! Which blocks the fused kernels know, and who computes them.

use anyhow::{Context, Result, bail};
use tch::{Device, Tensor};

use super::{
    BlockEngine, Engine, FusedDense, FusedTransformer, fused_dense, fused_transformer, parameters,
};
use crate::native::dense::{self, activation_number};
use crate::network::{Block, Dense, TransformerBlock};
use crate::optimizer::OptimizerSettings;

/// A block as the fused kernels know it.
pub(super) enum Fusible<'b> {
    Dense(&'b Dense),
    Transformer(&'b TransformerBlock),
}

/// The block as the kernels know it; `None` if it is of a kind that libtorch always computes.
///
/// # Errors
/// If the kernels know the kind, but not this block, with the reason: this is the only place that tells.
pub(super) fn fusible(block: &dyn Block) -> Result<Option<Fusible<'_>>> {
    if parameters(block).iter().any(|it| it.device() != Device::Cpu) {
        bail!("the fused kernels are for the CPU");
    }
    let (fusible, activation) = match (block.as_dense(), block.as_transformer()) {
        (Some(dense), _) => (Fusible::Dense(dense), dense.activation()),
        (_, Some(block)) => (Fusible::Transformer(block), block.shape().activation),
        (None, None) => return Ok(None),
    };
    if activation_number(activation).is_none() {
        bail!("the fused kernels have no `model.activation: {activation}`");
    }
    Ok(Some(fusible))
}

/// Refuses blocks of which one is of a kind that the fused kernels know, but cannot be computed by them,
/// with the reason.
pub fn all_can_be_fused<'b>(blocks: impl IntoIterator<Item = &'b dyn Block>) -> Result<()> {
    for (index, block) in blocks.into_iter().enumerate() {
        fusible(block).with_context(|| format!("layer {} cannot be fused", index + 1))?;
    }
    Ok(())
}

/// The outputs `[r, n]` of a block in use for inputs `[r, m]`, by the fused kernels, if these are wanted and
/// for its kind, or by libtorch's.
///
/// # Errors
/// If the kernels are for its kind, but not for this block.
pub fn forward(block: &dyn Block, fused: bool, input: &Tensor) -> Result<Tensor> {
    match fused.then(|| fusible(block)).transpose()?.flatten() {
        Some(Fusible::Dense(block)) => dense::forward(fused_dense::layer(block), input),
        Some(Fusible::Transformer(block)) => fused_transformer::forward(block, input),
        None => Ok(block.forward(input)),
    }
}

/// The fused engine of a block, `half` as for [`FusedDense::new`]; libtorch's where there is none for its
/// kind.
///
/// # Errors
/// If the kernels are for its kind, but not for this block.
pub(super) fn engine(
    block: Box<dyn Block>,
    optimizer: &OptimizerSettings,
    half: bool,
) -> Result<Box<dyn Engine>> {
    Ok(match fusible(block.as_ref())? {
        Some(Fusible::Dense(block)) => Box::new(FusedDense::new(block, optimizer, half)?),
        Some(Fusible::Transformer(block)) => Box::new(FusedTransformer::new(block, optimizer)?),
        None => Box::new(BlockEngine::new(block, optimizer)?),
    })
}
