//! How many inferences there are at the same time: no sandbox bounds what their inputs and outputs take.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::oip::endpoint::Endpoint;
use crate::problem::Problem;

/// Places for inferences in flight, whichever models serve.
pub(crate) struct ConcurrencyLimit {
    most: usize,
    free: Arc<Semaphore>,
}

impl ConcurrencyLimit {
    /// So many places.
    pub(crate) fn new(most: usize) -> Self {
        ConcurrencyLimit { most, free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))) }
    }

    /// A place for a request for `endpoint`, if that is an inference; nothing else needs one. Nobody waits for a place:
    /// that is what a model's queue is for.
    ///
    /// # Errors
    ///
    /// All places are taken.
    pub(crate) fn admit(&self, endpoint: &Endpoint<'_>) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if !matches!(endpoint, Endpoint::Infer(_)) {
            return Ok(None);
        }
        let place = self.free.clone().try_acquire_owned();
        place.map(Some).map_err(|_| Problem::InferencesFull(self.most))
    }
}
