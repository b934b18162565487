//! The engines of a process, and what models record.

use std::sync::Arc;

use modelfn_card::GraphFile;
use modelfn_telemetry::metrics::Metrics;
use tokio::sync::Semaphore;

use crate::backend::{self, Backend, Isolation, LoadError};
use crate::batcher::OnBatch;
use crate::worker::WorkerSettings;

/// The engines that models run on, and where they run.
pub struct EngineSettings {
    /// The engines of this build.
    pub backends: Vec<Box<dyn Backend>>,
    /// Where the engine of a model runs whose card doesn't say.
    pub isolation: Isolation,
    /// How engine processes are started; `None` where all engines run on threads.
    pub worker: Option<WorkerSettings>,
}

impl EngineSettings {
    /// Engines that run on threads of this process.
    pub fn on_threads(backends: Vec<Box<dyn Backend>>) -> EngineSettings {
        EngineSettings { backends, isolation: Isolation::Thread, worker: None }
    }

    /// How the process of a model with this graph is started; `None` if its engine runs on threads.
    ///
    /// # Errors
    ///
    /// There is no such engine.
    pub(crate) fn worker_for(&self, graph: &GraphFile) -> Result<Option<&WorkerSettings>, LoadError> {
        let backend = backend::find(&self.backends, graph.engine)?;
        let isolation = graph.isolation.or(backend.default_isolation()).unwrap_or(self.isolation);
        Ok(self.worker.as_ref().filter(|_| isolation == Isolation::Process))
    }
}

/// The engines, which all registries of a process share.
pub(super) struct Engines {
    pub(super) settings: EngineSettings,
    pub(super) metrics: Arc<Metrics>,
    /// A permit for each graph that guests may still load.
    pub(super) guest_graphs: Arc<Semaphore>,
}

/// The most graphs that all guests together may have loaded from their own bytes. Each has a thread, and a process.
pub(super) const MAX_GUEST_GRAPHS: usize = 8;

impl Engines {
    pub(super) fn new(settings: EngineSettings, metrics: Arc<Metrics>) -> Engines {
        Engines { settings, metrics, guest_graphs: Arc::new(Semaphore::new(MAX_GUEST_GRAPHS)) }
    }

    /// The callback that records the batches of the model `name`.
    pub(super) fn on_batch(&self, name: &str) -> Arc<OnBatch> {
        let (metrics, name) = (self.metrics.clone(), name.to_owned());
        Arc::new(move |rows, release| metrics.batch_ran(&name, rows, release))
    }
}
