//! `modelfn model inspect`: a model's card, its graph, and where they disagree.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use modelfn_nn::inspect;
use modelfn_nn::registry::Source;

use crate::engines::engines;
use crate::settings::ModelSettings;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn model inspect efficientnet-lite0-int8
  modelfn model inspect efficientnet-lite0-int8 --json

Exits 1 if card and graph disagree.";

/// Which model to inspect.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The model's folder name.
    name: String,
    #[command(flatten)]
    models: ModelSettings,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the inspection.
pub(super) fn inspect(arguments: &InspectArguments) -> Result<ExitCode> {
    let InspectArguments { name, models, json } = arguments;
    let found = inspect::inspect(&[Source::Folder(models.folder())], name, &engines(models)?)?;
    let mut out = std::io::stdout().lock();
    if *json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(if found.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
