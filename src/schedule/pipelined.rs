//! Consecutive layers in stages, a thread each.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Result, anyhow};
use tch::Tensor;

use super::{Chunk, Head, Schedule};
use crate::messages::libtorch_error;
use crate::network::Layer;

/// The first stage makes the chunks, each stage takes them through its layers and hands them on, and
/// the last one lets the output layer learn. While the second stage is busy with a chunk, the first
/// one has the next: unlike pipelined backpropagation, without a bubble inside the epoch, and without
/// stale weights.
pub struct Pipelined {
    stages: usize,
    chunk: usize,
    threads: i32,
}

/// Chunks that may wait between two stages.
const WAITING: usize = 2;

impl Pipelined {
    /// With so many stages (no more than there are layers), batches in a chunk, and intra-op threads
    /// for each stage.
    pub fn new(stages: usize, chunk: usize, threads: usize) -> Pipelined {
        Pipelined { stages: stages.max(1), chunk: chunk.max(1), threads: threads.max(1) as i32 }
    }
}

impl Schedule for Pipelined {
    fn chunk(&self) -> usize {
        self.chunk
    }

    fn run(
        &self,
        hidden: &mut [Layer],
        head: Head,
        chunks: Box<dyn Iterator<Item = Result<Chunk>> + Send>,
        on_samples: &mut dyn FnMut(i64),
    ) -> Result<Vec<Tensor>> {
        let layers = hidden.iter().chain([&*head.output]);
        let mut sizes = stages(layers, self.stages);
        // The output layer belongs to the last stage, with the hidden layers that are there.
        *sizes.last_mut().expect("there is a stage") -= 1;

        thread::scope(|scope| {
            let (mut input, mut left) = (Some(chunks), hidden);
            let (done, results) = channel();
            let mut head = Some((head, done));
            let mut workers = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let (layers, others) = std::mem::take(&mut left).split_at_mut(*size);
                left = others;
                let chunks = input.take().expect("the stage before has left its output");
                let end = match index + 1 == sizes.len() {
                    true => End::Head(head.take().expect("there is one last stage")),
                    false => {
                        let (sender, receiver) = sync_channel(WAITING);
                        input = Some(received(receiver));
                        End::Next(sender)
                    }
                };
                let threads = self.threads;
                workers.push(scope.spawn(move || {
                    // Both are settings of this very thread.
                    tch::set_num_threads(threads);
                    let outcome = catch_unwind(AssertUnwindSafe(|| stage(chunks, layers, end)));
                    outcome.unwrap_or_else(|panic| Err(anyhow!("{}", message(panic.as_ref()))))
                }));
            }
            let mut observed = Vec::new();
            for (samples, errors) in results {
                on_samples(samples);
                observed.extend(errors);
            }
            // Where one stage fails, those before it find nobody to hand on to, and those behind it
            // come to the end of their chunks: both end without an error of their own.
            for worker in workers {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a stage panicked")))?;
            }
            Ok(observed)
        })
    }
}

enum End<'a> {
    Next(SyncSender<Chunk>),
    Head((Head<'a>, Sender<(i64, Option<Tensor>)>)),
}

fn stage(
    chunks: Box<dyn Iterator<Item = Result<Chunk>> + Send>,
    layers: &mut [Layer],
    mut end: End,
) -> Result<()> {
    for chunk in chunks {
        let mut chunk = chunk?;
        for layer in layers.iter_mut() {
            chunk.pass(layer)?;
        }
        let heard = match &mut end {
            End::Next(next) => next.send(chunk).is_ok(),
            End::Head((head, done)) => done.send((chunk.len(), head.learn(&chunk)?)).is_ok(),
        };
        if !heard {
            break; // the stage behind has failed, and says why
        }
    }
    Ok(())
}

fn received(receiver: Receiver<Chunk>) -> Box<dyn Iterator<Item = Result<Chunk>> + Send> {
    Box::new(receiver.into_iter().map(Ok))
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(error) = libtorch_error(panic) {
        return error;
    }
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a stage panicked").to_string()
}

/// The largest chunk with which a pipeline of so many stages is full for nearly all of an epoch of so
/// many batches.
pub fn chunk_that_fills(stages: usize, batches: usize) -> usize {
    (batches / (16 * stages)).max(1)
}

/// The number of stages that a model of the machine finds fastest where layers are computed by
/// libtorch's kernels: the costliest stage sets the pace, with its share of the threads. Threads that
/// share operations as small as those of a batch gain less than threads that have stages of their own.
pub fn best_stages(layers: &[Layer], threads: usize) -> usize {
    fastest(&layers.iter().map(|layer| layer.block().operations()).collect::<Vec<i64>>(), threads)
}

fn fastest(costs: &[i64], threads: usize) -> usize {
    let speed = |stages: usize| {
        let costliest = costliest(costs, &balanced(costs, stages));
        let pace = costs.iter().sum::<i64>() as f64 / costliest.max(1) as f64;
        pace * ((threads / stages) as f64).powf(GAIN_OF_SHARING)
    };
    let choices = 1..=threads.min(costs.len()).max(1);
    // Of equal ones the fewest.
    choices.rev().max_by(|a, b| speed(*a).total_cmp(&speed(*b))).unwrap_or(1)
}

/// What the costliest of stages of so many layers costs.
fn costliest(costs: &[i64], sizes: &[usize]) -> i64 {
    let mut left = costs;
    let stages = sizes.iter().map(|size| {
        let (stage, others) = left.split_at(*size);
        left = others;
        stage.iter().sum()
    });
    stages.max().unwrap_or(0)
}

/// Two threads on one small operation are about 1.5 times as fast as one.
const GAIN_OF_SHARING: f64 = 0.6;

/// How many consecutive layers each stage gets, the output layer counted, so that the costliest stage
/// has the fewest multiplications; no stage is empty.
pub fn stages<'a>(layers: impl Iterator<Item = &'a Layer>, stages: usize) -> Vec<usize> {
    balanced(&layers.map(|layer| layer.block().operations()).collect::<Vec<i64>>(), stages)
}

fn balanced(costs: &[i64], stages: usize) -> Vec<usize> {
    let stages = stages.min(costs.len());
    // The largest cost that a stage may have, found by bisection.
    let needed = |limit: i64| {
        let (mut count, mut sum) = (1, 0);
        for cost in costs {
            if sum + cost > limit && sum > 0 {
                (count, sum) = (count + 1, 0);
            }
            sum += cost;
        }
        count
    };
    let (mut low, mut high) = (costs.iter().copied().max().unwrap_or(0), costs.iter().sum());
    while low < high {
        let middle = low + (high - low) / 2;
        if needed(middle) <= stages { high = middle } else { low = middle + 1 }
    }
    let (mut sizes, mut size, mut sum) = (Vec::new(), 0, 0);
    for (index, cost) in costs.iter().enumerate() {
        let (layers_left, stages_left) = (costs.len() - index, stages - sizes.len());
        if size > 0 && (sum + cost > low || layers_left < stages_left) {
            sizes.push(size);
            (size, sum) = (0, 0);
        }
        (size, sum) = (size + 1, sum + cost);
    }
    sizes.push(size);
    sizes
}

#[cfg(test)]
mod tests {
    use super::{balanced, costliest, fastest};

    #[test]
    fn stages_are_balanced_and_never_empty() {
        assert_eq!(balanced(&[392, 250, 250, 250, 250, 5], 2), [2, 4]);
        assert_eq!(balanced(&[1, 1, 1, 1], 2), [2, 2]);
        assert_eq!(balanced(&[1, 1, 1, 100], 2), [3, 1]);
        assert_eq!(balanced(&[100, 1, 1, 1], 3), [1, 2, 1]);
        assert_eq!(balanced(&[5, 5], 4), [1, 1]);
        assert_eq!(balanced(&[5], 3), [1]);
        for layers in 1..30usize {
            for stages in 1..8 {
                let costs: Vec<i64> = (0..layers as i64).map(|i| 1 + (i * 7919) % 13).collect();
                let sizes = balanced(&costs, stages);
                assert_eq!(sizes.len(), stages.min(layers), "{costs:?}");
                assert_eq!(sizes.iter().sum::<usize>(), layers);
                assert!(sizes.iter().all(|size| *size > 0));
                assert_eq!(costliest(&costs, &sizes), least(&costs, sizes.len()), "{costs:?}");
            }
        }
    }

    #[test]
    fn pipeline_is_chosen_where_its_stages_can_be_balanced() {
        assert_eq!(fastest(&[10, 10, 10, 10], 2), 2);
        assert_eq!(fastest(&[40, 10], 2), 1);
        assert_eq!(fastest(&[10, 10], 1), 1);
        assert_eq!(fastest(&[10], 8), 1);
        assert_eq!(fastest(&[10, 10, 10, 10], 4), 4);
        assert_eq!(fastest(&[10, 10, 10, 10], 8), 4);
    }

    /// The least that the costliest of so many stages can cost, by trying all first stages.
    fn least(costs: &[i64], stages: usize) -> i64 {
        // least[from] for the stages that are left
        let sum = |from: usize, to: usize| costs[from..to].iter().sum::<i64>();
        let mut best: Vec<i64> = (0..=costs.len()).map(|from| sum(from, costs.len())).collect();
        for _ in 1..stages {
            best = (0..=costs.len())
                .map(|from| {
                    let cost = |to: usize| sum(from, to).max(best[to]);
                    (from..=costs.len()).map(cost).min().unwrap_or(0)
                })
                .collect();
        }
        best[0]
    }
}
