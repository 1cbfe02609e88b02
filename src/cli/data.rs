//! `f3-tch data`: data sets on this machine.

use anyhow::Result;
use clap::Subcommand;
use f3_tch::data::{About, DataDirectory, DataSet, KnownDataSet};
use f3_tch::messages::counted;

use super::progress::show_fetching;
use super::{DataDirArgs, print};

#[derive(Subcommand)]
pub enum DataCommand {
    /// Get data sets by name
    Fetch {
        /// Such as mnist
        #[arg(required = true, value_name = "NAME", value_parser = dataset)]
        names: Vec<KnownDataSet>,
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
                names.iter().try_for_each(|set| print(&describe(&**set, &directory)?))
            }
            DataCommand::List => KnownDataSet::all().try_for_each(|((name, summary), _)| {
                print(&format!("{name:14}  {}\n", summary.trim()))
            }),
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
        new => format!("{name}: {} fetched into {folder}\n", counted(new, "file")),
    })
}

fn dataset(name: &str) -> Result<KnownDataSet, String> {
    let found = KnownDataSet::all().find(|((known, _), _)| *known == name);
    found.map(|(_, set)| set).ok_or_else(|| {
        let names: Vec<&str> = KnownDataSet::all().map(|((name, _), _)| name).collect();
        format!("known data sets: {}", names.join(", "))
    })
}
