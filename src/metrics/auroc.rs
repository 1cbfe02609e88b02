//! The area under the ROC curve, from one sort a class.
//!
//! Legend: N samples, C outputs.

use std::sync::Mutex;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::native::for_each;

/// The area under the ROC curve of each of the C outputs `[N, C]` against its binary target, exact
/// (ties count half), averaged over the outputs.
///
/// As in torchmetrics, an output that has no positive or no negative sample counts as 0. NaN if an output
/// is.
pub fn macro_auroc(outputs: &Tensor, targets: &Tensor) -> f64 {
    if outputs.isnan().any().int64_value(&[]) != 0 {
        return f64::NAN;
    }
    let classes = outputs.size()[1] as usize;
    let floats = |tensor: &Tensor| -> Result<Vec<f32>> {
        let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        Ok(Vec::try_from(tensor.flatten(0, -1))?)
    };
    let (scores, targets) = (floats(outputs), floats(targets));
    let (scores, targets) = (scores.expect("it is a vector"), targets.expect("it is a vector"));
    let areas = Mutex::new(vec![0.0; classes]);
    let find = |class: usize| {
        let scores = scores.iter().skip(class).step_by(classes);
        let targets = targets.iter().skip(class).step_by(classes);
        let area = area(scores.zip(targets).map(|(score, target)| (*score, *target > 0.5)));
        areas.lock().expect("nobody panics")[class] = area;
    };
    for_each(classes, &find).expect("helpers of a run are there");
    let areas = areas.into_inner().expect("nobody panics");
    Tensor::from_slice(&areas).mean(Kind::Double).double_value(&[])
}

/// The statistic of Mann and Whitney: the positives' ranks, averaged within ties.
fn area(samples: impl Iterator<Item = (f32, bool)>) -> f64 {
    let sorted =
        sorted(samples.map(|(score, positive)| order(score) << 1 | u64::from(positive)).collect());
    let (mut below, mut positives, mut twice_ranks) = (0, 0, 0);
    for ties in sorted.chunk_by(|a, b| a >> 1 == b >> 1) {
        let count = ties.len() as u64;
        let hits: u64 = ties.iter().map(|sample| sample & 1).sum();
        twice_ranks += hits * (2 * below + count + 1);
        below += count;
        positives += hits;
    }
    let negatives = (below - positives) as f64;
    let positives = positives as f64;
    let area =
        (twice_ranks as f64 / 2.0 - positives * (positives + 1.0) / 2.0) / (positives * negatives);
    if area.is_nan() { 0.0 } else { area }
}

/// 32 bits that are in the order of the numbers; those of -0 are those of 0.
fn order(number: f32) -> u64 {
    let bits = (number + 0.0).to_bits();
    let flipped = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(flipped)
}

/// Sorts numbers of 33 bits, by 11 of them at a time.
fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    const BITS: usize = 11;
    let digit = |number: u64, pass: usize| (number >> (BITS * pass)) as usize & ((1 << BITS) - 1);
    let mut starts = [[0u32; 1 << BITS]; 3];
    for number in &numbers {
        (0..3).for_each(|pass| starts[pass][digit(*number, pass)] += 1);
    }
    let mut other = vec![0; numbers.len()];
    for (pass, starts) in starts.iter_mut().enumerate() {
        let mut next = 0;
        for start in starts.iter_mut() {
            next += std::mem::replace(start, next);
        }
        for number in &numbers {
            let place = &mut starts[digit(*number, pass)];
            other[*place as usize] = *number;
            *place += 1;
        }
        std::mem::swap(&mut numbers, &mut other);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By counting pairs.
    fn by_pairs(scores: &[f32], positive: &[bool]) -> f64 {
        let of = |wanted: bool| {
            scores
                .iter()
                .zip(positive)
                .filter(move |(_, it)| **it == wanted)
                .map(|(score, _)| *score)
        };
        let (mut wins, mut pairs) = (0.0, 0.0);
        for hit in of(true) {
            for miss in of(false) {
                pairs += 1.0;
                wins += if hit > miss {
                    1.0
                } else if hit == miss {
                    0.5
                } else {
                    0.0
                };
            }
        }
        if pairs == 0.0 { 0.0 } else { wins / pairs }
    }

    #[test]
    fn area_is_the_share_of_pairs_in_order() {
        let mut random = 1u64;
        for size in [1, 2, 3, 10, 200] {
            for levels in [2, 5, 1 << 20] {
                let mut draw = |bound: u64| {
                    random =
                        random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (random >> 33) % bound
                };
                let scores: Vec<f32> =
                    (0..size).map(|_| (draw(levels) as f32 - levels as f32 / 2.0) * 0.1).collect();
                let positive: Vec<bool> = (0..size).map(|_| draw(3) == 0).collect();
                let found = area(scores.iter().copied().zip(positive.iter().copied()));
                assert!((found - by_pairs(&scores, &positive)).abs() < 1e-12, "{size} {levels}");
            }
        }
    }

    #[test]
    fn zeros_of_both_signs_and_infinities_have_their_places() {
        let scores = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1.0, -1.0, 1e-40, -1e-40];
        for positives in 0..256u32 {
            let positive: Vec<bool> = (0..8).map(|bit| positives >> bit & 1 == 1).collect();
            let found = area(scores.iter().copied().zip(positive.iter().copied()));
            assert!((found - by_pairs(&scores, &positive)).abs() < 1e-12, "{positives:b}");
        }
    }
}
