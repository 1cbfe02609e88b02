//! Consecutive layers in stages, a thread each.

use std::any::Any;
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::thread;

use anyhow::{Result, anyhow};

use super::{Chunk, Epoch, Learn, Link, Schedule, Stage, stages};
use crate::messages::libtorch_error;
use crate::process::use_threads;

/// The first stage makes the chunks, each stage takes them through its layers and hands them on, and
/// the last one lets the output layer learn. While the second stage is busy with a chunk, the first
/// one has the next: unlike pipelined backpropagation, without a bubble inside the epoch, and without
/// stale weights.
pub struct Pipelined {
    stages: usize,
    chunk: usize,
    threads: usize,
}

/// Chunks that may wait between two stages.
const WAITING: usize = 2;

impl Pipelined {
    /// With so many stages (no more than there are layers), batches in a chunk, and intra-op threads
    /// for each stage.
    pub fn new(stages: usize, chunk: usize, threads: usize) -> Pipelined {
        Pipelined { stages: stages.max(1), chunk: chunk.max(1), threads: threads.max(1) }
    }

    /// Cuts a network into stages of similar cost; the output layer belongs to the last one, with the
    /// hidden layers that are there.
    fn cut<'a>(&self, network: Stage<'a>) -> Vec<Stage<'a>> {
        let Stage { layers, announced, mut head } = network;
        let output = head.iter().map(|head| head.output.block());
        let mut sizes = stages(layers.iter().map(|layer| layer.block()).chain(output), self.stages);
        if let (Some(last), Some(_)) = (sizes.last_mut(), &head) {
            *last -= 1;
        }
        let (mut left, count) = (layers, sizes.len());
        let stage = |(index, size): (usize, usize)| {
            let (layers, others) = std::mem::take(&mut left).split_at_mut(size);
            left = others;
            Stage { layers, announced, head: if index + 1 == count { head.take() } else { None } }
        };
        sizes.into_iter().enumerate().map(stage).collect()
    }
}

impl Schedule for Pipelined {
    fn chunk(&self) -> usize {
        self.chunk
    }

    fn stages(&self) -> usize {
        self.stages
    }

    fn run(&self, network: Stage, learn: Learn, epoch: Epoch) -> Result<()> {
        let Epoch { chunks, done } = epoch;
        thread::scope(|scope| {
            let mut from: Box<dyn Iterator<Item = Chunk> + Send> = chunks;
            let mut workers = Vec::new();
            for mut stage in self.cut(network) {
                let (to, received) = sync_channel(WAITING);
                let mut link = ThreadLink { from, to };
                from = Box::new(received.into_iter());
                let threads = self.threads;
                workers.push(scope.spawn(move || {
                    let _threads = use_threads(Some(threads));
                    stage.run(learn, &mut link)
                }));
            }
            from.for_each(done);
            // Where one stage fails, those before it find that it has hung up, and those behind it come
            // to the end of their chunks.
            let outcomes = workers.into_iter().map(|worker| {
                let outcome = worker.join();
                outcome.unwrap_or_else(|panic| Err(anyhow!("{}", message(panic.as_ref()))))
            });
            let outcomes: Vec<Result<()>> = outcomes.collect();
            let failed =
                |outcome: &Result<()>| outcome.as_ref().is_err_and(|it| !it.is::<HungUp>());
            outcomes.into_iter().find(failed).unwrap_or(Ok(()))
        })
    }
}

/// The ends of a stage that has a thread of its own.
struct ThreadLink<'a> {
    from: Box<dyn Iterator<Item = Chunk> + Send + 'a>,
    to: SyncSender<Chunk>,
}

impl Link for ThreadLink<'_> {
    fn receive(&mut self) -> Result<Option<Chunk>> {
        Ok(self.from.next())
    }

    fn send(&mut self, chunk: Chunk) -> Result<()> {
        self.to.send(chunk).map_err(|_| SendError(()).into())
    }
}

/// The stage behind has failed, and says why.
type HungUp = SendError<()>;

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(error) = libtorch_error(panic) {
        return error;
    }
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a stage panicked").to_string()
}
