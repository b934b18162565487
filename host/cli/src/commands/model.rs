//! `modelfn model`: looks at models without serving them, and writes their cards.

pub(super) mod card;
mod check;
mod inspect;
mod list;
pub(super) mod place;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::block_on;

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Write a card from a graph, with a comment for each key.
    #[command(after_help = card::EXAMPLES, next_display_order = None)]
    Card(Box<card::CardArguments>),
    /// Print a model's card, the graph's real inputs and outputs, and all that is wrong.
    #[command(after_help = inspect::EXAMPLES, next_display_order = None)]
    Inspect(inspect::InspectArguments),
    /// Count how many labelled pictures a classifier gets right, and whether another preprocessing would get more.
    #[command(after_help = check::EXAMPLES)]
    Check(Box<check::CheckArguments>),
    /// List models, with what is wrong where they are not served.
    #[command(after_help = list::EXAMPLES, next_display_order = None)]
    List(list::ListArguments),
}

impl ModelCommand {
    /// Whether a program reads the result.
    pub(super) fn prints_json(&self) -> bool {
        match self {
            ModelCommand::Card(_) => false,
            ModelCommand::Inspect(arguments) => arguments.json,
            ModelCommand::List(arguments) => arguments.json,
            ModelCommand::Check(arguments) => arguments.json,
        }
    }

    pub(super) fn run(&self) -> Result<ExitCode> {
        match self {
            ModelCommand::Card(arguments) => card::card(arguments),
            ModelCommand::Inspect(arguments) => inspect::inspect(arguments),
            ModelCommand::List(arguments) => list::list(arguments),
            ModelCommand::Check(arguments) => block_on(check::check((**arguments).clone())),
        }
    }
}
