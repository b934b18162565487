//! `modelfn dev`: serves an application, builds it again when its sources change, and loads again what was built.
//!
//! It is the server of `modelfn serve`, with a thread beside it that watches, builds, and asks for reloads. So no request
//! is lost: one that runs ends with the function that it began with, and a build that fails changes nothing.

mod code_folder;
mod workshop;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result};
use clap::Args;

use self::code_folder::CodeFolder;
use self::workshop::Workshop;
use super::serve::{self, ServeArguments};
use crate::signals::until_signal;

pub(super) const EXAMPLES: &str = "Examples:
  modelfn dev
  modelfn dev --listen 127.0.0.1:9000
  modelfn dev model.onnx

Runs the builds of the manifest, serves, and does both again when a file changes: sources (`watch` of
[component.NAME.build]), the manifest, or a model. While a build fails, browsers see what the compiler said, and all other
clients are served by the last build that succeeded.";

/// The arguments of `modelfn dev`: those of `modelfn serve`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct DevArguments {
    #[command(flatten)]
    serve: ServeArguments,
}

/// Builds, then serves until SIGTERM or SIGINT.
pub(super) async fn dev(arguments: DevArguments) -> Result<ExitCode> {
    let DevArguments { mut serve } = arguments;
    let manifest = serve.manifest()?;
    let code = manifest.as_deref().and_then(Path::parent).map(CodeFolder::of);
    if let Some(code) = &code {
        // Not where the code of finished functions is kept: each save makes another.
        serve.keep_code_in(code.path());
    }
    let is_ending = Arc::new(AtomicBool::new(false));
    let workshop = Workshop::open(manifest, serve.model_paths(), is_ending.clone())?;
    // There is nothing to serve before.
    let workshop = until_signal(is_ending.clone(), || workshop.first_build()).await??;
    let (started, running) = mpsc::channel();
    let beside = move || {
        // Without a server there is nothing to reload.
        if let Ok(running) = running.recv() {
            workshop.run(&running, code.as_ref());
        }
    };
    let thread = std::thread::Builder::new().name("dev".to_owned()).spawn(beside).context("no thread for builds")?;
    let code = serve::serve_beside(serve, move |running| drop(started.send(running))).await;
    is_ending.store(true, Ordering::Relaxed);
    tokio::task::spawn_blocking(move || thread.join()).await?.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    code
}
