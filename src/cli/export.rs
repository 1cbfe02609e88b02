//! `f3-tch export`: a saved network for other programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use f3_tch::export::{Format, export};
use f3_tch::model::Model;
use tch::Device;

use super::print;
use super::saved::SavedNetwork;

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    network: SavedNetwork,
    /// The file to write, which must not exist: .onnx takes samples as they are where it can; .py is a
    /// module of plain PyTorch with its weights beside it; .pt2 is a program of torch.export, made by a
    /// Python with PyTorch (python3, or the one that F3_PYTHON names)
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

impl ExportArgs {
    pub fn run(self) -> Result<()> {
        Format::of(&self.output)?; // before the network is read
        let source = self.network.path()?;
        let model = Model::open(&source, Device::Cpu)?;
        let exported = export(&model, &source, &self.output)?;
        let shown = self.output.display();
        print(&format!("{shown}\n  in:  {}\n  out: {}\n", exported.inputs, exported.outputs))
    }
}
