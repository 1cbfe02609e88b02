//! `model.safetensors`: the network as of the last epoch that ended.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{EpochRow, Sink};
use crate::layers::Layers;
use crate::model::{self, Description};

/// Replaces `model.safetensors` after each epoch; whoever looks finds a whole file.
pub struct ModelSink {
    path: PathBuf,
    description: Option<Description>,
}

impl ModelSink {
    /// Will write to this path, with the description if there is one.
    pub fn new(path: &Path, description: Option<Description>) -> ModelSink {
        ModelSink { path: path.to_path_buf(), description }
    }
}

impl Sink for ModelSink {
    fn epoch(&mut self, _row: &EpochRow, layers: &Layers) -> Result<()> {
        model::save(layers, self.description.as_ref(), &self.path)
    }

    fn replay(&mut self, rows: &[EpochRow], layers: &Layers) -> Result<()> {
        match rows {
            [] => Ok(()),
            _ => model::save(layers, self.description.as_ref(), &self.path),
        }
    }
}
