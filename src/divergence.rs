//! A loss or weight that is NaN or infinite: where it began.

use anyhow::{Result, anyhow};
use tch::{Kind, Tensor};

use crate::checkpoint::{Checkpoint, Checkpoints};
use crate::data::Batch;
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
    let layer = in_evaluation(experiment)?;
    let place = layer.map_or(String::new(), |layer| format!(", in {}", named(experiment, layer)));
    Ok(format!("warning: epoch {}: {wrong}{place}", row.epoch))
}

/// The error that ends the run. Where there is a checkpoint, the batch is found by training again from
/// there.
pub fn error(
    experiment: &mut Experiment,
    row: &EpochRow,
    wrong: &str,
    checkpoints: Option<&Checkpoints>,
) -> anyhow::Error {
    let place = place(experiment, row.epoch, checkpoints);
    let place =
        place.unwrap_or_else(|error| format!(" (the search for its place failed: {error:#})"));
    let EpochRow { epoch, learning_rate, .. } = row;
    match epoch {
        0 => anyhow!(
            "before training, {wrong}{place}: inputs, targets or the weights of `init_from` are too \
             large or no numbers; `data.standardize: true` scales inputs and targets"
        ),
        _ => anyhow!(
            "epoch {epoch}: {wrong}{place}: training diverged, which a learning rate below \
             {learning_rate:e} may prevent"
        ),
    }
}

fn place(
    experiment: &mut Experiment,
    epoch: u64,
    checkpoints: Option<&Checkpoints>,
) -> Result<String> {
    let newest = checkpoints.map(Checkpoints::newest).transpose()?.flatten();
    if epoch > 0
        && let Some(newest) = newest
    {
        let found = first_batch(experiment, epoch, Checkpoint::open(&newest)?)?;
        if let Some((batch, layer)) = found {
            return Ok(format!(", first in batch {batch}, in {}", named(experiment, layer)));
        }
    }
    let layer = in_evaluation(experiment)?;
    Ok(layer.map_or(String::new(), |layer| format!(", in {}", named(experiment, layer))))
}

/// Repeats an epoch, batch by batch, from a checkpoint on; gives the first batch after which something is
/// not finite, counted from 1, and the layer.
fn first_batch(
    experiment: &mut Experiment,
    epoch: u64,
    checkpoint: Checkpoint,
) -> Result<Option<(usize, usize)>> {
    checkpoint.restore(experiment)?;
    while experiment.rows.last().is_some_and(|row| row.epoch + 1 < epoch) {
        let row = experiment.train_epoch(&mut [])?;
        experiment.rows.push(row);
    }
    let rate = experiment.schedule.at(experiment.learning_rate, epoch);
    experiment.trainer.network_mut().set_learning_rate(rate);
    let data = experiment.data.train.shallow_clone();
    let order = experiment.generator.epoch_order(data.len())?.to_device(data.inputs.device());
    for (index, batch) in data.batches(&order, experiment.batch_size).enumerate() {
        experiment.trainer.train_batch(&batch)?;
        if let Some(layer) = first_layer(experiment, &batch)? {
            return Ok(Some((index + 1, layer)));
        }
    }
    Ok(None)
}

/// The first layer in which something is not finite for a sample of the training or the test set.
fn in_evaluation(experiment: &Experiment) -> Result<Option<usize>> {
    for data in [&experiment.data.train, &experiment.data.test] {
        let order = Tensor::arange(data.len(), (Kind::Int64, data.inputs.device()));
        for batch in data.batches(&order, experiment.eval_batch_size) {
            if let Some(layer) = first_layer(experiment, &batch)? {
                return Ok(Some(layer));
            }
        }
    }
    Ok(None)
}

/// The first layer, counted from 0, that has a parameter or an output for these samples that is not
/// finite, or whose output has such a loss.
fn first_layer(experiment: &Experiment, batch: &Batch) -> Result<Option<usize>> {
    let _no_grad = tch::no_grad_guard();
    let is_finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) != 0;
    let layers = experiment.trainer.network().layers();
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
    match layer + 1 == experiment.trainer.network().layers().len() {
        true => "the output layer".to_string(),
        false => format!("hidden layer {}", layer + 1),
    }
}
