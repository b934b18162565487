//! Engines in processes of their own.
//!
//! A graph can end the process that computes it (a division by zero of integers is a signal, an absurd size an abort),
//! keep a thread for ever, or read files. Here the process that it ends is not the server, but the same program started
//! once more as a worker: it loads one graph, gives up files, network and other processes ([`confine`]), and computes
//! what comes on its sockets. A [`Worker`](supervisor::Worker) starts it again after a crash; its graph is a
//! [`Graph`] like any other, so that the batcher does not know where it computes.
//!
//! ```text
//!   engine thread ── RemoteGraph ── socket + shared memory ── Handle ── Graph of the engine
//!                        │                                       │
//!                     Worker ─────── control socket ────────── serve
//! ```

mod channel;
mod confine;
mod graph;
mod log_lines;
mod memory;
mod message;
mod process;
mod serve;
mod supervisor;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use modelfn_artifact::Digest;
use modelfn_card::Engine;
use rustix::fs::{MemfdFlags, memfd_create};

use self::graph::RemoteGraph;
use self::message::{GraphDescription, LoadCommand};
pub use self::serve::serve;
pub(crate) use self::supervisor::{Unavailable, Worker};
use crate::backend::{Graph, LoadError, LoadOptions};
use crate::warm_up::{WarmUp, WarmUpOutcome};

/// How engine processes are started.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The arguments with which this program calls [`serve`].
    pub arguments: Vec<OsString>,
    /// How long loading a graph and its warm-up may take.
    pub load_timeout: Duration,
}

/// A graph file to load in a process.
pub(crate) struct RemoteLoad<'a> {
    /// The model's name, for the log.
    pub(crate) model: &'a str,
    pub(crate) file: File,
    pub(crate) engine: Engine,
    /// The digest that the file must have, in hexadecimal digits; empty where any file is accepted.
    pub(crate) sha256: &'a str,
    pub(crate) options: LoadOptions,
    /// The computation on zeros that belongs to loading; `None` does without.
    pub(crate) warm_up: Option<WarmUp>,
}

/// A graph that was loaded in a process.
pub(crate) struct RemoteLoaded {
    pub(crate) graph: Box<dyn Graph>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) digest: Digest,
    /// How the warm-up ended; `None` where there was none.
    pub(crate) warm_up: Option<WarmUpOutcome>,
}

/// A file in memory with the bytes of a graph.
///
/// # Errors
///
/// There is no memory for it.
pub(crate) fn memory_file(graph: &[u8]) -> io::Result<File> {
    let file = File::from(memfd_create("modelfn-graph", MemfdFlags::CLOEXEC)?);
    file.write_all_at(graph, 0)?;
    Ok(file)
}

/// Starts a process that loads a graph.
///
/// # Errors
///
/// See [`LoadError`].
pub(crate) fn load(settings: &WorkerSettings, load: RemoteLoad<'_>) -> Result<RemoteLoaded, LoadError> {
    let RemoteLoad { model, file, engine, sha256, options, warm_up } = load;
    let LoadOptions { target, threads, outputs } = options;
    let command = LoadCommand { engine, target, threads, outputs, sha256: sha256.to_owned(), warm_up };
    let again = file.try_clone();
    let (worker, mut description) = match (Worker::start(model, settings.clone(), file, command.clone()), again) {
        // Shapes that nobody stated say nothing of the graph, which is loaded without a warm-up then.
        (Err(LoadError::MadeUpWarmUp(reason)), Ok(file)) => {
            let (worker, description) =
                Worker::start(model, settings.clone(), file, LoadCommand { warm_up: None, ..command })?;
            (worker, GraphDescription { warm_up: Some(WarmUpOutcome::Unknown(reason)), ..description })
        }
        (started, _) => started?,
    };
    let warm_up = description.warm_up.take();
    let not_understood = |_| LoadError::Invalid("the engine's process is not understood".to_owned());
    let digest = description.sha256.parse().map_err(not_understood)?;
    let graph = Box::new(RemoteGraph::new(worker.clone(), Arc::new(description)));
    Ok(RemoteLoaded { graph, worker, digest, warm_up })
}
