//! What every part of the process shares.

use std::sync::Arc;

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces::Traces;

use crate::admission::keys::Keys;
use crate::build_failure::BuildFailure;
use crate::readiness::Readiness;
use modelfn_wasm::process_memory::ProcessMemory;

/// What every part of the process shares.
#[derive(Clone)]
pub struct Services {
    /// Where requests and models are counted.
    pub metrics: Arc<Metrics>,
    /// What requests reserve memory from.
    pub memory: ProcessMemory,
    /// Whether requests are wanted.
    pub readiness: Arc<Readiness>,
    /// The keys of clients; `None` lets everyone in.
    pub keys: Option<Arc<Keys>>,
    /// Where spans of requests go; `None` records no spans.
    pub traces: Option<Traces>,
    /// What browsers see while what is served can't be built.
    pub build_failure: Arc<BuildFailure>,
}

impl Services {
    /// Services that count in `metrics`, let everyone in and record no spans.
    pub fn new(metrics: Arc<Metrics>) -> Services {
        let memory = ProcessMemory::unlimited(metrics.clone());
        Services { metrics, memory, readiness: Arc::default(), keys: None, traces: None, build_failure: Arc::default() }
    }
}
