//! What all functions of a server share.

use std::sync::Arc;
use std::time::Duration;

use modelfn_nn::registry::Registry;
use modelfn_telemetry::metrics::Metrics;

use super::guest_threads::GuestThreads;
use super::process_memory::ProcessMemory;

/// What all functions of a server share.
#[derive(Clone)]
pub struct FunctionServices {
    /// Where models are found.
    pub registry: Arc<Registry>,
    /// Where invocations are counted.
    pub metrics: Arc<Metrics>,
    /// Where guests run.
    pub threads: GuestThreads,
    /// What memories, tensors and unread responses of guests are reserved from.
    pub memory: ProcessMemory,
    /// How long a client may read nothing of a response that is too large to be kept for it.
    pub response_stall: Duration,
}
