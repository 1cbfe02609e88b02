//! How layers are divided into stages, and how many batches make a chunk: a model of the machine.

use crate::layers::Layer;
use crate::machine::last_level_cache;
use crate::network::Block;

/// A chunk of so many batches that the inputs and outputs of the widest layer fit into a part of the
/// last-level cache, and into 8 MiB: far parts of large caches are slow, and from there on weights are loaded
/// seldom enough. Where the weights of each layer and what Adam keeps of them take no more than 256 KiB, they
/// stay in a core's own cache anyway, and 2 MiB are enough. Transformer blocks do not gain from chunks: they
/// keep more than their inputs and outputs.
pub fn chunk_for(layers: &[Layer], inputs: i64, batch_size: i64) -> usize {
    if layers.iter().any(|layer| layer.block().as_transformer().is_some()) {
        return 1;
    }
    let (mut widest, mut heaviest) = (0, 0);
    let mut before = inputs;
    for layer in layers {
        let outputs = layer.block().outputs();
        widest = widest.max(before + outputs);
        heaviest = heaviest.max(before * outputs);
        before = outputs;
    }
    let bytes = 4 * widest * batch_size;
    let most = if 3 * 4 * heaviest <= 256 << 10 { 2 << 20 } else { 8 << 20 };
    let share = (last_level_cache() / 4).min(most);
    (share / bytes.max(1)).clamp(1, 64) as usize
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

/// How many consecutive blocks each stage gets, the output block counted, so that the costliest stage
/// has the fewest multiplications; no stage is empty.
pub fn stages<'a>(blocks: impl IntoIterator<Item = &'a dyn Block>, stages: usize) -> Vec<usize> {
    balanced(&blocks.into_iter().map(Block::operations).collect::<Vec<i64>>(), stages)
}

fn balanced(costs: &[i64], stages: usize) -> Vec<usize> {
    let stages = stages.min(costs.len());
    // Stages of at most this cost each; where too few layers are left for the other stages, of one each.
    let filled = |limit: i64| {
        let (mut sizes, mut size, mut sum) = (Vec::new(), 0, 0);
        for (index, cost) in costs.iter().enumerate() {
            let too_few = costs.len() - index + sizes.len() < stages;
            if size > 0 && (sum + cost > limit || too_few) {
                sizes.push(size);
                (size, sum) = (0, 0);
            }
            (size, sum) = (size + 1, sum + cost);
        }
        sizes.push(size);
        sizes
    };
    // The least of such costs, found by bisection.
    let (mut low, mut high) = (costs.iter().copied().max().unwrap_or(0), costs.iter().sum());
    while low < high {
        let middle = low + (high - low) / 2;
        if filled(middle).len() <= stages { high = middle } else { low = middle + 1 }
    }
    filled(low)
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
