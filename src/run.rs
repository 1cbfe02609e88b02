//! The epoch loop: train, evaluate, log.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::data::{Dataset, Split};
use crate::diagnostics::{Diagnostics, measure};
use crate::generator::Generator;
use crate::learning_rate::LearningRateSchedule;
use crate::loss::Loss;
use crate::metrics::{Evaluation, evaluate, synchronize};
use crate::sinks::{EpochRow, LayerNorms, Sink};
use crate::trainer::Trainer;

/// Everything that a run needs, ready to start.
pub struct Experiment {
    /// The learning rule with its network.
    pub trainer: Box<dyn Trainer>,
    /// On the same device as the network.
    pub data: Dataset,
    /// What is reported as loss.
    pub loss: Loss,
    /// The run's random numbers, from where the network's initialisation left them.
    pub generator: Generator,
    /// Samples per training step.
    pub batch_size: i64,
    /// Samples per forward pass when evaluating.
    pub eval_batch_size: i64,
    /// Passes over the training set.
    pub epochs: u64,
    /// Step size, before its schedule.
    pub learning_rate: f64,
    /// How the step size goes on.
    pub schedule: LearningRateSchedule,
    /// Whether and when the hidden layers' gradients are compared with backpropagation's.
    pub diagnostics: Option<Diagnostics>,
}

/// Trains for all epochs; gives the rows that went to the sinks, epoch 0 (before training) first.
///
/// A loss that is NaN or infinite is an error; that epoch goes to no sink.
pub fn run(experiment: &mut Experiment, sinks: &mut [Box<dyn Sink>]) -> Result<Vec<EpochRow>> {
    let device = experiment.data.train.inputs.device();
    let samples = experiment.data.train.len();
    let mut rows: Vec<EpochRow> = Vec::new();

    for epoch in 0..=experiment.epochs {
        let before = epoch.saturating_sub(1) * samples as u64;
        let learning_rate = experiment.schedule.at(experiment.learning_rate, epoch);
        experiment.trainer.network_mut().set_learning_rate(learning_rate);
        let start = Instant::now();
        if epoch > 0 {
            let order = experiment.generator.epoch_order(samples)?.to_device(device);
            experiment.trainer.train_epoch(
                &experiment.data.train,
                &order,
                experiment.batch_size,
                &mut |done| {
                    for sink in sinks.iter_mut() {
                        sink.samples(before + done as u64);
                    }
                },
            )?;
            synchronize(device);
        }
        let train_seconds = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let train = evaluate_split(experiment, |data| &data.train)?;
        let test = evaluate_split(experiment, |data| &data.test)?;
        let eval_seconds = start.elapsed().as_secs_f64();
        for loss in [train.loss, test.loss] {
            if !loss.is_finite() && epoch == 0 {
                bail!(
                    "before training, the loss is {loss}: inputs or targets are too large; \
                     `data.standardize: true` scales them"
                );
            }
            if !loss.is_finite() {
                bail!(
                    "epoch {epoch}: the loss has become {loss}: training diverged, which a \
                     learning rate below {:e} may prevent; what was written is of the epochs before",
                    learning_rate
                );
            }
        }

        let layers = experiment.trainer.network().layers();
        let norms = layers
            .iter()
            .map(|layer| LayerNorms {
                weight: layer.weight_norm(),
                gradient: layer.gradient_norm(),
            })
            .collect();
        let store = experiment.trainer.error_store_mut().filter(|_| epoch > 0);
        let row = EpochRow {
            epoch,
            processed_samples: epoch * samples as u64,
            train,
            test,
            train_seconds,
            eval_seconds,
            learning_rate,
            norms,
            stored_errors: store.map(|store| store.end_epoch()),
            angles: match experiment.diagnostics {
                Some(Diagnostics { every, samples }) if epoch.is_multiple_of(every) => {
                    let trainer = experiment.trainer.as_ref();
                    measure(trainer, &experiment.data.train, experiment.loss, samples)?
                }
                _ => Vec::new(),
            },
        };
        for sink in sinks.iter_mut() {
            sink.epoch(&row, experiment.trainer.network())?;
        }
        rows.push(row);
    }
    Ok(rows)
}

fn evaluate_split(
    experiment: &mut Experiment,
    choose: impl Fn(&Dataset) -> &Split,
) -> Result<Evaluation> {
    // The paper's program draws a number whenever it starts to go through a data set; drawing it
    // too keeps the streams, and so all results, the same.
    experiment.generator.int64()?;
    evaluate(
        experiment.trainer.network(),
        choose(&experiment.data),
        experiment.loss,
        experiment.data.task,
        experiment.eval_batch_size,
    )
}
