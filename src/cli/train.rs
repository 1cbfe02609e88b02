//! `f3-tch train`: a run, from the configuration to the closing table.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::Args;
use f3_tch::assemble::{DataFrom, assemble};
use f3_tch::data::DataDirectory;
use f3_tch::messages::{counted, text_of};
use f3_tch::run::{Checkpoints, Ending, Folder, Run};

use super::announce::{announcement, closing_table};
use super::progress::{Progress, show_fetching};
use super::{ConfigArgs, DataDirArgs, SUCCESS, print, say, signals};

#[derive(Args)]
pub struct TrainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Folder of the run's files, new or empty [default: runs/<name>/<number>]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Show no progress, only the closing table
    #[arg(long)]
    quiet: bool,
}

impl TrainArgs {
    pub fn run(self) -> Result<i32> {
        let (config, source) = self.config.read()?;
        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        let data = DataFrom::Files(&directory, &mut show_fetching());
        let (mut run, remark) = assemble(&config, &source, data)?;
        if let Some(remark) = remark {
            say(format_args!("note: {remark}"));
        }
        let folder = match self.run_dir {
            Some(folder) => Folder::create(folder)?,
            None => Folder::numbered(Path::new("runs").join(&config.name))?,
        };
        if !self.quiet {
            say(announcement(&run, folder.path()));
        }
        carry_out(&mut run, &folder, self.quiet)
    }
}

/// Trains from where the run stands, in its folder; prints the closing table.
pub(super) fn carry_out(run: &mut Run, folder: &Folder, quiet: bool) -> Result<i32> {
    let path = folder.path();
    let mut progress = if quiet { Progress::quiet() } else { Progress::of(run) };
    let (earlier, start) = (run.state.seconds(), Instant::now());
    run.stop = signals::let_epochs_finish();
    let ending = run
        .train_in(folder, &mut progress)
        .map_err(|error| anyhow!("{}{}", text_of(&error), what_is_saved(run, folder)))?;
    drop(progress);
    let printed = print(&closing_table(run, earlier + start.elapsed().as_secs_f64(), path));
    let done = run.state.epoch().unwrap_or(0);
    let config = path.join("config.yaml");
    let config = config.display();
    match ending {
        Ending::Complete => {}
        Ending::NoBetter(best) => print(&format!(
            "ended   after epoch {done}: epoch {best} was the best for {} (`early_stop` in {config})\n",
            counted(done - best, "epoch")
        ))?,
        Ending::OutOfTime => {
            print(&format!("ended   after epoch {done}: `max_minutes` are over (in {config})\n"))?
        }
        Ending::Interrupted => {
            let saved = match run.settings.checkpoint.every {
                Some(_) => format!("saved; `f3-tch resume {}` goes on", path.display()),
                None => "not saved, as `checkpoint.every` is null".to_string(),
            };
            // A signal may have taken away the reader of the output, too.
            say(format_args!("ended by a signal after epoch {done}, which is {saved}"));
            return Ok(signals::exit_code());
        }
    }
    printed.map(|()| SUCCESS)
}

/// The end of an error's message: where the run can be continued.
fn what_is_saved(run: &Run, folder: &Folder) -> String {
    let checkpoints = Checkpoints::new(&folder.checkpoints(), run.settings.checkpoint.clone());
    let newest = checkpoints.newest_whole(&mut |_| Ok(())).ok().flatten();
    newest.map(|found| found.epoch()).map_or(String::new(), |epoch| {
        let path = folder.path().display();
        format!("; the run is saved up to epoch {epoch} (`f3-tch resume {path}` goes on)")
    })
}
