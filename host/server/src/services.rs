//! What every part of the process shares.

use std::sync::Arc;

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces::Traces;

use crate::admission::keys::Keys;
use crate::readiness::Readiness;

/// What every part of the process shares.
#[derive(Clone, Default)]
pub struct Services {
    /// Where requests and models are counted.
    pub metrics: Arc<Metrics>,
    /// Whether requests are wanted.
    pub readiness: Arc<Readiness>,
    /// The keys of clients; `None` lets everyone in.
    pub keys: Option<Arc<Keys>>,
    /// Where spans of requests go; `None` records no spans.
    pub traces: Option<Traces>,
}
