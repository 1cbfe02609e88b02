//! A loss or weight that is NaN or infinite: after which batch, and in which layer, the first one on the
//! way forward.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use tch::{Kind, Tensor};

use crate::checkpoint::{Checkpoint, Checkpoints};
use crate::data::Batch;
use crate::engine::Step;
use crate::messages::say;
use crate::run::Experiment;
use crate::sinks::EpochRow;

/// What is not finite after an epoch, if anything is.
pub fn in_row(row: &EpochRow) -> Option<String> {
    let losses = [row.train.loss, row.test.loss];
    if let Some(loss) = losses.iter().find(|loss| !loss.is_finite()) {
        return Some(format!("the loss has become {loss}"));
    }
    let layer = row.norms.iter().position(|norms| !norms.weight.is_finite())?;
    Some(format!("weights of layer {} are not finite any more", layer + 1))
}

/// What to say where the run goes on.
pub fn warning(experiment: &Experiment, row: &EpochRow, wrong: &str) -> Result<String> {
    Ok(format!("warning: epoch {}: {wrong}{}", row.epoch, in_evaluation(experiment)?))
}

/// The error that ends the run. Where there is a checkpoint, the batch is found by training again from
/// there; the experiment is of no use then.
pub fn error(
    experiment: &mut Experiment,
    row: &EpochRow,
    wrong: &str,
    checkpoints: Option<&Checkpoints>,
    stop: &AtomicBool,
) -> anyhow::Error {
    let place = place(experiment, row.epoch, checkpoints, stop);
    let place =
        place.unwrap_or_else(|error| format!(" (the search for its place failed: {error:#})"));
    let EpochRow { epoch, learning_rate, .. } = row;
    match epoch {
        0 => anyhow!(
            "before training, {wrong}{place}: inputs, targets or the weights of `init_from` are too \
             large or no numbers; `data.standardize: true` scales inputs and targets"
        ),
        _ if !row.train.loss.is_finite() || row.test.loss.is_finite() => anyhow!(
            "epoch {epoch}: {wrong}{place}: training diverged, which an \
             `optimizer.learning_rate` below {learning_rate:e} in the configuration may prevent"
        ),
        _ => anyhow!(
            "epoch {epoch}: {wrong}{place}, on the test set alone: its inputs or targets may be too large"
        ),
    }
}

fn place(
    experiment: &mut Experiment,
    epoch: u64,
    checkpoints: Option<&Checkpoints>,
    stop: &AtomicBool,
) -> Result<String> {
    let newest = checkpoints.map(Checkpoints::newest).transpose()?.flatten();
    // A network that lives in files would be read anew for every batch.
    if let Some(newest) =
        newest.filter(|_| epoch > 0 && !experiment.trainer.layers().are_offloaded())
    {
        let checkpoint = Checkpoint::open(&newest)?;
        say(format_args!(
            "epoch {epoch} has diverged; training again from epoch {} to find the batch",
            checkpoint.epoch()
        ));
        if let Some((batch, layer)) = first_batch(experiment, epoch, checkpoint, stop)? {
            return Ok(format!(", first in batch {batch}, in {}", named(experiment, layer)));
        }
    }
    in_evaluation(experiment)
}

/// Repeats an epoch, batch by batch, from a checkpoint on; gives the first batch after which something is
/// not finite, counted from 1, and the layer. Gives up when `stop` becomes true.
fn first_batch(
    experiment: &mut Experiment,
    epoch: u64,
    checkpoint: Checkpoint,
    stop: &AtomicBool,
) -> Result<Option<(usize, usize)>> {
    let wanted = || stop.load(Ordering::Acquire);
    let before = checkpoint.epoch();
    checkpoint.restore(experiment)?;
    for epoch in before + 1..epoch {
        if wanted() {
            return Ok(None);
        }
        experiment.train_only(epoch, &mut |_| {})?;
        // The evaluations draw numbers, too.
        experiment.generator.int64()?;
        experiment.generator.int64()?;
    }
    let learning_rate = experiment.learning_rate.at(epoch);
    let data = experiment.data.train.shallow_clone();
    let order = experiment.generator.epoch_order(data.len())?.to_device(data.inputs.device());
    for (index, batch) in data.batches(&order, experiment.batch_size).enumerate() {
        let step = Step { learning_rate, batch_size: batch.len(), watch: false };
        experiment.trainer.train_batch(&batch, &step)?;
        if let Some(layer) = first_layer(experiment, &batch)? {
            return Ok(Some((index + 1, layer)));
        }
        if wanted() {
            break;
        }
    }
    Ok(None)
}

/// In which layer, the first one, something is not finite for a sample of the training or the test set, to
/// end a sentence with; nothing if there is none.
fn in_evaluation(experiment: &Experiment) -> Result<String> {
    for data in [&experiment.data.train, &experiment.data.test] {
        let order = Tensor::arange(data.len(), (Kind::Int64, data.inputs.device()));
        for batch in data.batches(&order, experiment.eval_batch_size) {
            if let Some(layer) = first_layer(experiment, &batch)? {
                return Ok(format!(", in {}", named(experiment, layer)));
            }
        }
    }
    Ok(String::new())
}

/// The first layer, counted from 0, that has a parameter or an output for these samples that is not
/// finite, or whose output has such a loss.
fn first_layer(experiment: &Experiment, batch: &Batch) -> Result<Option<usize>> {
    let _no_grad = tch::no_grad_guard();
    let is_finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) != 0;
    let layers = experiment.trainer.layers().as_slice();
    let mut h = batch.inputs.shallow_clone();
    for (index, layer) in layers.iter().enumerate() {
        h = layer.forward(&layer.bring(&h))?;
        if !layer.weight_norm().is_finite() || !is_finite(&h) {
            return Ok(Some(index));
        }
    }
    let loss = experiment.loss.sum(&h, &batch.targets.to_device(h.device()));
    Ok((!is_finite(&loss)).then(|| layers.len() - 1))
}

fn named(experiment: &Experiment, layer: usize) -> String {
    match layer + 1 == experiment.trainer.layers().as_slice().len() {
        true => "the output layer".to_string(),
        false => format!("hidden layer {}", layer + 1),
    }
}
