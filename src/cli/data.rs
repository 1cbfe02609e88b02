//! `f3-tch data`: data sets on this machine.

use std::sync::Arc;

use anyhow::Result;
use clap::Subcommand;
use f3_tch::data::{About, DATA_SETS, DataDirectory, DataSet};

use super::progress::show_fetching;
use super::{DataDirArgs, print};

#[derive(Subcommand)]
pub enum DataCommand {
    /// Get data sets by name
    Fetch {
        /// Such as mnist
        #[arg(required = true, value_name = "NAME", value_parser = dataset)]
        names: Vec<Arc<dyn DataSet>>,
        #[command(flatten)]
        data_dir: DataDirArgs,
    },
    /// List the data sets that the program knows
    List,
}

impl DataCommand {
    pub fn run(self) -> Result<()> {
        match self {
            DataCommand::Fetch { names, data_dir } => {
                let directory = DataDirectory::locate(data_dir.data_dir.as_deref());
                for set in names {
                    print(&describe(&*set, &directory)?)?;
                }
                Ok(())
            }
            DataCommand::List => {
                let known = DATA_SETS.iter().filter(|it| it.default().is_some());
                let lines = known.map(|it| format!("{:14}  {}\n", it.name, it.summary));
                print(&lines.collect::<String>())
            }
        }
    }
}

/// Fetches a data set and says what there is now.
fn describe(set: &dyn DataSet, directory: &DataDirectory) -> Result<String> {
    let About { name, publication, .. } = set.about();
    if publication.is_none() {
        return Ok(format!("{name}: carried by the program\n"));
    }
    let files = set.fetch(directory, &mut show_fetching())?;
    let folder = files.folder.display();
    Ok(match files.new_files {
        0 => format!("{name}: already in {folder}\n"),
        new => format!("{name}: {new} files fetched into {folder}\n"),
    })
}

fn dataset(name: &str) -> Result<Arc<dyn DataSet>, String> {
    let known = DATA_SETS.iter().filter_map(|it| Some((it.name, it.default()?)));
    let known: Vec<(&str, Arc<dyn DataSet>)> = known.collect();
    match known.iter().find(|(known, _)| *known == name) {
        Some((_, set)) => Ok(set.clone()),
        None => {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            Err(format!("known data sets: {}", names.join(", ")))
        }
    }
}
