//! `modelfn compile`: compiles an application's components ahead of time.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use modelfn_server::loader::compile::{Processor, compile_app};

use crate::print_lines;

pub(super) const EXAMPLES: &str = "Example:
  modelfn compile --out /var/lib/modelfn/code
  modelfn serve --code-cache /var/lib/modelfn/code

The code fits this program and this version, and the processor that --cpu says; elsewhere it is compiled again.";

/// The arguments of `modelfn compile`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct CompileArguments {
    /// The application's manifest.
    #[arg(long, default_value = "spin.toml", env = "MODELFN_APP", value_name = "FILE")]
    app: PathBuf,
    /// Where the compiled code goes; `modelfn serve --code-cache` takes it from there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The processor that the code is for.
    #[arg(long, value_enum, default_value_t)]
    cpu: Cpu,
}

/// The processor that compiled code is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Cpu {
    /// This one, with all that it has.
    #[default]
    Native,
    /// Any that has AVX2 (x86-64-v3: Haswell, Zen and later); on other architectures any.
    Baseline,
}

/// Compiles the components and prints a line about each.
pub(super) fn compile(arguments: &CompileArguments) -> Result<ExitCode> {
    let processor = match arguments.cpu {
        Cpu::Native => Processor::Native,
        Cpu::Baseline => Processor::Baseline,
    };
    print_lines(&compile_app(&arguments.app, &arguments.out, processor)?)
}
