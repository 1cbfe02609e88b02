//! The network of a configuration, and the rule and the layer order that train it.

use anyhow::{Result, bail};

use super::Plan;
use crate::config::{Config, ScheduleName};
use crate::data::{Dataset, Split};
use crate::device::DeviceChoice;
use crate::engine::{EngineSettings, Kernels, Precision};
use crate::generator::Generator;
use crate::layers::{Layer, Layers};
use crate::machine::is_intel;
use crate::model;
use crate::network::{Architecture, Block, Mlp, move_to};
use crate::offload::Offload;
use crate::schedule::{
    LayerMajor, Pipelined, Schedule, best_stages, chunk_for, chunk_that_fills, stages,
};
use crate::settings::Refusal;
use crate::trainer::{Parts, RecordedTrainer, Trainer};

/// From so many samples on, libtorch computes the way back faster than the fused kernels.
const LARGE_BATCH: i64 = 400;

/// So many inputs make the products the greatest part of a step.
const WIDE: i64 = 100;

impl Plan<'_> {
    /// Draws the network and gives the rule that trains it, and the kernels that compute it.
    pub(super) fn trainer(
        &self,
        architecture: &Architecture,
        data: &Dataset,
        generator: &mut Generator,
    ) -> Result<(Box<dyn Trainer>, Kernels)> {
        let config = self.config;
        let device = data.train.inputs.device();
        let settings = EngineSettings {
            optimizer: config.optimizer.settings,
            kernels: self.kernels(architecture),
            precision: config.precision,
            offload: config.schedule.offload.as_deref().map(Offload::new).transpose()?,
        };
        let blocks = self.rule.blocks(architecture, generator, device)?;
        let blocks = blocks.map(|block| offloaded(block?, settings.offload.as_ref()));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        if let Some(devices) = &config.schedule.devices {
            self.place(&blocks, devices)?;
        }
        let kernels = settings.choose(blocks.iter().map(Box::as_ref)).map_err(|error| {
            Refusal::new("kernels", "fused", format!("`aten` or `auto`: {error:#}"))
        })?;
        if let Err(error) = settings.check_precision(kernels, blocks.iter().map(Box::as_ref)) {
            bail!(Refusal::new("precision", "bf16", format!("float32: {error}")));
        }
        if config.precision == Precision::Tf32 && !device.is_cuda() {
            let expected = "float32, or `device: cuda`, where tf32 is computed";
            bail!(Refusal::new("precision", "tf32", expected));
        }
        let layers = Layers::new(blocks, self.rule.feedback_init(), &settings, generator)?;
        if let Some(path) = &config.init_from {
            model::init(&layers, &model::of(path))?;
        }
        let schedule = self.schedule(layers.as_slice(), &data.train, kernels);
        let parts = Parts { layers, data: &data.train, loss: config.loss, generator };
        let mut trainer = self.rule.trainer(parts)?;
        if self.rule.learns_forward() {
            trainer.set_schedule(schedule)?;
        }
        if !config.cuda_graph {
            return Ok((trainer, kernels));
        }
        if !device.is_cuda() {
            let expected = "false, or `device: cuda`: it is CUDA that records";
            bail!(Refusal::new("cuda_graph", true, expected));
        }
        Ok((Box::new(RecordedTrainer::new(trainer)?), kernels))
    }

    /// The kernels that the configuration wants. On Intel's processors, with large batches, libtorch's
    /// products are faster than the fused kernels' on the way back (by a third on 1,000 samples, not at all
    /// on 250; two cores of a Xeon). On AMD's they take 2.5 times as long. Rules that learn on the way forward
    /// gain more by the fused step, and so do layers of few inputs.
    fn kernels(&self, architecture: &Architecture) -> Kernels {
        let Config { kernels, data, .. } = self.config;
        let is_wide = |mlp: &Mlp| mlp.hidden.iter().chain([&mlp.inputs]).all(|&it| it >= WIDE);
        let goes_back = !self.rule.learns_forward() && architecture.mlp().is_ok_and(is_wide);
        match kernels {
            Kernels::Auto if goes_back && data.batch_size >= LARGE_BATCH && is_intel() => {
                Kernels::Aten
            }
            kernels => *kernels,
        }
    }

    /// Takes the blocks of each stage of the pipeline to the stage's device.
    fn place(&self, blocks: &[Box<dyn Block>], devices: &[DeviceChoice]) -> Result<()> {
        if devices.len() > blocks.len() {
            let shown = DeviceChoice::list(devices);
            let expected = format!("at most {} devices, one for each layer", blocks.len());
            bail!(Refusal::new("schedule.devices", shown, expected));
        }
        let mut left = blocks.iter();
        let counts = stages(blocks.iter().map(Box::as_ref), devices.len());
        for (choice, count) in devices.iter().zip(counts) {
            let device = choice.choose()?.device;
            left.by_ref().take(count).try_for_each(|block| move_to(block.as_ref(), device))?;
        }
        Ok(())
    }

    /// The schedule that is asked for; `auto` goes by a model of the machine.
    ///
    /// - Fused kernels: layer-major. All threads share a layer's neurons, whose weights stay in the caches
    ///   for a chunk of batches, and meet once a chunk.
    /// - libtorch's kernels on several cores: a pipeline, if the layers can be balanced well enough to gain
    ///   more than threads gain that share every small operation; but not where stages would wait too long
    ///   for the errors that they learn to predict.
    /// - Otherwise, and on a GPU, another order gains nothing.
    fn schedule(&self, layers: &[Layer], data: &Split, kernels: Kernels) -> Box<dyn Schedule> {
        let config = self.config;
        let settings = &config.schedule;
        let threads = tch::get_num_threads().max(1) as usize;
        let by_cache = chunk_for(layers, data.input_count(), config.data.batch_size);
        let epoch = (data.len() + config.data.batch_size - 1) / config.data.batch_size;
        let chunk = |stages: usize| {
            let filled = chunk_that_fills(stages, epoch as usize);
            settings.chunk.unwrap_or(by_cache.min(filled))
        };
        let pipelined =
            |stages: usize| Box::new(Pipelined::new(stages, chunk(stages), threads / stages));
        let sequential = || Box::new(LayerMajor::sequential());
        // Threads that share a small operation do about three quarters of what they could.
        let waits = |stages: usize| {
            let predicted = self.rule.prediction();
            predicted.is_some_and(|it| it.work(stages, it.chunk(chunk(stages), stages)) < 0.75)
        };
        match settings.name {
            ScheduleName::Sequential => sequential(),
            ScheduleName::LayerMajor => {
                let whole = settings.offload.as_ref().map(|_| epoch as usize);
                Box::new(LayerMajor::new(settings.chunk.or(whole).unwrap_or(by_cache)))
            }
            ScheduleName::Pipelined => {
                let devices = settings.devices.as_ref().map(Vec::len);
                pipelined(devices.or(settings.stages).unwrap_or(threads).clamp(1, layers.len()))
            }
            ScheduleName::Auto if kernels == Kernels::Fused => Box::new(LayerMajor::new(by_cache)),
            ScheduleName::Auto if data.inputs.device().is_cuda() => sequential(),
            ScheduleName::Auto => match best_stages(layers, threads) {
                1 => sequential(),
                stages if waits(stages) => sequential(),
                stages => pipelined(stages),
            },
        }
    }
}

/// The block with its parameters in files, if they are to be.
fn offloaded(block: Box<dyn Block>, offload: Option<&Offload>) -> Result<Box<dyn Block>> {
    if let Some(offload) = offload {
        block.parameters().into_iter().try_for_each(|(_, tensor)| offload.take(tensor))?;
    }
    Ok(block)
}
