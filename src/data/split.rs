//! Splitting a table into a training set and a test set, exactly as scikit-learn does.

use anyhow::{Result, bail};

use super::Split;
use crate::generator::Generator;

/// Below 2²⁸ libtorch draws a whole number from one word of the generator, and from its lower bits.
const MOST_ROWS: i64 = 1 << 27;

impl Split {
    /// A training set and a test set, as scikit-learn's `train_test_split` makes them. The paper
    /// splits its tables by 0.2 with seed 1.
    pub(super) fn train_test(&self, test_fraction: f64, seed: u32) -> Result<[Split; 2]> {
        let (train, test) = train_test(self.len(), test_fraction, seed)?;
        Ok([train, test].map(|positions| self.select(&positions)))
    }
}

/// Which of `rows` rows are trained on, and which are tested on: as scikit-learn's
/// `train_test_split(test_size=test_fraction, random_state=seed)` chooses and orders them.
///
/// The test set has ⌈fraction · rows⌉ rows.
///
/// # Errors
/// If one of the two sets would be empty.
fn train_test(rows: i64, test_fraction: f64, seed: u32) -> Result<(Vec<i64>, Vec<i64>)> {
    let count = (test_fraction * rows as f64).ceil() as i64;
    if count < 1 || count >= rows {
        bail!("{rows} rows cannot be split into a training and a test set by {test_fraction}");
    }
    let mut order = permutation(rows, seed)?;
    let train = order.split_off(count as usize);
    Ok((train, order))
}

/// `numpy.random.RandomState(seed).permutation(count)`, for a count up to 2²⁷: Fisher and Yates'
/// shuffle from the end, each position drawn from MT19937 by rejection.
fn permutation(count: i64, seed: u32) -> Result<Vec<i64>> {
    if count > MOST_ROWS {
        bail!("{count} rows are more than can be shuffled");
    }
    // NumPy's and libtorch's generators are the same one; of its words the lower 27 bits are drawn.
    let mut generator = Generator::new(u64::from(seed))?;
    let mut words = Vec::new().into_iter();
    let mut order: Vec<i64> = (0..count).collect();
    for last in (1..order.len()).rev() {
        let mask = (last + 1).next_power_of_two() - 1; // the bits that `last` needs
        let chosen = loop {
            match words.next().map(|word: i64| word as usize & mask) {
                Some(drawn) if drawn <= last => break drawn,
                Some(_) => {}
                None => {
                    let block = generator.integers(&[4096], MOST_ROWS)?;
                    words = Vec::<i64>::try_from(block)?.into_iter();
                }
            }
        };
        order.swap(last, chosen);
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_numpys() {
        // numpy.random.RandomState(1).permutation(10), and RandomState(7).permutation(8)
        assert_eq!(permutation(10, 1).unwrap(), [2, 9, 6, 4, 0, 3, 1, 7, 8, 5]);
        assert_eq!(permutation(8, 7).unwrap(), [2, 5, 0, 6, 3, 1, 4, 7]);
    }

    #[test]
    fn test_rows_come_first_and_are_rounded_up() {
        let (train, test) = train_test(10, 0.15, 1).unwrap();
        assert_eq!(test, [2, 9]);
        assert_eq!(train, [6, 4, 0, 3, 1, 7, 8, 5]);
        for (rows, fraction) in [(0, 0.2), (1, 0.2), (10, 1.0), (10, 0.95)] {
            assert!(train_test(rows, fraction, 1).is_err(), "{rows}, {fraction}");
        }
    }
}
