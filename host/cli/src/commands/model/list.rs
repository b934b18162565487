//! `modelfn model list`: the models of a folder.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use modelfn_nn::registry;

use crate::print_lines;
use crate::settings::ModelSettings;

/// Which models to list.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    models: ModelSettings,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the list.
pub(super) fn list(arguments: &ListArguments) -> Result<ExitCode> {
    let names = registry::model_names(&arguments.models.folder())?;
    if arguments.json {
        return print_lines(&[serde_json::to_string(&names)?]);
    }
    print_lines(&names)
}
