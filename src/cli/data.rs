//! `f3-tch data`: data sets on this machine.

use anyhow::Result;
use clap::Subcommand;
use f3_tch::data::{DataDirectory, DatasetName, fetch};

use super::{DataDirArgs, print};

#[derive(Subcommand)]
pub enum DataCommand {
    /// Get data sets by name
    Fetch {
        /// Such as mnist
        #[arg(required = true, value_name = "NAME", value_parser = dataset)]
        names: Vec<DatasetName>,
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
                for name in names {
                    print(&describe(name, &directory)?)?;
                }
                Ok(())
            }
            DataCommand::List => {
                let lines = DatasetName::ALL
                    .map(|name| format!("{:14}  {}\n", name.to_string(), name.summary()));
                print(&lines.concat())
            }
        }
    }
}

/// Fetches a data set and says what there is now.
fn describe(name: DatasetName, directory: &DataDirectory) -> Result<String> {
    let fetched = fetch(name, directory)?;
    let folder = fetched.folder().display();
    Ok(match (name, fetched.new_files) {
        (DatasetName::Digits, _) => format!("{name}: carried by the program\n"),
        (_, 0) => format!("{name}: already in {folder}\n"),
        (_, new) => format!("{name}: {new} files fetched into {folder}\n"),
    })
}

fn dataset(name: &str) -> Result<DatasetName, String> {
    let found = DatasetName::ALL.into_iter().find(|known| known.to_string() == name);
    found.ok_or_else(|| {
        let known = DatasetName::ALL.map(|name| name.to_string()).join(", ");
        format!("known data sets: {known}")
    })
}
