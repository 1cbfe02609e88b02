//! `f3-tch completions`, scripts by which a shell completes the command line, and `f3-tch man`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate};
use f3_tch::config;

use super::{Cli, print};

#[derive(Args)]
pub struct CompletionsArgs {
    /// Shell that the script is for
    shell: Shell,
}

impl CompletionsArgs {
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut with_keys(Cli::command()), "f3-tch", &mut script);
        // clap_complete 4.6 takes the `-` of the program's name for the start of a subcommand in some places
        // of its script for bash, but not in others.
        let script = String::from_utf8_lossy(&script).replace("f3__subcmd__tch", "f3__tch");
        match self.shell {
            Shell::Bash => {
                print(&(NO_SPACE.to_string() + &script.replace("-F _f3-tch", "-F _f3_tch_keys")))
            }
            _ => print(&script),
        }
    }
}

/// A value follows behind `key=`, not a space.
const NO_SPACE: &str = "\
_f3_tch_keys() {
    _f3-tch \"$@\"
    if [[ ${COMPREPLY[0]-} == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
    return 0
}

";

#[derive(Args)]
pub struct ManArgs {
    /// The command that the page is of, such as train or sweep run [default: the program itself]
    command: Vec<String>,
}

impl ManArgs {
    /// Prints a manual page, in the format that `man` reads.
    pub fn run(self) -> Result<()> {
        let mut all = Cli::command();
        all.build();
        let mut command = &all;
        for name in &self.command {
            let known = || {
                let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
                names.join(", ")
            };
            command = command.find_subcommand(name).with_context(|| {
                format!("`{name}` is no command here; expected one of {}", known())
            })?;
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        print(&String::from_utf8_lossy(&page))
    }
}

/// A command of which every `--set`, also of the commands below, knows the keys. Only for completion:
/// it would refuse `key=value`.
fn with_keys(command: Command) -> Command {
    let command = command.mut_args(|argument| match argument.get_id().as_str() {
        "set" => {
            let keys = config::keys().iter().map(|key| format!("{}=", key.path));
            let keys: BTreeSet<String> = keys.collect();
            argument.value_parser(PossibleValuesParser::new(keys))
        }
        _ => argument,
    });
    command.mut_subcommands(with_keys)
}
