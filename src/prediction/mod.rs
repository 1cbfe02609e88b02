//! The error of this very moment, predicted where it is used.
//!
//! F³'s stored error e^{t-1} = y* - y^{t-1} is an epoch old: since then the network's output has changed. Each
//! hidden layer guesses the output from what it sees itself, by a small map that has the form of the output
//! layer, and keeps its guess at each sample as it keeps the sample's error. It is taught with
//!
//! ê = e^{t-1} - (ŷ^t - ŷ^{t-1}), where ŷ = act(u Aᵀ + a):
//!
//! the error has changed by as much as the output has. Before the first epoch e is y*, and the kept ŷ is zero.
//!
//! The map learns from the present output as soon as the output layer has announced the present error e^t,
//! some batches after the layer has stepped. An epoch's batches are cut into blocks of L; the map that teaches
//! block k has learned from all blocks of the epochs before, and from those up to k - lag of this one.
//! This is a rule of the algorithm, whatever the order in which layers and batches are computed.
//!
//! Legend: r rows, b batch, N samples, m inputs and n outputs of the layer, C outputs of the network, L batches
//! of a block, u `[r, m]` or `[r, n]` what the map sees, A `[C, m]` or `[C, n]`, a `[C]`.

mod announced;
mod drift;
mod predictor;
mod rows;
mod settings;

pub use announced::{Announced, Announcer};
pub use drift::Drift;
pub use predictor::Predictor;
pub use rows::Rows;
pub use settings::{InfoSettings, Local, Predicted, Prediction};
