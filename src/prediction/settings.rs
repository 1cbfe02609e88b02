//! How errors are predicted, as a configuration says it.

use std::ops::Bound;

use anyhow::Result;
use serde::Serialize;

use crate::error_info::ErrorInfo;
use crate::settings::domain::{choice, number, truth, whole};
use crate::settings::{ConfigError, Key, Reader, Source, named, section};

named! {
    /// What a layer's map sees of it.
    pub enum Local {
        /// Its inputs. Layers then still take a whole chunk of batches at once.
        Input = "input",
        /// Its outputs: they take one batch after the other.
        Output = "output",
    }
}

section! {
    /// How hidden layers predict the error of the present epoch.
    #[derive(Copy)]
    pub struct Prediction {
        /// Learning rate of the map, which Adam steps with each batch; 0: nothing is predicted, as in F³.
        local_rate: f64 = 1e-3, number("a number of at least 0", 0.0..);
        /// What the map sees of its layer.
        local: Local = Local::Input, choice();
        /// L: batches of a block.
        block: i64 = 5, whole(1..=1_000_000);
        /// How many blocks after it has learned from one the map is used.
        lag: i64 = 1, whole(1..=1_000_000);
        /// Share of a block's batches, its first ones, that the map learns from.
        share: f64 = 1.0,
            number("a number above 0, up to 1", (Bound::Excluded(0.0), Bound::Included(1.0)));
        /// Whether stored errors correct the guesses; without them ê = y* - ŷ.
        stored: bool = true, truth();
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
    /// Whether each layer keeps its last guess at every sample: N·C numbers.
    pub(crate) fn keeps_guesses(&self) -> bool {
        self.stored && self.local_rate > 0.0
    }

    /// About `wanted` batches for a chunk, such that the errors that a map learns from have been announced
    /// before its layer takes a chunk: some blocks, or an equal part of one. So many stages each have a
    /// chunk.
    pub(crate) fn chunk(&self, wanted: usize, stages: usize) -> usize {
        let (block, lag) = (self.block as usize, self.lag as usize);
        if wanted >= block {
            return (wanted / block).min((lag / stages).max(1)) * block;
        }
        // Parts of a block are equal: those that come nearest to what is wanted, up to twice as much.
        let wanted = wanted.max(1);
        let sizes = (1..=block.min(2 * wanted)).filter(|size| block.is_multiple_of(*size));
        let wanted = wanted as f64;
        let factor = |size: usize| (size as f64 / wanted).max(wanted / size as f64);
        sizes.min_by(|a, b| factor(*a).total_cmp(&factor(*b))).unwrap_or(1)
    }

    /// The share of the time in which the stages of a pipeline have something to do, with so many batches in
    /// a chunk: a chunk's way through all stages begins when the errors of the block `lag` before its own
    /// have come.
    pub(crate) fn work(&self, stages: usize, chunk: usize) -> f64 {
        if self.local_rate == 0.0 {
            return 1.0;
        }
        let (block, chunk) = (self.block as f64, chunk as f64);
        let way = (block / chunk).max(1.0) + stages as f64 - 1.0; // of a block, in chunks
        (self.lag as f64 * block / chunk / way).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (7, 2, 1, 4, 7),
            (4093, 1, 1, 64, 1),
            (61, 1, 1, 60, 61),
            (60, 1, 1, 7, 6),
            (64, 1, 1, 64, 64),
            (1, 1, 1, 1, 1),
        ] {
            let settings = Prediction { block, lag, ..Prediction::default() };
            assert_eq!(settings.chunk(wanted, stages), expected, "{settings:?}, {wanted}");
        }
    }

    #[test]
    fn stages_wait_for_errors_unless_others_are_on_their_way() {
        for (block, lag, stages, chunk, expected) in [
            (5, 1, 1, 5, 1.0),
            (5, 1, 2, 5, 0.5),
            (5, 2, 2, 5, 1.0),
            (5, 4, 2, 10, 1.0),
            (20, 1, 2, 1, 20.0 / 21.0),
            (20, 1, 3, 5, 4.0 / 6.0),
            (20, 2, 3, 5, 1.0),
        ] {
            let settings = Prediction { block, lag, ..Prediction::default() };
            assert_eq!(settings.work(stages, chunk), expected, "{settings:?}, {stages}, {chunk}");
        }
        let never = Prediction { local_rate: 0.0, ..Prediction::default() };
        assert_eq!(never.work(2, 5), 1.0);
    }
}
