//! Networks for other programs: ONNX, a module of plain PyTorch, an exported program of PyTorch.

mod onnx;
mod onnx_file;
mod python;

use std::path::Path;

use anyhow::{Result, bail};

use crate::model::Model;

/// What a network can be exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ONNX: samples, as they are before preparation, to answers.
    Onnx,
    /// A module of plain PyTorch, and its weights beside it as `.safetensors`.
    Module,
    /// What `torch.export` makes of it: prepared inputs to outputs. It takes a Python with PyTorch.
    Program,
}

impl Format {
    /// The format that a file's name asks for.
    ///
    /// # Errors
    /// If it ends in none of .onnx, .py and .pt2.
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|it| it.to_str()) {
            Some("onnx") => Ok(Format::Onnx),
            Some("py") => Ok(Format::Module),
            Some("pt2") => Ok(Format::Program),
            _ => bail!("{}: expected a name that ends in .onnx, .py or .pt2", path.display()),
        }
    }
}

/// A network that has been exported.
pub struct Exported {
    /// Its inputs, with shape and kind: `pixels [N, 1, 28, 28], float32, 0 to 255`.
    pub inputs: String,
    /// Its outputs, with shape and kind: `scores [N, 10], float32`.
    pub outputs: String,
}

/// Writes a network, which was read from the file `source`, to `path` in the format that this name ends in.
/// Nothing is written over.
///
/// # Errors
/// If a file has the name already or cannot be written; if the network is too large for the format; for
/// `.pt2`, if there is no Python with PyTorch.
pub fn export(model: &Model, source: &Path, path: &Path) -> Result<Exported> {
    match Format::of(path)? {
        Format::Onnx => onnx::write(model, path),
        Format::Module => python::write_module(model, source, path),
        Format::Program => python::write_program(model, source, path),
    }
}
