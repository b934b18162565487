//! Whether a request waits for its client: for more of the request's body, or to take more of the response.
//!
//! The connection that carries the request reads this, to end what its client has left alone for too long. A request
//! that waits for a guest or a model does not wait for its client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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

    /// Tells later whether the request is still there.
    pub(crate) fn downgrade(&self) -> WeakTurn {
        WeakTurn(Arc::downgrade(&self.0))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does not keep a request: the default is one that is over.
#[derive(Debug, Default)]
pub(crate) struct WeakTurn(Weak<Mutex<Option<Instant>>>);

impl WeakTurn {
    /// Whether the request, or what is still read of its body, is over.
    pub(crate) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}
