//! A caller's place in a model's queue: what becomes of its job is counted here, in one way and once.

use std::time::{Duration, Instant};

use super::{Computed, Failure, Queue};
use modelfn_telemetry::metrics::statistics::Reason;

/// Held while a job waits and is computed. Dropping it before an end is told is the caller's leaving.
pub(super) struct PendingJob<'a> {
    pub(super) queue: &'a Queue,
    /// The job's number in the queue.
    pub(super) ticket: u64,
    pub(super) submitted: Instant,
    pub(super) ended: bool,
}

/// What came of a job, as its caller sees it.
pub(super) enum End {
    Computed(Computed),
    Failed(Failure),
    /// The queue dropped the job: it found the deadline passed.
    Dropped,
    /// The deadline passed here.
    Late,
}

impl PendingJob<'_> {
    pub(super) fn end(mut self, end: End) -> Result<Computed, Failure> {
        self.ended = true;
        let elapsed = self.submitted.elapsed();
        match end {
            End::Computed(computed) => {
                self.queue.statistics.succeeded(elapsed, computed.queued, &computed.steps);
                Ok(computed)
            }
            End::Failed(failure) => {
                self.queue.statistics.failed(Reason::Backend, elapsed);
                Err(failure)
            }
            End::Dropped => Err(self.late(Reason::Rejected, elapsed)),
            End::Late if self.queue.leave(self.ticket) => Err(self.late(Reason::Rejected, elapsed)),
            End::Late => Err(self.late(Reason::Other, elapsed)),
        }
    }

    fn late(&self, reason: Reason, elapsed: Duration) -> Failure {
        self.queue.statistics.failed(reason, elapsed);
        Failure::Deadline(elapsed)
    }
}

impl Drop for PendingJob<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.queue.leave(self.ticket);
            self.queue.statistics.failed(Reason::Canceled, self.submitted.elapsed());
        }
    }
}
