//! `f3-tch resume`: continues a run where it was cut off.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use f3_tch::assemble::DataFrom;
use f3_tch::data::DataDirectory;
use f3_tch::run::{Folder, Run};

use super::announce::announcement;
use super::progress::{Progress, show_fetching};
use super::train::carry_out;
use super::{DataDirArgs, say};

#[derive(Args)]
pub struct ResumeArgs {
    /// Folder of a run, such as runs/mnist/001
    run_dir: PathBuf,
    /// Train until so many epochs are done, in place of as many as the run was to have; all else stays as
    /// in its config.yaml
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<u64>,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Show no progress, only the closing table
    #[arg(long)]
    quiet: bool,
}

impl ResumeArgs {
    pub fn run(self) -> Result<i32> {
        Folder::config_of(&self.run_dir)?; // before it is locked
        let folder = Folder::open(self.run_dir)?;
        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        let data = DataFrom::Files(&directory, &mut show_fetching());
        let mut run = Run::resume(&folder, self.epochs, data, &mut Progress::quiet())?;
        if !self.quiet {
            say(announcement(&run, folder.path()));
            match run.state.epoch() {
                Some(epoch) => say(format_args!("resumed    after epoch {epoch}")),
                None => say("resumed    from the beginning: the run had no checkpoint yet"),
            }
            if run.state.epoch() == Some(run.settings.epochs) {
                say("note: all epochs are done; `--epochs N` trains until there are N");
            }
        }
        carry_out(&mut run, &folder, self.quiet)
    }
}
