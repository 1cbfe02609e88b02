//! `f3-tch config`: configurations made visible.

use anyhow::Result;
use clap::Subcommand;
use f3_tch::{config, settings};

use super::{ConfigArgs, print};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Show a configuration in full, defaults and --set included
    Show(ConfigArgs),
    /// List the configurations that the program carries
    List,
    /// List all keys, with their values, defaults and meanings
    Keys,
    /// Print the JSON schema of configurations, for editors
    Schema,
    /// Print the documentation of all keys, as in docs/configuration.md
    Reference,
}

impl ConfigCommand {
    pub fn run(self) -> Result<()> {
        match self {
            ConfigCommand::Show(args) => print(&args.read()?.0.to_yaml()),
            ConfigCommand::List => print(&format!("{}\n", settings::carried_names().join("\n"))),
            ConfigCommand::Keys => print(&settings::list(config::keys())),
            ConfigCommand::Schema => print(&format!("{:#}\n", config::schema())),
            ConfigCommand::Reference => print(&config::reference()),
        }
    }
}
