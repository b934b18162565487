//! The inference engines of this build, and where the library of ONNX Runtime is.

mod remedy;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use modelfn_nn::backend::{Backend, fake::Fake, onnx::Onnx};
use modelfn_nn::registry::EngineSettings;
use modelfn_nn::worker::WorkerSettings;

use crate::library::{self, Environment, Library, NotFound};
use crate::settings::ModelSettings;

/// The subcommand of engine processes, which the help does not show.
pub(crate) const ENGINE_WORKER: &str = "engine-worker";

/// The engines of this build, and how their processes are started.
///
/// # Errors
///
/// `--onnxruntime` names a file that does not exist. A library that was not named and is not found is an error only
/// for those who load a model with it.
pub(crate) fn engines(settings: &ModelSettings) -> Result<EngineSettings> {
    let library = match onnxruntime(settings) {
        Err(e) if settings.onnxruntime.is_some() => return Err(e),
        found => found.map_err(|e| format!("{e:#}")),
    };
    let worker = WorkerSettings {
        arguments: worker_arguments(library.as_deref(), settings.max_model_memory()),
        load_timeout: settings.model_load_timeout,
    };
    Ok(EngineSettings { backends: backends(library), isolation: settings.model_isolation, worker: Some(worker) })
}

/// The arguments with which a server starts `modelfn engine-worker`.
fn worker_arguments(library: Result<&Path, &String>, max_memory: u64) -> Vec<OsString> {
    let library = match library {
        Ok(path) => ["--library".into(), path.as_os_str().to_owned()],
        Err(reason) => ["--no-library".into(), reason.into()],
    };
    let memory = ["--max-memory".into(), max_memory.to_string().into()];
    [ENGINE_WORKER.into()].into_iter().chain(memory).chain(library).collect()
}

/// The engines of this build, with the library of ONNX Runtime or the reason why there is none.
pub(crate) fn backends(library: Result<PathBuf, String>) -> Vec<Box<dyn Backend>> {
    vec![Box::new(Onnx::new(library)), Box::new(Fake)]
}

/// The library of ONNX Runtime: the one that was named, else the one that is [found](library::find).
///
/// # Errors
///
/// The library that was named is not a file, or none was named and none was found.
pub(crate) fn onnxruntime(settings: &ModelSettings) -> Result<PathBuf> {
    if let Some(path) = &settings.onnxruntime {
        ensure!(path.is_file(), "--onnxruntime {}: no such file", path.display());
        return Ok(path.clone());
    }
    let program = std::env::current_exe().context("this program's own path")?;
    let found = library::find(&program, &Environment::of_process());
    let Library { path, place } = found.map_err(|reason| match reason {
        NotFound::TooOld(sentence) => Error::msg(sentence),
        NotFound::Nowhere(sentence) => Error::msg(format!("{sentence}; {}", remedy::remedy(&program))),
    })?;
    tracing::debug!(path = %path.display(), "the library of ONNX Runtime was found {place}");
    Ok(path)
}
