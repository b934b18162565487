//! What the caller of a computation gets: its outputs, or why there are none.

use std::time::Duration;

use modelfn_telemetry::metrics::statistics::Steps;

use crate::backend::ComputeError;
use crate::tensor::Tensors;

/// The outputs of one computation, and how long it took.
#[derive(Debug)]
pub struct Computed {
    /// The outputs, in the order of the signature.
    pub outputs: Tensors,
    /// The time in the queue: from the call of `compute` to an engine thread taking the job.
    pub queued: Duration,
    /// The time in the engine, for the whole batch.
    pub computing: Duration,
    /// Breakdown of `computing`.
    pub steps: Steps,
    /// The number of rows of the whole batch.
    pub batch_size: usize,
}

/// Why a computation has no outputs.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The queue is full; the caller may try again later. Holds the size of the queue.
    #[error("{0} computations are waiting already, which is this model's queue_size")]
    Overloaded(usize),
    /// The deadline passed in the queue or in the engine. Holds the time since the call.
    #[error("the deadline passed after {0:?}")]
    Deadline(Duration),
    /// The engine failed on this computation, or ended with it.
    #[error(transparent)]
    Engine(ComputeError),
    /// The engine's process has crashed so often that the next one starts only later.
    #[error("the model is unavailable: {reason}")]
    Unavailable {
        /// What happened, as a sentence.
        reason: String,
        /// When the next process is started.
        retry_after: Duration,
    },
}

impl Failure {
    /// The value of `error.type` in traces.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Overloaded(_) => "Overloaded",
            Failure::Deadline(_) => "Deadline",
            Failure::Engine(_) => "Engine",
            Failure::Unavailable { .. } => "Unavailable",
        }
    }
}
