//! Whether a request waits for its client: for more of the request's body, or to take more of the response.
//!
//! The connection that carries the request reads this, to end what its client has left alone for too long. A request
//! that waits for a guest or a model does not wait for its client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Since when one request has waited for its client. Clones are about the same request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientTurn(Arc<Mutex<Option<Instant>>>);

impl ClientTurn {
    /// The client has to do something now. Saying so again changes nothing.
    pub(crate) fn begin(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// The client has done something, or has nothing to do.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Since when the request has waited for its client; `None` while it does not.
    pub(crate) fn since(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
