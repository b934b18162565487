//! `modelfn model inspect`: a model's card, its graph, and all that is wrong.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use modelfn_nn::inspect;

use super::place;
use crate::engines::engines;
use crate::settings::ModelSettings;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn model inspect efficientnet-lite0-int8
  modelfn model inspect resnet/model.onnx
  modelfn model inspect efficientnet-lite0-int8 --json

Exits 1 if anything is wrong.";

/// Which model to inspect.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The model: a name of the folder of models, an .onnx file, or a model's folder.
    #[arg(value_name = "NAME|PATH")]
    model: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    models: ModelSettings,
}

/// Prints the inspection.
pub(super) fn inspect(arguments: &InspectArguments) -> Result<ExitCode> {
    let InspectArguments { model, models, json } = arguments;
    let found = inspect::inspect(&place::model(model, models)?, &engines(models)?);
    let mut out = std::io::stdout().lock();
    if *json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
