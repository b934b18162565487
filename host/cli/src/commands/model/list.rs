//! `modelfn model list`: models, and whether they would be served.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use modelfn_nn::inspect::{Inspection, inspect};
use modelfn_nn::tensor::TensorSpec;
use serde_json::json;

use super::place;
use crate::engines::engines;
use crate::settings::ModelSettings;
use crate::{aligned, print_lines};

pub(super) const EXAMPLES: &str = "Examples:
  modelfn model list
  modelfn model list downloads/*.onnx

Loads each model as a server would. Exits 1 if anything is wrong.";

/// Which models to list.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// .onnx files, models' folders or folders of models, instead of --models.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    models: ModelSettings,
}

/// Prints the list.
pub(super) fn list(arguments: &ListArguments) -> Result<ExitCode> {
    let engines = engines(&arguments.models)?;
    let found = place::models(&arguments.paths, &arguments.models)?;
    let inspections: Vec<_> = found.iter().map(|model| inspect(model, &engines)).collect();
    if arguments.json {
        let rows: Vec<_> = inspections.iter().map(as_json).collect();
        print_lines(&[serde_json::to_string_pretty(&rows)?])?;
        return Ok(exit_code(&inspections));
    }
    let head = ["name", "version", "inputs", "outputs", "size", "state"].map(str::to_owned);
    let rows: Vec<_> = [head].into_iter().chain(inspections.iter().map(row)).collect();
    print_lines(&aligned(&rows))?;
    Ok(exit_code(&inspections))
}

fn exit_code(inspections: &[Inspection]) -> ExitCode {
    let is_well = inspections.iter().all(|inspection| inspection.problems.is_empty());
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn as_json(inspection: &Inspection) -> serde_json::Value {
    let Inspection { name, path, version, graph_bytes, signature, problems, .. } = inspection;
    json!({
        "name": name,
        "path": path,
        "version": version,
        "graph_bytes": graph_bytes,
        "signature": signature,
        "state": if problems.is_empty() { "ok" } else { "broken" },
        "problems": problems,
    })
}

fn row(inspection: &Inspection) -> [String; 6] {
    let Inspection { name, version, graph_bytes, signature, problems, .. } = inspection;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let tensors = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    [
        name.clone(),
        or_dash(version.map(|version| version.to_string())),
        or_dash(signature.as_ref().map(|signature| tensors(&signature.inputs))),
        or_dash(signature.as_ref().map(|signature| tensors(&signature.outputs))),
        or_dash(graph_bytes.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6))),
        if problems.is_empty() { "ok".to_owned() } else { format!("broken: {}", problems.join("; ")) },
    ]
}
