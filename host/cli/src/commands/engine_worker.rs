//! `modelfn engine-worker`: the process of one model's engine, which the server starts.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use modelfn_nn::worker;
use tracing_subscriber::filter::LevelFilter;

use crate::engines::backends;

/// The arguments of `modelfn engine-worker`. Stdin is the socket of the server.
#[derive(Debug, Args)]
pub(crate) struct EngineWorkerArguments {
    /// The most memory of this process, in bytes.
    #[arg(long)]
    max_memory: u64,
    /// The ONNX Runtime library.
    #[arg(long)]
    library: Option<PathBuf>,
    /// Why there is no library.
    #[arg(long)]
    no_library: Option<String>,
}

/// Serves one graph until the server is gone.
pub(super) fn engine_worker(arguments: EngineWorkerArguments) -> Result<ExitCode> {
    let EngineWorkerArguments { max_memory, library, no_library } = arguments;
    // The server logs each line, with time and level.
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time();
    subscriber.with_level(false).with_target(false).with_max_level(LevelFilter::WARN).init();
    let library = library.ok_or_else(|| no_library.unwrap_or_else(|| "no library was named".to_owned()));
    let control = std::io::stdin().as_fd().try_clone_to_owned().context("stdin is not the server's socket")?;
    worker::serve(control, &backends(library), max_memory)?;
    // Threads that still compute are not waited for, and the engine's destructors would not expect them.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(ExitCode::FAILURE)
}
