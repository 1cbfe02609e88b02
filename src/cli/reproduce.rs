//! `f3-tch reproduce`: the paper's figures, from nothing to a page.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use f3_tch::config::ConfigError;
use f3_tch::sweep::{Plan, SweepFile, carried_names};

use super::report::{place_of, write_report};
use super::sweep::WorkArgs;
use super::{SUCCESS, print, say};

#[derive(Args)]
pub struct ReproduceArgs {
    /// Which of them: a name from `f3-tch reproduce list`, or `all`
    what: String,
    /// How much of it
    #[arg(long, value_enum, default_value_t = Scale::Quick)]
    scale: Scale,
    /// Folder of the runs' folders and of the pages, which are in <DIR>/paper/
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
    #[command(flatten)]
    work: WorkArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scale {
    /// A part of the data for an epoch: whether it works
    Smoke,
    /// One seed and a few epochs: the shape
    Quick,
    /// Ten seeds and the paper's epochs
    Paper,
}

impl ReproduceArgs {
    pub fn run(self) -> Result<i32> {
        if self.what == "list" {
            for name in carried_names() {
                print(&format!("{name:16}  {}\n", SweepFile::open(name)?.about()))?;
            }
            return Ok(SUCCESS);
        }
        let names: Vec<&str> = match self.what.as_str() {
            "all" => carried_names().collect(),
            one => carried_names().filter(|name| *name == one).collect(),
        };
        if names.is_empty() {
            let known = carried_names().collect::<Vec<_>>().join(", ");
            let what = &self.what;
            return Err(
                ConfigError(format!("{what}: not known; expected list, all, {known}")).into()
            );
        }
        let scale = self.scale.to_possible_value().expect("no scale is left out");
        let scale = scale.get_name();
        let plan = |name: &str| {
            let mut file = SweepFile::open(name)?;
            file.scale(scale)?;
            Plan::new(file, &self.runs)
        };
        for name in &names {
            plan(name)?; // all are checked before the first run starts
        }
        let mut code = SUCCESS;
        for name in names {
            let plan = plan(name)?; // with the runs that those before have left
            say(format_args!("{name}: {}", plan.file().about()));
            let this = self.work.train(&plan, None, Vec::new())?;
            // There is a page also of what is not complete.
            write_report(&plan, &place_of(&plan))?;
            if this != SUCCESS {
                code = this;
            }
            if super::signals::has_come() {
                break;
            }
        }
        Ok(code)
    }
}
