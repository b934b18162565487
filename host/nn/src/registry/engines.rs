//! The engines of a process, and what models record.

use std::sync::Arc;

use modelfn_telemetry::metrics::Metrics;
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::batcher::OnBatch;

/// The engines, which all registries of a process share.
pub(super) struct Engines {
    pub(super) backends: Vec<Box<dyn Backend>>,
    pub(super) metrics: Arc<Metrics>,
    /// A permit for each graph that guests may still load.
    pub(super) guest_graphs: Arc<Semaphore>,
}

/// The most graphs that all guests together may have loaded from their own bytes. Each has a thread.
pub(super) const MAX_GUEST_GRAPHS: usize = 8;

impl Engines {
    pub(super) fn new(backends: Vec<Box<dyn Backend>>, metrics: Arc<Metrics>) -> Engines {
        Engines { backends, metrics, guest_graphs: Arc::new(Semaphore::new(MAX_GUEST_GRAPHS)) }
    }

    /// The callback that records the batches of the model `name`.
    pub(super) fn on_batch(&self, name: &str) -> Arc<OnBatch> {
        let (metrics, name) = (self.metrics.clone(), name.to_owned());
        Arc::new(move |rows, release| metrics.batch_ran(&name, rows, release))
    }
}
