//! `model.safetensors`: the network as of the last epoch that ended.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{EpochRow, Sink};
use crate::model_file;
use crate::network::Network;

/// Replaces `model.safetensors` after each epoch; whoever looks finds a whole file.
pub struct ModelSink {
    path: PathBuf,
}

impl ModelSink {
    /// Will write to this path.
    pub fn new(path: &Path) -> ModelSink {
        ModelSink { path: path.to_path_buf() }
    }
}

impl Sink for ModelSink {
    fn epoch(&mut self, _row: &EpochRow, network: &Network) -> Result<()> {
        model_file::save(network, &self.path)
    }
}
