//! `modelfn key`: makes an API key.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use modelfn_server::admission::key_file;

use crate::print_lines;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn key alice --file keys.txt
  modelfn key ci --max-in-flight 4 --file keys.txt
  modelfn serve --api-keys keys.txt

Then:
  curl -H \"X-API-Key: mfn_...\" --data-binary @cat.jpg http://127.0.0.1:8080/classify

Prints the key, which is kept nowhere, and the line for the file, unless --file has added it there. To change a key,
add a second one of the same name, and delete the line of the first when nobody uses it any more.";

/// The arguments of `modelfn key`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct KeyArguments {
    /// Whose key it is: letters, digits, hyphens, underscores and dots. It is shown in logs and metrics.
    name: String,
    /// Requests of this name in flight; further ones get 429. Default: no limit of its own.
    #[arg(long, value_name = "N")]
    max_in_flight: Option<NonZeroUsize>,
    /// Add the line to this file, and print the key alone.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Makes a key and prints it. The program keeps it nowhere.
pub(super) fn key(arguments: &KeyArguments) -> Result<ExitCode> {
    let key = key_file::new_key()?;
    let line = key_file::line(&arguments.name, &key, arguments.max_in_flight)?;
    match &arguments.file {
        Some(file) => {
            key_file::append(file, &line)?;
            print_lines(&[key])
        }
        None => print_lines(&[format!("key   {key}"), format!("line  {line}")]),
    }
}
