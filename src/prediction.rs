//! The error of this very moment, predicted where it is used.
//!
//! F³'s stored error e^{t-1} is an epoch old. What has changed since then is mostly the same for all
//! samples of a class, or can be told from what a layer sees. So each hidden layer keeps, beside its
//! feedback, two small linear maps, D and R, and is taught with
//!
//! ê = e^{t-1} + D\[class\] + u R.
//!
//! The maps learn from e^t - ê as soon as the output layer has announced the present error e^t, some
//! batches after the layer has stepped. An epoch's batches are cut into blocks of L; the maps that teach
//! block k have learned from all blocks of the epochs before, and from those up to k - lag of this one.
//! This is a rule of the algorithm, whatever the order in which layers and batches are computed.
//!
//! Legend: r rows, b batch, m inputs and n outputs of the layer, C outputs of the network, L batches of a
//! block, u `[r, m]` or `[r, n]` what R sees, D `[classes, C]`, R `[m, C]` or `[n, C]`.

use std::collections::VecDeque;
use std::ops::{Bound, Range};
use std::sync::mpsc::SendError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::activation::Activation;
use crate::batches::joined;
use crate::engine::{Engine, EngineSettings, Kernels, Signal, Step, parameters};
use crate::error_info::ErrorInfo;
use crate::loss::Loss;
use crate::network::Dense;
use crate::optimizer::{AdamSettings, OptimizerSettings};
use crate::process::{Threads, use_threads};
use crate::settings::domain::{choice, number, whole};
use crate::settings::{ConfigError, Key, Reader, Source, named, section};

named! {
    /// What the local map R sees of its layer.
    pub enum Local {
        /// The layer's inputs. Layers then still take a whole chunk of batches at once.
        Input = "input",
        /// The layer's outputs: they take one batch after the other.
        Output = "output",
        /// Nothing: there is no R.
        None = "none",
    }
}

section! {
    /// How hidden layers predict the error of the present epoch.
    #[derive(Copy)]
    pub struct Prediction {
        /// Share of the way that D goes, with each block, to the mean error that is left in a class; 0: no D.
        class_rate: f64 = 0.1, number("a number from 0 to 1", 0.0..=1.0);
        /// Learning rate of R, which Adam steps with each batch; 0: no R.
        local_rate: f64 = 1e-4, number("a number of at least 0", 0.0..);
        /// What R sees of its layer.
        local: Local = Local::Input, choice();
        /// L: batches of a block.
        block: i64 = 5, whole(1..=1_000_000);
        /// How many blocks after they have learned from one the maps are used.
        lag: i64 = 1, whole(1..=1_000_000);
        /// Share of the maps that is left when an epoch ends: the errors that are stored then are younger.
        carry: f64 = 0.3, number("a number from 0 to 1", 0.0..=1.0);
        /// Share of a block's batches, its first ones, that the maps learn from.
        share: f64 = 1.0,
            number("a number above 0, up to 1", (Bound::Excluded(0.0), Bound::Included(1.0)));
    }
}

section! {
    /// The settings of `error_info: delayed_error_predicted`.
    #[derive(Copy)]
    pub struct Predicted {
        /// How hidden layers predict the present error.
        prediction: Prediction => read();
    }
}

/// What an error information has settings for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum InfoSettings {
    /// Of `delayed_error_predicted`.
    Predicted(Predicted),
    /// The others have none.
    None {},
}

impl InfoSettings {
    pub(crate) fn keys() -> Vec<Key> {
        Predicted::keys()
    }

    pub(crate) fn read_keys(
        reader: &mut Reader,
        info: ErrorInfo,
    ) -> Result<InfoSettings, ConfigError> {
        let is_predicted = info == ErrorInfo::DelayedErrorPredicted;
        let given = reader.has("prediction");
        if given && !is_predicted && !reader.yields("prediction", "error_info") {
            let expected = "none, or `error_info: delayed_error_predicted` beside it";
            return Err(reader.refuse_unread("prediction", expected));
        }
        let settings = Predicted::read_keys(reader)?;
        Ok(if is_predicted { InfoSettings::Predicted(settings) } else { InfoSettings::None {} })
    }

    /// How the error is predicted, if it is.
    pub fn prediction(&self) -> Option<&Prediction> {
        match self {
            InfoSettings::Predicted(Predicted { prediction }) => Some(prediction),
            InfoSettings::None {} => None,
        }
    }
}

/// As in a configuration that says nothing about it.
impl Default for Prediction {
    fn default() -> Prediction {
        let source = Source::parse("the defaults", "{}").expect("is YAML");
        source.peek(&[], Prediction::read_keys).expect("every key has a default")
    }
}

impl Prediction {
    /// The largest number of batches, up to `wanted`, that may be in a chunk: before a layer takes a chunk,
    /// the errors that its maps learn from must have been announced. So many stages each have a chunk.
    pub(crate) fn chunk(&self, wanted: usize, stages: usize) -> usize {
        let (block, lag) = (self.block as usize, self.lag as usize);
        if wanted >= block {
            return (wanted / block).min((lag / stages).max(1)) * block;
        }
        (1..=wanted.max(1)).rev().find(|size| block.is_multiple_of(*size)).unwrap_or(1)
    }
}

/// The present errors of an epoch, as the output layer announces them to all others.
#[derive(Default)]
pub struct Announced {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    errors: Vec<(i64, Tensor)>, // with how many rows come before
    rows: i64,
    is_over: bool,
}

impl Announced {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The errors e^t of these rows, counted from the epoch's first; waits for them if `by_others`, where
    /// another thread announces them.
    ///
    /// # Errors
    /// If they will not come any more, since the output layer has failed, or since the schedule asks too
    /// early.
    fn get(&self, rows: Range<i64>, by_others: bool) -> Result<Tensor> {
        let state = self.state();
        let comes = |state: &mut State| by_others && state.rows < rows.end && !state.is_over;
        let state = self.changed.wait_while(state, comes);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if state.rows < rows.end {
            if state.is_over {
                return Err(SendError(()).into());
            }
            let Range { start, end } = rows;
            bail!("the errors of samples {start} to {end} are needed before they are known");
        }
        let after = state.errors.partition_point(|(start, _)| *start <= rows.start);
        let errors = state.errors[after - 1..].iter().take_while(|(start, _)| *start < rows.end);
        let pieces = errors.map(|(start, errors)| (*start, errors.shallow_clone()));
        let pieces: Vec<(i64, Tensor)> = pieces.collect();
        drop(state);
        let piece = |(start, errors): (i64, Tensor)| {
            let (from, to) = (rows.start.max(start), rows.end.min(start + errors.size()[0]));
            errors.narrow(0, from - start, to - from)
        };
        Ok(joined(pieces.into_iter().map(piece).collect()))
    }
}

/// The output layer's end: who waits for more when it is dropped waits in vain.
pub struct Announcer<'a>(pub &'a Announced);

impl Announcer<'_> {
    /// Announces the errors `[r, C]` of the next rows.
    pub(crate) fn announce(&self, errors: &Tensor) {
        let mut state = self.0.state();
        let start = state.rows;
        state.errors.push((start, errors.shallow_clone()));
        state.rows += errors.size()[0];
        self.0.changed.notify_all();
    }
}

impl Drop for Announcer<'_> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_all();
    }
}

/// Some rows of an epoch as a layer is to learn from them.
pub struct Rows {
    /// x `[r, m]`.
    pub input: Tensor,
    /// e^{t-1} `[r, C]`.
    pub stored: Tensor,
    /// y* `[r, C]`.
    pub targets: Tensor,
    /// How many rows of the epoch come before.
    pub first: i64,
}

impl Rows {
    /// r.
    pub(crate) fn len(&self) -> i64 {
        self.input.size()[0]
    }

    /// Some of them.
    fn part(&self, rows: Range<i64>, own_memory: bool) -> Rows {
        let part = |of: &Tensor| of.narrow(0, rows.start, rows.end - rows.start);
        let input = part(&self.input);
        Rows {
            input: if own_memory && rows.start > 0 { input.copy() } else { input },
            stored: part(&self.stored),
            targets: part(&self.targets),
            first: self.first + rows.start,
        }
    }

    /// In parts that end where the epoch's rows divide by `size`. Inputs have memory of their own where
    /// libtorch multiplies, see `in_batches`.
    pub(crate) fn cut(&self, size: i64, own_memory: bool) -> impl Iterator<Item = Rows> + '_ {
        let mut start = 0;
        std::iter::from_fn(move || {
            let end = (start + size - (self.first + start) % size).min(self.len());
            let part = (start < end).then(|| self.part(start..end, own_memory));
            start = end;
            part
        })
    }
}

/// What a hidden layer predicts errors with.
pub struct Predictor {
    settings: Prediction,
    fused: bool, // whether the layer has kernels with threads of their own
    batch_size: i64,
    class: Tensor,                  // D
    local: Option<Box<dyn Engine>>, // Rᵀ, with Adam
    kept: VecDeque<Kept>,           // of blocks that the maps have not learned from
    learned: i64,                   // blocks of this epoch
    sums: Sums,                     // of this epoch
    drift: Option<Drift>,           // of the last one
}

/// How far errors have drifted since the epoch before: root mean squares over an epoch's samples (those that
/// the maps learn from) and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Of e^t - e^{t-1}: how well the stored errors stand for the present ones.
    pub stored: f64,
    /// Of e^t - ê: how well the predicted ones do.
    pub left: f64,
}

/// Sums of squares, on the layer's device, and the number of errors.
#[derive(Default)]
struct Sums {
    stored: Vec<Tensor>,
    left: Vec<Tensor>,
    count: f64,
}

impl Sums {
    fn add(&mut self, stored: &Tensor, left: &Tensor) {
        self.stored.push(stored.square().sum(Kind::Double));
        self.left.push(left.square().sum(Kind::Double));
        self.count += left.numel() as f64;
    }

    fn drift(&self) -> Option<Drift> {
        let mean = |sums: &[Tensor]| Tensor::stack(sums, 0).sum(Kind::Double).double_value(&[]);
        let root = |sums| (mean(sums) / self.count).sqrt();
        (self.count > 0.0).then(|| Drift { stored: root(&self.stored), left: root(&self.left) })
    }
}

/// What is kept of some rows until their errors are announced.
struct Kept {
    first: i64,
    seen: Tensor,
    stored: Tensor,
    predicted: Tensor, // what taught
    labels: Tensor,
}

impl Predictor {
    /// Maps that predict no change, for errors `[r, C]` of so many classes (one: samples have none), and
    /// for `seen` numbers that R sees.
    pub(crate) fn new(
        settings: Prediction,
        (classes, outputs): (i64, i64),
        seen: i64,
        (device, fused): (Device, bool),
    ) -> Result<Predictor> {
        let zeros = |rows, columns| Tensor::f_zeros([rows, columns], (Kind::Float, device));
        let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
        let kernels = if fused { Kernels::Fused } else { Kernels::Aten };
        let local = match settings.local {
            Local::None => None,
            _ if settings.local_rate == 0.0 => None,
            Local::Input | Local::Output => {
                let map = Dense::of(zeros(outputs, seen)?, None, Activation::Identity);
                Some(adam.build(Box::new(map), kernels)?)
            }
        };
        let class = zeros(classes, outputs)?;
        let kept = VecDeque::new();
        let (sums, drift) = (Sums::default(), None);
        Ok(Predictor {
            settings,
            fused,
            batch_size: 1,
            class,
            local,
            kept,
            learned: 0,
            sums,
            drift,
        })
    }

    /// Whether the layer's outputs must be known before it is taught.
    pub(crate) fn sees_outputs(&self) -> bool {
        self.settings.local == Local::Output && self.local.is_some()
    }

    /// Rows of a block, with batches of this size.
    pub(crate) fn block_rows(&self, batch_size: i64) -> i64 {
        self.settings.block * batch_size
    }

    /// For each row the class, of those that D knows.
    fn labels(&self, targets: &Tensor) -> Tensor {
        match self.class.size()[0] {
            1 => Tensor::zeros([targets.size()[0]], (Kind::Int64, targets.device())),
            _ => targets.argmax(1, false),
        }
    }

    /// ê `[r, C]` of rows, of which R sees u.
    pub(crate) fn predict(&self, rows: &Rows, seen: &Tensor) -> Result<Tensor> {
        let local = self.local.as_ref().map(|local| local.pass(seen, self.batch_size));
        let local = local.transpose()?;
        let _threads = self.beside();
        let labels = self.labels(&rows.targets);
        let error = &rows.stored + self.class.index_select(0, &labels);
        Ok(match local {
            Some(local) => error + local,
            None => error,
        })
    }

    /// See [`Layer::beside`](crate::layers::Layer::beside).
    fn beside(&self) -> Threads {
        use_threads(self.fused.then_some(1))
    }

    /// Keeps of rows of one block what the maps will learn from.
    pub(crate) fn keep(&mut self, rows: &Rows, seen: &Tensor, predicted: &Tensor) {
        let _threads = self.beside();
        let block = self.block_rows(self.batch_size);
        let learned = (self.settings.share * self.settings.block as f64).ceil() as i64;
        let wanted = (learned * self.batch_size - rows.first % block).clamp(0, rows.len());
        let part = |of: &Tensor| {
            let part = of.narrow(0, 0, wanted);
            // What is not needed is not to stay in memory.
            if wanted < rows.len() { part.copy() } else { part }
        };
        self.kept.push_back(Kept {
            first: rows.first,
            seen: part(seen),
            stored: part(&rows.stored),
            predicted: part(predicted),
            labels: self.labels(&part(&rows.targets)),
        });
    }

    /// Lets the maps learn what they have to know before they teach these rows, which are of one block.
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

    /// Forgets what an epoch that failed has left.
    pub(crate) fn begin_epoch(&mut self) {
        self.learned = 0;
        self.kept.clear();
        self.sums = Sums::default();
    }

    /// Lets the maps learn from all that is left of an epoch.
    pub(crate) fn end_epoch(&mut self, announced: &Announced) -> Result<()> {
        self.learn_before(i64::MAX, announced, false)?;
        self.drift = self.sums.drift();
        if self.settings.carry < 1.0 {
            let maps = self.local.iter().flat_map(|local| parameters(local.block()));
            for map in maps.chain([&self.class]) {
                let _ = map.shallow_clone().g_mul_scalar_(self.settings.carry);
            }
        }
        Ok(())
    }

    /// Lets the maps learn from all blocks before this one of which something is kept.
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

    /// R ← Adam, along the gradient of |e^t - ê|² of each batch; D ← D + rate · mean of e^t - ê in each
    /// class.
    fn learn(&mut self, parts: &[Kept], announced: &Announced, by_others: bool) -> Result<()> {
        let Some(Kept { first, .. }) = parts.first() else { return Ok(()) };
        // One thread, whatever the schedule: sums then have the same bits.
        let beside = use_threads(Some(1));
        let all = |of: fn(&Kept) -> &Tensor| {
            let parts = parts.iter().map(of).filter(|it| it.size()[0] > 0);
            joined(parts.map(Tensor::shallow_clone).collect())
        };
        let (seen, stored, labels) =
            (all(|it| &it.seen), all(|it| &it.stored), all(|it| &it.labels));
        let predicted = all(|it| &it.predicted);
        let present = announced.get(*first..first + stored.size()[0], by_others)?;
        let present = present.to_device(stored.device());
        self.sums.add(&(&present - &stored), &(&present - predicted));
        let mut left = present - stored - self.class.index_select(0, &labels);
        if let Some(local) = &mut self.local {
            let rate = self.settings.local_rate;
            let step = Step { learning_rate: rate, batch_size: self.batch_size, watch: false };
            if self.fused {
                drop(beside); // the kernels' sums do not depend on threads
            }
            let predicted =
                local.learn(&seen, &left, Signal::Loss(Loss::MeanSquaredError), &step)?;
            left -= predicted;
        }
        let _threads = use_threads(Some(1));
        if self.settings.class_rate > 0.0 {
            let members = labels.onehot(self.class.size()[0]); // float [r, classes]
            let counts = members.sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
            let means = members.tr().mm(&left) / counts.clamp_min(1.0).unsqueeze(1);
            self.class += means * self.settings.class_rate;
        }
        Ok(())
    }

    /// How far errors have drifted in the last epoch, and how far from the predictions; none before the first
    /// epoch of this process.
    pub fn drift(&self) -> Option<Drift> {
        self.drift
    }

    /// Every tensor that the next epoch depends on, by name.
    pub(crate) fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![("class".to_string(), self.class.shallow_clone())];
        if let Some(local) = &self.local {
            let parameters = local.block().parameters().into_iter();
            state.extend(parameters.map(|(name, it)| (format!("local.{name}"), it.detach())));
            let optimizer = local.optimizer().state().into_iter();
            state.extend(
                optimizer.map(|(name, it)| (format!("optimizer.{name}"), it.shallow_clone())),
            );
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Generator;

    /// Epochs of 60 samples in batches of 5; the errors are zero before the epoch and `present(inputs,
    /// targets)` in it. Gives the largest difference to that at the end.
    fn left(settings: Prediction, epochs: usize, present: fn(&Tensor, &Tensor) -> Tensor) -> f64 {
        let _no_grad = tch::no_grad_guard();
        let mut generator = Generator::new(3).unwrap();
        let place = (Device::Cpu, false);
        let mut predictor = Predictor::new(settings, (3, 3), 4, place).unwrap();
        let input = generator.uniform(&[60, 4], -1.0, 1.0).unwrap();
        let targets = generator.integers(&[60], 3).unwrap().onehot(3);
        let stored = targets.zeros_like();
        let wanted = present(&input, &targets);
        let all = Rows { input, stored, targets, first: 0 };
        for _ in 0..epochs {
            let announced = Announced::default();
            let announcer = Announcer(&announced);
            for rows in all.cut(5, false) {
                predictor.prepare_for(&rows, 5, &announced, false).unwrap();
                let predicted = predictor.predict(&rows, &rows.input).unwrap();
                predictor.keep(&rows, &rows.input, &predicted);
                announcer.announce(&wanted.narrow(0, rows.first, rows.len()));
            }
            predictor.end_epoch(&announced).unwrap();
            predictor.begin_epoch();
        }
        let found = predictor.predict(&all, &all.input).unwrap();
        (found - wanted).abs().max().double_value(&[])
    }

    const DRIFT: [f32; 9] = [0.5, -0.2, 0.0, 0.1, 0.9, -0.3, -0.7, 0.2, 0.4];

    #[test]
    fn constant_drift_of_each_class_is_found() {
        let settings =
            Prediction { local: Local::None, block: 3, carry: 1.0, ..Prediction::default() };
        let drift =
            |_: &Tensor, targets: &Tensor| targets.mm(&Tensor::from_slice(&DRIFT).reshape([3, 3]));
        assert!(left(settings, 0, drift) > 0.5);
        assert!(left(settings, 40, drift) < 1e-4);
        let never = Prediction { class_rate: 0.0, ..settings };
        assert!(left(never, 40, drift) > 0.5);
    }

    #[test]
    fn drift_that_the_inputs_tell_is_found() {
        let settings =
            Prediction { class_rate: 0.0, local_rate: 1e-2, carry: 1.0, ..Prediction::default() };
        let drift = |input: &Tensor, _: &Tensor| {
            input.narrow(1, 0, 3).mm(&Tensor::from_slice(&DRIFT).reshape([3, 3]))
        };
        assert!(left(settings, 0, drift) > 0.5);
        assert!(left(settings, 60, drift) < 1e-2);
        let none = Prediction { local: Local::None, ..settings };
        assert!(left(none, 60, drift) > 0.5);
    }

    #[test]
    fn chunks_never_need_errors_that_come_later() {
        for (block, lag, stages, wanted, expected) in [
            (5, 1, 1, 64, 5),
            (5, 4, 1, 64, 20),
            (5, 4, 2, 64, 10),
            (5, 4, 5, 64, 5),
            (5, 4, 1, 17, 15),
            (20, 1, 1, 64, 20),
            (20, 1, 1, 7, 5),
            (7, 2, 1, 3, 1),
            (64, 1, 1, 64, 64),
            (1, 1, 1, 1, 1),
        ] {
            let settings = Prediction { block, lag, ..Prediction::default() };
            assert_eq!(settings.chunk(wanted, stages), expected, "{settings:?}, {wanted}");
        }
    }
}
