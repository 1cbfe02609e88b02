//! The map of one layer: what it predicts, and how it learns.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use super::drift::Sums;
use super::{Announced, Drift, Local, Prediction, Rows};
use crate::batches::joined;
use crate::engine::{Engine, EngineSettings, Kernels, Signal, Step, norm, parameters};
use crate::loss::Loss;
use crate::native::dense::exchange;
use crate::network::Dense;
use crate::optimizer::{AdamSettings, OptimizerSettings};
use crate::process::{Threads, use_threads};

/// What a hidden layer predicts errors with.
pub struct Predictor {
    settings: Prediction,
    loss: Loss,
    fused: bool, // whether the layer has kernels with threads of their own
    batch_size: i64,
    map: Option<Box<dyn Engine>>, // A and a, with Adam; none: nothing is predicted
    guesses: Option<Tensor>,      // ŷ^{t-1} `[N, C]`, zero before the first epoch
    kept: VecDeque<Kept>,         // of blocks that the map has not learned from
    learned: i64,                 // blocks of this epoch
    sums: Option<Sums>,           // of this epoch, if they are wanted
    drift: Option<Drift>,         // of the last one
}

/// What is kept of some rows until their errors are announced.
struct Kept {
    first: i64,
    seen: Tensor,
    targets: Tensor,
    errors: Option<[Tensor; 2]>, // e^{t-1} and ê, if the drift is wanted
}

impl Predictor {
    /// A map of zeros for N samples with C outputs, which sees so many numbers of its layer.
    pub(crate) fn new(
        settings: Prediction,
        loss: Loss,
        [samples, outputs, seen]: [i64; 3],
        (device, fused): (Device, bool),
    ) -> Result<Predictor> {
        let zeros = |shape: &[i64]| Tensor::f_zeros(shape, (Kind::Float, device));
        let (mut map, mut guesses) = (None, None);
        if settings.local_rate > 0.0 {
            let (weight, bias) = (zeros(&[outputs, seen])?, zeros(&[outputs])?);
            let dense = Dense::of(weight, Some(bias), loss.output_activation());
            let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
            let kernels = if fused { Kernels::Fused } else { Kernels::Aten };
            map = Some(adam.build(Box::new(dense), kernels)?);
            if settings.keeps_guesses() {
                let no_memory = || format!("no memory for the guesses of {samples} x {outputs}");
                guesses = Some(zeros(&[samples, outputs]).with_context(no_memory)?);
            }
        }
        let (kept, sums, drift) = (VecDeque::new(), None, None);
        let (batch_size, learned) = (1, 0);
        Ok(Predictor {
            settings,
            loss,
            fused,
            batch_size,
            map,
            guesses,
            kept,
            learned,
            sums,
            drift,
        })
    }

    /// Whether the layer's outputs must be known before it is taught.
    pub(crate) fn sees_outputs(&self) -> bool {
        self.settings.local == Local::Output && self.map.is_some()
    }

    /// Rows of a block, with batches of this size.
    pub(crate) fn block_rows(&self, batch_size: i64) -> i64 {
        self.settings.block * batch_size
    }

    /// ŷ `[r, C]` from u, if the layer guesses.
    pub(crate) fn guess(&self, seen: &Tensor) -> Result<Option<Tensor>> {
        let Some(map) = &self.map else { return Ok(None) };
        let outputs = map.pass(seen, self.batch_size)?;
        let _threads = self.beside();
        Ok(Some(self.loss.scores(&outputs)))
    }

    /// ê `[r, C]` of rows, from what the layer guesses of their outputs.
    pub(crate) fn predict(&self, rows: &Rows, guess: Option<&Tensor>) -> Tensor {
        let _threads = self.beside();
        match (guess, &self.guesses) {
            (None, _) => rows.stored.shallow_clone(),
            (Some(guess), None) => &rows.targets - guess,
            (Some(guess), Some(guesses)) => {
                &rows.stored - (guess - guesses.index_select(0, &rows.positions))
            }
        }
    }

    /// As [`Predictor::predict`], and keeps the guess at each sample in place of the last one.
    pub(crate) fn teach(&mut self, rows: &Rows, guess: Option<&Tensor>) -> Result<Tensor> {
        let (Some(guess), Some(guesses)) = (guess, &mut self.guesses) else {
            return Ok(self.predict(rows, guess));
        };
        if guesses.device() == Device::Cpu {
            return exchange(guesses, &rows.positions, guess, &rows.stored);
        }
        let predicted = self.predict(rows, Some(guess));
        let _ = self.guesses.as_mut().map(|it| it.index_copy_(0, &rows.positions, guess));
        Ok(predicted)
    }

    /// See [`Layer::beside`](crate::layers::Layer::beside).
    fn beside(&self) -> Threads {
        use_threads(self.fused.then_some(1))
    }

    /// Keeps of rows of one block what the map will learn from.
    pub(crate) fn keep(&mut self, rows: &Rows, seen: &Tensor, predicted: &Tensor) {
        if self.map.is_none() && self.sums.is_none() {
            return;
        }
        let _threads = self.beside();
        let block = self.block_rows(self.batch_size);
        // 0.28 of 50 batches are 14, though floats make it a little more.
        let learned =
            (self.settings.share * self.settings.block as f64 - 1e-9).ceil().max(1.0) as i64;
        let wanted = (learned * self.batch_size - rows.first % block).clamp(0, rows.len());
        // What is not needed is not to stay in memory.
        let part = |of: &Tensor| match wanted < rows.len() {
            true => of.narrow(0, 0, wanted).copy(),
            false => of.shallow_clone(),
        };
        self.kept.push_back(Kept {
            first: rows.first,
            seen: part(seen),
            targets: part(&rows.targets),
            errors: self.sums.as_ref().map(|_| [part(&rows.stored), part(predicted)]),
        });
    }

    /// Lets the map learn what it has to know before it teaches these rows, which are of one block.
    pub(crate) fn prepare_for(
        &mut self,
        rows: &Rows,
        batch_size: i64,
        announced: &Announced,
        by_others: bool,
    ) -> Result<()> {
        self.batch_size = batch_size;
        let block = rows.first / self.block_rows(batch_size);
        self.learn_before(block - self.settings.lag + 1, announced, by_others)
    }

    /// Forgets what an epoch that failed has left; from now on the drift of errors is measured, or not.
    pub(crate) fn begin_epoch(&mut self, measures_drift: bool) {
        self.learned = 0;
        self.kept.clear();
        self.sums = measures_drift.then(Sums::default);
    }

    /// Lets the map learn from all that is left of an epoch.
    pub(crate) fn end_epoch(&mut self, announced: &Announced) -> Result<()> {
        self.learn_before(i64::MAX, announced, false)?;
        self.drift = self.sums.as_ref().and_then(Sums::drift);
        Ok(())
    }

    /// Lets the map learn from all blocks before this one of which something is kept.
    fn learn_before(&mut self, block: i64, announced: &Announced, by_others: bool) -> Result<()> {
        let rows = self.block_rows(self.batch_size);
        while self.learned < block && !self.kept.is_empty() {
            let end = (self.learned + 1) * rows;
            let count = self.kept.iter().take_while(|kept| kept.first < end).count();
            let parts: Vec<Kept> = self.kept.drain(..count).collect();
            self.learned += 1;
            self.learn(&parts, announced, by_others)?;
        }
        Ok(())
    }

    /// A step of Adam for each batch, along the gradient of the loss between the guess and the present output
    /// y = y* - e^t.
    fn learn(&mut self, parts: &[Kept], announced: &Announced, by_others: bool) -> Result<()> {
        let Some(Kept { first, .. }) = parts.first() else { return Ok(()) };
        // One thread, whatever the schedule: sums then have the same bits.
        let beside = use_threads(Some(1));
        let all = |of: &dyn Fn(&Kept) -> Option<&Tensor>| {
            let parts = parts.iter().filter_map(of).filter(|it| it.size()[0] > 0);
            joined(parts.map(Tensor::shallow_clone).collect())
        };
        let (seen, targets) = (all(&|it| Some(&it.seen)), all(&|it| Some(&it.targets)));
        let present = announced.get(*first..first + targets.size()[0], by_others)?;
        let present = present.to_device(targets.device());
        if let Some(sums) = &mut self.sums {
            let [stored, predicted] =
                [0, 1].map(|index| all(&|it| it.errors.as_ref().map(|errors| &errors[index])));
            sums.add(&(&present - stored), &(&present - predicted));
        }
        let Some(map) = &mut self.map else { return Ok(()) };
        let outputs = targets - present;
        let learning_rate = self.settings.local_rate;
        let step = Step { learning_rate, batch_size: self.batch_size, watch: false };
        if self.fused {
            drop(beside); // the kernels' sums do not depend on threads
        }
        let _guesses = map.learn(&seen, &outputs, Signal::Loss(self.loss), &step)?;
        Ok(())
    }

    /// How far errors have drifted in the last epoch, and how far from the predictions; none if
    /// [`Epoch::diagnosed`](crate::trainer::Epoch::diagnosed) did not ask for it.
    pub fn drift(&self) -> Option<Drift> {
        self.drift
    }

    /// Learning rate of the map.
    pub(crate) fn local_rate(&self) -> f64 {
        self.settings.local_rate
    }

    /// Whether no weight of the map is NaN or infinite.
    pub(crate) fn is_finite(&self) -> bool {
        let parameters = self.map.iter().flat_map(|map| parameters(map.block()));
        tch::no_grad(|| norm(parameters)).double_value(&[]).is_finite()
    }

    /// Every tensor that the next epoch depends on, by name.
    pub(crate) fn state(&self) -> Vec<(String, Tensor)> {
        let guesses = self.guesses.iter().map(|it| ("guesses".to_string(), it.shallow_clone()));
        let mut state: Vec<(String, Tensor)> = guesses.collect();
        if let Some(map) = &self.map {
            let parameters = map.block().parameters().into_iter();
            state.extend(parameters.map(|(name, it)| (format!("map.{name}"), it.detach())));
            let optimizer = map.optimizer().state().into_iter();
            state.extend(
                optimizer.map(|(name, it)| (format!("optimizer.{name}"), it.shallow_clone())),
            );
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::super::Announcer;
    use super::*;
    use crate::generator::Generator;

    /// Epochs of 60 samples in batches of 5, of which the network has the outputs `present(inputs, epoch)`
    /// and the map sees the inputs; gives the last epoch's drift.
    fn drift(settings: Prediction, epochs: i64, present: fn(&Tensor, i64) -> Tensor) -> Drift {
        let _no_grad = tch::no_grad_guard();
        let mut generator = Generator::new(3).unwrap();
        let place = (Device::Cpu, false);
        let loss = Loss::MeanSquaredError;
        let mut predictor = Predictor::new(settings, loss, [60, 3, 4], place).unwrap();
        let input = generator.uniform(&[60, 4], -1.0, 1.0).unwrap();
        let targets = generator.uniform(&[60, 3], -1.0, 1.0).unwrap();
        let positions = Tensor::arange(60, (Kind::Int64, Device::Cpu));
        let mut stored = targets.shallow_clone();
        for epoch in 0..epochs {
            let errors = &targets - present(&input, epoch);
            let [input, targets, positions] =
                [&input, &targets, &positions].map(Tensor::shallow_clone);
            let all = Rows { input, stored, targets, positions, first: 0 };
            let announced = Announced::default();
            let announcer = Announcer(&announced);
            predictor.begin_epoch(true);
            for rows in all.cut(5, false) {
                predictor.prepare_for(&rows, 5, &announced, false).unwrap();
                let guess = predictor.guess(&rows.input).unwrap();
                let predicted = predictor.teach(&rows, guess.as_ref()).unwrap();
                predictor.keep(&rows, &rows.input, &predicted);
                announcer.announce(&errors.narrow(0, rows.first, rows.len()));
            }
            predictor.end_epoch(&announced).unwrap();
            stored = errors;
        }
        predictor.drift().unwrap()
    }

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
    const MAP: [f32; 12] = [0.5, -0.2, 0.0, 0.1, 0.9, -0.3, -0.7, 0.2, 0.4, 0.3, -0.6, 0.8];

    fn told_by_inputs(input: &Tensor, _: i64) -> Tensor {
        input.mm(&Tensor::from_slice(&MAP).reshape([4, 3]))
    }

    fn fast() -> Prediction {
        Prediction { local_rate: 1e-2, block: 3, ..Prediction::default() }
    }

    #[test]
    fn outputs_that_the_layer_can_tell_are_guessed() {
        let guessing = Prediction { stored: false, ..fast() };
        assert!(drift(guessing, 1, told_by_inputs).left > 0.3);
        assert!(drift(guessing, 60, told_by_inputs).left < 1e-2);
    }

    #[test]
    fn what_moves_with_the_guess_is_no_drift_that_is_left() {
        // What the layer cannot tell stays as it is, and is in the stored errors.
        let moving = |input: &Tensor, epoch: i64| {
            told_by_inputs(input, 0) * (0.1 * epoch as f64) + input.square().narrow(1, 0, 3)
        };
        let found = drift(fast(), 60, moving);
        assert!(found.left < 0.3 * found.stored, "{found:?}");
        let guessing = Prediction { stored: false, ..fast() };
        assert!(drift(guessing, 60, moving).left > found.stored);
    }

    #[test]
    fn a_constant_drift_is_found() {
        // Each epoch the outputs move on by the same, and so do the guesses, a little late: what is
        // left is nothing once they follow.
        let moving = |_: &Tensor, epoch: i64| Tensor::full([60, 3], 0.1 * epoch as f64, FLOAT);
        let found = drift(fast(), 60, moving);
        assert!((found.stored - 0.1).abs() < 1e-6, "{found:?}");
        assert!(found.left < 0.01 * found.stored, "{found:?}");
    }

    #[test]
    fn a_guess_takes_the_place_of_the_last_one() {
        let mut generator = Generator::new(5).unwrap();
        let place = (Device::Cpu, false);
        let loss = Loss::MeanSquaredError;
        let mut predictor = Predictor::new(fast(), loss, [60, 3, 4], place).unwrap();
        let mut rows = |positions: &[i64]| {
            let mut draw = |width| generator.uniform(&[3, width], -1.0, 1.0).unwrap();
            let (input, stored, targets, guess) = (draw(4), draw(3), draw(3), draw(3));
            let positions = Tensor::from_slice(positions);
            (Rows { input, stored, targets, positions, first: 0 }, guess)
        };
        let ((one, first), (two, second)) = (rows(&[59, 0, 7]), rows(&[7, 30, 59]));
        for (rows, guess) in [(&one, &first), (&two, &second)] {
            let expected = predictor.predict(rows, Some(guess));
            assert_eq!(predictor.teach(rows, Some(guess)).unwrap(), expected);
        }
        let again = predictor.teach(&two, Some(&second)).unwrap();
        assert_eq!(again, two.stored); // the guess is the last one
        assert_ne!(predictor.predict(&one, Some(&first)), one.stored);
        let moved = predictor.teach(&two, Some(&(&second + 1.0))).unwrap();
        assert!((moved - (&two.stored - 1.0)).abs().max().double_value(&[]) < 1e-6);
        let (beyond, guess) = rows(&[1, 60, 2]);
        assert!(predictor.teach(&beyond, Some(&guess)).is_err());
    }

    #[test]
    fn the_least_share_of_a_block_is_a_batch() {
        let tiny = Prediction { share: 1e-12, ..fast() };
        let one = Prediction { share: 1.0 / 3.0, ..fast() };
        assert_eq!(drift(tiny, 3, told_by_inputs), drift(one, 3, told_by_inputs));
        assert_ne!(drift(tiny, 3, told_by_inputs), drift(fast(), 3, told_by_inputs));
    }

    #[test]
    fn without_a_map_the_stored_errors_teach() {
        let never = Prediction { local_rate: 0.0, ..fast() };
        let found = drift(never, 5, |input, epoch| told_by_inputs(input, 0) * epoch as f64);
        assert_eq!(found.stored, found.left);
        assert!(found.left > 0.3);
    }
}
