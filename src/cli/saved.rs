//! Saved networks, as the commands that use one are told of them.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use f3_tch::model;

/// A saved network.
#[derive(Args)]
pub struct SavedNetwork {
    /// A model.safetensors, a checkpoint, or the folder of a run
    model: PathBuf,
    /// The epoch of a run: the last one, or the best one, which it keeps if checkpoint.best names a
    /// metric
    #[arg(long, default_value = "last", value_name = "EPOCH")]
    at: Epoch,
}

#[derive(Clone, Copy, ValueEnum)]
enum Epoch {
    Last,
    Best,
}

impl SavedNetwork {
    /// The network's file.
    pub fn path(&self) -> Result<PathBuf> {
        match self.at {
            Epoch::Last => Ok(model::of(&self.model)),
            Epoch::Best => model::best_of(&self.model),
        }
    }
}
