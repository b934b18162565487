//! `modelfn model`: looks at models without serving them.

mod check;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use modelfn_nn::registry::Source;
use modelfn_nn::{inspect, registry};

use crate::engines::engines;
use crate::settings::ModelSettings;
use crate::{block_on, print_lines};

const INSPECT_EXAMPLES: &str = "Examples:
  modelfn model inspect efficientnet-lite0-int8
  modelfn model inspect efficientnet-lite0-int8 --json

Exits 1 if card and graph disagree.";

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Print a model's card, the graph's real inputs and outputs, and where they disagree.
    #[command(after_help = INSPECT_EXAMPLES, next_display_order = None)]
    Inspect {
        /// The model's folder name.
        name: String,
        #[command(flatten)]
        models: ModelSettings,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Count how many labelled pictures a classifier gets right, and whether another preprocessing would get more.
    #[command(after_help = check::EXAMPLES)]
    Check(Box<check::CheckArguments>),
    /// List the models of the folder.
    #[command(next_display_order = None)]
    List {
        #[command(flatten)]
        models: ModelSettings,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl ModelCommand {
    pub(super) fn run(&self) -> Result<ExitCode> {
        match self {
            ModelCommand::Check(arguments) => block_on(check::check((**arguments).clone())),
            ModelCommand::Inspect { name, models, json } => inspect(name, models, *json),
            ModelCommand::List { models, json } => list(models, *json),
        }
    }
}

fn inspect(name: &str, models: &ModelSettings, json: bool) -> Result<ExitCode> {
    let found = inspect::inspect(&[Source::Folder(models.folder())], name, &engines(models)?)?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(if found.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(models: &ModelSettings, json: bool) -> Result<ExitCode> {
    let names = registry::model_names(&models.folder())?;
    if json {
        return print_lines(&[serde_json::to_string(&names)?]);
    }
    print_lines(&names)
}
