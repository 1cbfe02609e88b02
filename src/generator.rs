//! A source of random numbers of the run's own.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::native::CpuGenerator;

/// A seeded stream of random numbers: libtorch's CPU Mersenne Twister (MT19937), but not the
/// process-wide one, so that nothing else that draws numbers can change a run.
///
/// Two generators with one seed give equal streams, and the streams of `torch.manual_seed`.
pub struct Generator(CpuGenerator);

impl Generator {
    /// A generator at the start of the stream of `seed`.
    pub fn new(seed: u64) -> Result<Generator> {
        Ok(Generator(CpuGenerator::new(seed)?))
    }

    /// A float tensor of the given shape on the CPU, drawn i.i.d. from U[low, high).
    pub fn uniform(&mut self, shape: &[i64], low: f64, high: f64) -> Result<Tensor> {
        let mut tensor = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
        self.0.uniform(&mut tensor, low, high)?;
        Ok(tensor)
    }

    /// An int64 tensor of the given shape on the CPU, drawn i.i.d. from 0, 1, …, `bound` - 1.
    pub fn integers(&mut self, shape: &[i64], bound: i64) -> Result<Tensor> {
        let mut tensor = Tensor::f_empty(shape, (Kind::Int64, Device::Cpu))?;
        self.0.integers(&mut tensor, bound)?;
        Ok(tensor)
    }

    /// One draw of `torch.empty((), dtype=torch.int64).random_()`.
    pub fn int64(&mut self) -> Result<i64> {
        self.0.int64()
    }

    /// A random order of 0, 1, …, `count` - 1, as an int64 tensor on the CPU.
    pub fn permutation(&mut self, count: i64) -> Result<Tensor> {
        self.0.permutation(count)
    }

    /// The order in which an epoch visits `count` samples: int64 on the CPU.
    ///
    /// Two numbers are drawn: one is thrown away, the other seeds the generator of the order, as
    /// PyTorch's `DataLoader` and `RandomSampler` do.
    pub fn epoch_order(&mut self, count: i64) -> Result<Tensor> {
        self.int64()?;
        let seed = self.int64()?;
        Generator::new(seed.cast_unsigned())?.permutation(count)
    }

    /// The position in the stream, as bytes (uint8 on the CPU); see [`Generator::set_state`].
    pub fn state(&self) -> Result<Tensor> {
        self.0.state()
    }

    /// Continues where the generator was when [`Generator::state`] was asked.
    pub fn set_state(&mut self, state: &Tensor) -> Result<()> {
        self.0.set_state(state)
    }
}

#[cfg(test)]
mod tests {
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
