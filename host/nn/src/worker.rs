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
pub(crate) use self::message::Expected;
use self::message::{GraphDescription, LoadCommand};
use self::process::GraphFiles;
pub use self::serve::serve;
pub(crate) use self::supervisor::{Unavailable, Worker};
use crate::backend::{Graph, LoadError, LoadOptions};
use crate::external::{Digests, ExternalFolder};
use crate::warm_up::{WarmUp, WarmUpOutcome};

/// How engine processes are started.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The arguments with which this program calls [`serve`].
    pub arguments: Vec<OsString>,
    /// How long loading a graph and its warm-up may take.
    pub load_timeout: Duration,
}

/// The files that a process loads a graph from.
pub(crate) struct RemoteFiles {
    /// The graph's file.
    pub(crate) graph: File,
    /// Where the graph's weights are if they are in other files.
    pub(crate) external: ExternalFolder,
    pub(crate) expected: Expected,
}

/// A graph to load in a process.
pub(crate) struct RemoteLoad<'a> {
    /// The model's name, for the log.
    pub(crate) model: &'a str,
    pub(crate) graph: RemoteFiles,
    pub(crate) engine: Engine,
    pub(crate) options: LoadOptions,
    /// The computation on zeros that belongs to loading; `None` does without.
    pub(crate) warm_up: Option<WarmUp>,
}

/// A graph that was loaded in a process.
pub(crate) struct RemoteLoaded {
    pub(crate) graph: Box<dyn Graph>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) digest: Digest,
    /// The digests of the external files.
    pub(crate) external: Digests,
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
    let RemoteLoad { model, graph, engine, options, warm_up } = load;
    let LoadOptions { target, threads, outputs } = options;
    let RemoteFiles { graph, external, expected } = graph;
    let command = LoadCommand { engine, target, threads, outputs, expected, warm_up };
    let files = GraphFiles { graph: Arc::new(graph), external: Arc::new(external) };
    let (worker, mut description) = match Worker::start(model, settings.clone(), files.clone(), command.clone()) {
        // Shapes that nobody stated say nothing of the graph, which is loaded without a warm-up then.
        Err(LoadError::MadeUpWarmUp(reason)) => {
            let command = LoadCommand { warm_up: None, ..command };
            let (worker, description) = Worker::start(model, settings.clone(), files, command)?;
            (worker, GraphDescription { warm_up: Some(WarmUpOutcome::Unknown(reason)), ..description })
        }
        started => started?,
    };
    let warm_up = description.warm_up.take();
    let not_understood = |_| LoadError::Invalid("the engine's process is not understood".to_owned());
    let digest = description.sha256.parse().map_err(not_understood)?;
    let external = description.external.clone();
    let graph = Box::new(RemoteGraph::new(worker.clone(), Arc::new(description)));
    Ok(RemoteLoaded { graph, worker, digest, external, warm_up })
}
