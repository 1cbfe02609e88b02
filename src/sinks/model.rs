//! `model.safetensors`: the network as of the last epoch that ended.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::model::{self, Description};
use crate::run::{Event, Observer};

/// Replaces `model.safetensors` after each epoch; the file is whole at any time.
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

impl Observer for ModelSink {
    fn notice(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Start { history: [], .. } => Ok(()),
            Event::Start { layers, .. } | Event::Epoch { layers, .. } => {
                model::save(layers, self.description.as_ref(), &self.path)
            }
            _ => Ok(()),
        }
    }
}
