//! A loss or weight that is NaN or infinite: after which batch, and in which layer, the first one on the
//! way forward.

use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use tch::{Kind, Tensor};

use super::checkpoint::{Checkpoint, Checkpoints};
use super::events::{Event, Observer};
use super::history::EpochRow;
use super::settings::OnNan;
use super::state::Run;
use crate::data::Batch;
use crate::engine::Step;
use crate::layers::Layer;
use crate::prediction::Predictor;

/// Warns of an epoch after which something is not finite, or fails, as the run's settings say. Where
/// there is a checkpoint, the batch is then found by training again from there; the run is of no use
/// after that.
pub fn check(
    run: &mut Run,
    row: &EpochRow,
    checkpoints: Option<&Checkpoints>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let EpochRow { epoch, learning_rate, .. } = *row;
    let Some(wrong) = in_row(row) else { return check_predictors(run, epoch, observer) };
    if run.settings.on_nan == OnNan::Warn {
        let text = format!("epoch {epoch}: {wrong}{}", in_evaluation(run)?);
        return observer.notice(&Event::Warning(&text));
    }
    let history = run.state.history.clone(); // the search goes back to a checkpoint's
    let place = place(run, epoch, checkpoints, observer)
        .unwrap_or_else(|error| format!(" (the search for its place failed: {error:#})"));
    run.state.history = history;
    match (epoch, only_part(row)) {
        (0, _) => bail!(
            "before training, {wrong}{place}: inputs, targets or the weights of `init_from` are too \
             large or no numbers; `data.standardize: true` scales inputs and targets"
        ),
        (_, Some(part)) => bail!(
            "epoch {epoch}: {wrong}{place}, on the {part} set alone: its inputs or targets may be too \
             large"
        ),
        (_, None) => bail!(
            "epoch {epoch}: {wrong}{place}: training diverged, which an `optimizer.learning_rate` below \
             {learning_rate:e}{} in the configuration may prevent",
            local_rate(run).map_or(String::new(), |it| format!(" or {it}"))
        ),
    }
}

/// A lower learning rate for the maps of a run whose hidden layers predict errors, if they do.
fn local_rate(run: &Run) -> Option<String> {
    let predictor = run.state.trainer.layers().as_slice().iter().find_map(Layer::predictor);
    let rate = predictor.map(Predictor::local_rate).filter(|rate| *rate > 0.0);
    rate.map(|rate| format!("an `algorithm.prediction.local_rate` below {rate:e}"))
}

/// As [`check`], of what hidden layers predict errors with, which they may not have used yet.
fn check_predictors(run: &Run, epoch: u64, observer: &mut dyn Observer) -> Result<()> {
    let layers = run.state.trainer.layers();
    let Some(layer) = layers.first_predictor_not_finite() else { return Ok(()) };
    let name = layers.name_of(layer);
    let wrong =
        format!("epoch {epoch}: the map with which {name} predicts errors is not finite any more");
    match run.settings.on_nan {
        OnNan::Warn => observer.notice(&Event::Warning(&wrong)),
        OnNan::Stop => bail!("{wrong}, which {} may prevent", local_rate(run).unwrap_or_default()),
    }
}

/// What is not finite after an epoch, if anything is.
fn in_row(row: &EpochRow) -> Option<String> {
    let mut losses = row.parts().map(|(_, evaluation)| evaluation.loss);
    if let Some(loss) = losses.find(|loss| !loss.is_finite()) {
        return Some(format!("the loss has become {loss}"));
    }
    let layer = row.norms.iter().position(|norms| !norms.weight.is_finite())?;
    Some(format!("weights of layer {} are not finite any more", layer + 1))
}

/// The part of the data, other than the training set, whose loss alone is not finite; the training set's must
/// be known for that.
fn only_part(row: &EpochRow) -> Option<&'static str> {
    row.train.as_ref()?;
    let mut wrong = row.parts().filter(|(_, evaluation)| !evaluation.loss.is_finite());
    let (part, _) = wrong.next()?;
    (part != "train" && wrong.next().is_none()).then_some(part)
}

fn place(
    run: &mut Run,
    epoch: u64,
    checkpoints: Option<&Checkpoints>,
    observer: &mut dyn Observer,
) -> Result<String> {
    let newest = checkpoints.map(Checkpoints::newest).transpose()?.flatten();
    // A network that lives in files would be read anew for every batch.
    let trainer = &run.state.trainer;
    let is_searched = epoch > 0 && !trainer.layers().are_offloaded() && trainer.is_batch_by_batch();
    if let Some(newest) = newest.filter(|_| is_searched) {
        let checkpoint = Checkpoint::open(&newest)?;
        observer.notice(&Event::Note(&format!(
            "epoch {epoch} has diverged; training again from epoch {} to find the batch",
            checkpoint.epoch()
        )))?;
        if let Some((batch, layer)) = first_batch(run, epoch, checkpoint)? {
            return Ok(format!(", first in batch {batch}, in {layer}"));
        }
    }
    in_evaluation(run)
}

/// Repeats an epoch, batch by batch, from a checkpoint on; gives the first batch after which something is
/// not finite, counted from 1, and the layer. Gives up when the run is to stop.
fn first_batch(run: &mut Run, epoch: u64, from: Checkpoint) -> Result<Option<(usize, String)>> {
    let before = from.epoch();
    from.restore(run)?;
    for epoch in before + 1..epoch {
        if run.stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        run.train_only(epoch, &mut |_| {})?;
        // The evaluations draw numbers, too.
        run.state.generator.int64()?;
        run.state.generator.int64()?;
    }
    let learning_rate = run.settings.learning_rate.at(epoch);
    let order = run.epoch_order()?;
    let data = run.data.clone();
    for (batch, index) in data.train.batches(&order, run.settings.batch_size).zip(1..) {
        let step = Step { learning_rate, batch_size: batch.len(), watch: false };
        run.state.trainer.train_batch(&batch, &step)?;
        if let Some(layer) = first_layer(run, &batch)? {
            return Ok(Some((index, layer)));
        }
        if run.stop.load(Ordering::Acquire) {
            break;
        }
    }
    Ok(None)
}

/// The first layer in which something is not finite for a sample of any part of the data, to end a
/// sentence with; nothing if there is none.
fn in_evaluation(run: &Run) -> Result<String> {
    for (_, data) in run.data.parts() {
        let order = Tensor::arange(data.len(), (Kind::Int64, data.inputs.device()));
        for batch in data.batches(&order, run.settings.eval_batch_size) {
            if let Some(layer) = first_layer(run, &batch)? {
                return Ok(format!(", in {layer}"));
            }
        }
    }
    Ok(String::new())
}

/// The name of the first layer that has a parameter or an output for these samples that is not finite,
/// or whose output has such a loss.
fn first_layer(run: &Run, batch: &Batch) -> Result<Option<String>> {
    let _no_grad = tch::no_grad_guard();
    let layers = run.state.trainer.layers();
    let layer = match layers.forward_while_finite(&batch.inputs)? {
        Ok(output) => {
            let loss = run.settings.loss.sum(&output, &batch.targets.to_device(output.device()));
            (!loss.double_value(&[]).is_finite()).then(|| layers.as_slice().len() - 1)
        }
        Err(layer) => Some(layer),
    };
    Ok(layer.map(|layer| layers.name_of(layer)))
}
