//! `modelfn completions`: a completion script for a shell, made from the same definitions as the help.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn completions bash > /etc/bash_completion.d/modelfn
  modelfn completions zsh > \"${fpath[1]}/_modelfn\"
  modelfn completions fish > ~/.config/fish/completions/modelfn.fish";

/// The arguments of `modelfn completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that reads the script.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script to stdout.
pub(super) fn completions(arguments: &CompletionsArguments) -> Result<ExitCode> {
    // Into memory first: the generator panics where a pipe is closed early.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "modelfn", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
