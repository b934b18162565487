//! How long the phases of a request took, and how far its invocation has come.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Durations of the phases of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Reading the request body.
    pub body: Duration,
    /// Waiting for a free instance.
    pub admission: Duration,
    /// Instantiating the component.
    pub instantiate: Duration,
    /// Waiting for an engine thread, summed over all computations of the request.
    pub queue: Duration,
    /// Running in the engine, summed over all computations of the request.
    pub compute: Duration,
}

/// The state of an invocation that the guest's host calls update and its caller reads.
#[derive(Default)]
pub(super) struct InvocationProgress {
    phases: Mutex<Phases>,
}

impl InvocationProgress {
    pub(super) fn phases(&self) -> MutexGuard<'_, Phases> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
