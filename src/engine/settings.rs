//! Which engine computes which layer: decided here, once, when the layers are made.

use anyhow::{Result, bail};

use super::{BlockEngine, Engine, all_can_be_fused, fusible, large_state};
use crate::native::settle_first_calls;
use crate::network::Block;
use crate::offload::Offload;
use crate::optimizer::OptimizerSettings;
use crate::settings::named;
use crate::{has_bfloat16, kernels_are_fast};

named! {
    /// Which kernels compute fully connected layers and transformer blocks.
    pub enum Kernels {
        /// `fused` where the processor has AVX2 or AVX-512, unless the activation is `gelu`; but `aten` for wide
        /// layers (100 inputs and more) and batches of 400 samples and more on Intel's processors, if the rule goes
        /// back.
        Auto = "auto",
        /// libtorch's kernels.
        Aten = "aten",
        /// Forward pass, gradient and step in one, with AVX-512, AVX2 or portable code; libtorch's for convolutions.
        Fused = "fused",
    }
}

named! {
    /// What is multiplied.
    pub enum Precision {
        /// float32 throughout.
        Float32 = "float32",
        /// bfloat16 where hidden layers learn from feedback; sums, weights and optimizer are float32.
        ///
        /// Needs fused kernels and a processor with AVX512_BF16.
        Bf16 = "bf16",
        /// float32 rounded to 19 bits, on CUDA.
        Tf32 = "tf32",
    }
}

/// How the layers of a network are computed and stepped.
///
/// ```
/// use f3_tch::engine::{EngineSettings, Kernels};
/// use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
///
/// let adam = AdamSettings { weight_decay: 1e-4, ..AdamSettings::default() };
/// let settings = EngineSettings::new(OptimizerSettings::Adam(adam)).with_kernels(Kernels::Auto);
/// assert_eq!(settings.kernels, Kernels::Auto);
/// ```
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// What steps the parameters.
    pub optimizer: OptimizerSettings,
    /// Which kernels are wanted.
    pub kernels: Kernels,
    /// What is multiplied.
    pub precision: Precision,
    /// Where parameters and optimizer states live, if not in memory.
    pub offload: Option<Offload>,
}

impl EngineSettings {
    /// With libtorch's kernels in float32, in memory.
    pub fn new(optimizer: OptimizerSettings) -> EngineSettings {
        let (kernels, precision) = (Kernels::Aten, Precision::Float32);
        EngineSettings { optimizer, kernels, precision, offload: None }
    }

    /// With these kernels.
    pub fn with_kernels(self, kernels: Kernels) -> EngineSettings {
        EngineSettings { kernels, ..self }
    }

    /// The kernels that a network of these blocks gets: the fused ones are for all of its fully connected
    /// layers and transformer blocks, or for none.
    ///
    /// # Errors
    /// If fused kernels are asked for and a layer cannot be fused; the error says which and why.
    pub fn choose<'b>(&self, blocks: impl IntoIterator<Item = &'b dyn Block>) -> Result<Kernels> {
        match self.kernels {
            Kernels::Fused => all_can_be_fused(blocks).map(|()| Kernels::Fused),
            Kernels::Auto if kernels_are_fast() && all_can_be_fused(blocks).is_ok() => {
                Ok(Kernels::Fused)
            }
            Kernels::Aten | Kernels::Auto => Ok(Kernels::Aten),
        }
    }

    /// Refuses a precision that the kernels chosen for these blocks, or the processor, do not have.
    pub fn check_precision<'b>(
        &self,
        kernels: Kernels,
        blocks: impl IntoIterator<Item = &'b dyn Block>,
    ) -> Result<()> {
        let dense = || blocks.into_iter().all(|block| block.as_dense().is_some());
        let can = kernels == Kernels::Fused && has_bfloat16() && dense();
        if self.precision == Precision::Bf16 && !can {
            bail!("bf16 needs `model.name: mlp` on a processor with AVX512_BF16");
        }
        Ok(())
    }

    /// The engine of a block, whose optimizer starts from zero, with kernels that were chosen. Where
    /// tensors live in files, the optimizer's state is moved there; the parameters are there already
    /// (see [`Offload::take`]).
    ///
    /// # Errors
    /// If the kernels are fused ones and the block cannot be fused.
    pub fn build(&self, block: Box<dyn Block>, kernels: Kernels) -> Result<Box<dyn Engine>> {
        settle_first_calls(); // the block may be used outside of a trainer
        let engine: Box<dyn Engine> = match kernels {
            Kernels::Fused => {
                let half = self.precision == Precision::Bf16;
                fusible::engine(block, &self.optimizer, half)?
            }
            Kernels::Aten | Kernels::Auto => Box::new(BlockEngine::new(block, &self.optimizer)?),
        };
        if let Some(offload) = &self.offload {
            large_state(engine.as_ref()).try_for_each(|tensor| offload.take(tensor))?;
        }
        Ok(engine)
    }
}
