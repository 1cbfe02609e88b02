//! `f3-tch config`: configurations made visible.

use anyhow::Result;
use clap::Subcommand;
use f3_tch::settings::carried_names;

use super::{ConfigArgs, print};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Show a configuration in full, defaults and --set included
    Show(ConfigArgs),
    /// List the configurations that the program carries
    List,
}

impl ConfigCommand {
    pub fn run(self) -> Result<()> {
        match self {
            ConfigCommand::Show(args) => {
                let (config, _) = args.read()?;
                print(&config.to_yaml())
            }
            ConfigCommand::List => print(&format!("{}\n", carried_names().join("\n"))),
        }
    }
}
