//! `modelfn build`: runs the builds of an application's components, and says what they lack.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::print_lines;
use crate::project::Project;
use crate::project::builder::{Builder, Unbuilt};
use crate::project::surroundings::Install;
use crate::project::tools;
use crate::signals::until_signal;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn build
  modelfn build --install
  modelfn build classify --app k8s/spin.toml

Runs the command of each [component.NAME.build] of the manifest. What Rust or Python functions are built with and is not
here is named, with the command that installs it; --install runs that command.";

/// The arguments of `modelfn build`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct BuildArguments {
    /// The components to build. Default: all that have a command.
    #[arg(value_name = "COMPONENT")]
    components: Vec<String>,
    /// The application's manifest.
    #[arg(long, default_value = "spin.toml", env = "MODELFN_APP", value_name = "FILE")]
    app: PathBuf,
    /// Install what is missing: the standard library for components by rustup (or Debian's packages), componentize-py by pip.
    #[arg(long)]
    install: bool,
}

/// Builds the components. A signal ends that, and what runs for it.
pub(super) async fn build(arguments: BuildArguments) -> Result<ExitCode> {
    let is_ending = Arc::new(AtomicBool::new(false));
    let is_cancelled = is_ending.clone();
    until_signal(is_ending, move || build_all(&arguments, &is_cancelled)).await?
}

/// Builds the components and prints a line about each.
fn build_all(arguments: &BuildArguments, is_cancelled: &AtomicBool) -> Result<ExitCode> {
    let project = Project::open(&arguments.app)?;
    let components = project.builds(&arguments.components)?;
    let shown = arguments.app.display();
    ensure!(!components.is_empty(), "no component of {shown} has a build; add [component.NAME.build] with its command");
    project.restore_sdk()?;
    let install = if arguments.install { Install::Missing } else { Install::Never };
    let builder = Builder { environment: tools::environment(&components, install)? };
    for component in components {
        tracing::info!("building {}: {}", component.id, component.commands.join(" && "));
        match builder.build(component, || is_cancelled.load(Ordering::Relaxed))? {
            Ok(built) => print_lines(&[built.to_string()])?,
            Err(Unbuilt::Failed(failed)) => bail!("{failed}; what it said is above"),
            Err(Unbuilt::Cancelled) => bail!("the build was cancelled"),
        };
    }
    Ok(ExitCode::SUCCESS)
}
