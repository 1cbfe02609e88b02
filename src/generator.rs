//! A source of random numbers of the run's own.

use anyhow::Result;
use tch::Tensor;

pub use crate::native::Generator;

impl Generator {
    /// The order in which an epoch visits `count` samples: int64 on the CPU.
    ///
    /// Two numbers are drawn: one is thrown away, the other seeds the generator of the order, as
    /// PyTorch's `DataLoader` and `RandomSampler` do.
    pub fn epoch_order(&mut self, count: i64) -> Result<Tensor> {
        self.int64()?;
        let seed = self.int64()?;
        Generator::new(seed.cast_unsigned())?.permutation(count)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn same_seed_same_stream() {
        let draw = |seed| {
            let mut generator = Generator::new(seed).unwrap();
            let uniform = generator.uniform(&[3, 4], -1.0, 1.0).unwrap();
            (uniform, generator.int64().unwrap())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn restored_state_repeats_the_stream() {
        let mut generator = Generator::new(7).unwrap();
        generator.int64().unwrap();
        let state = generator.state().unwrap();
        let first = generator.permutation(100).unwrap();
        generator.set_state(&state).unwrap();
        assert_eq!(first, generator.permutation(100).unwrap());
    }

    #[test]
    fn other_generators_do_not_disturb_the_stream() {
        let undisturbed = Generator::new(3).unwrap().int64().unwrap();
        let mut generator = Generator::new(3).unwrap();
        let _ = Tensor::rand([10], (Kind::Float, Device::Cpu));
        Generator::new(4).unwrap().int64().unwrap();
        assert_eq!(generator.int64().unwrap(), undisturbed);
    }
}
