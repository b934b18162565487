//! A caller's handle to its job, which counts exactly once how the job ended.

use std::time::{Duration, Instant};

use super::outcome::{Computed, Failure};
use super::queue::Queue;
use modelfn_telemetry::metrics::statistics::Reason;

/// Held by the caller while its job is queued and computed. Dropping it without [`end`](PendingJob::end) cancels the
/// job.
pub(super) struct PendingJob<'a> {
    pub(super) queue: &'a Queue,
    /// Identifies the job in the queue.
    pub(super) id: u64,
    pub(super) submitted: Instant,
    pub(super) ended: bool,
}

/// How a job ended, as its caller sees it.
pub(super) enum JobEnd {
    Computed(Computed),
    Failed(Failure),
    /// An engine thread found the deadline passed, and dropped the job from the queue.
    Dropped,
    /// The deadline passed while the caller waited.
    TimedOut,
}

impl PendingJob<'_> {
    /// Counts how the job ended, and returns what its caller gets.
    pub(super) fn end(mut self, end: JobEnd) -> Result<Computed, Failure> {
        self.ended = true;
        let elapsed = self.submitted.elapsed();
        match end {
            JobEnd::Computed(computed) => {
                self.queue.statistics.succeeded(elapsed, computed.queued, &computed.steps);
                Ok(computed)
            }
            JobEnd::Failed(failure) => {
                self.queue.statistics.failed(Reason::Backend, elapsed);
                Err(failure)
            }
            JobEnd::Dropped => Err(self.timed_out(Reason::Rejected, elapsed)),
            JobEnd::TimedOut if self.queue.remove(self.id) => Err(self.timed_out(Reason::Rejected, elapsed)),
            JobEnd::TimedOut => Err(self.timed_out(Reason::Other, elapsed)),
        }
    }

    fn timed_out(&self, reason: Reason, elapsed: Duration) -> Failure {
        self.queue.statistics.failed(reason, elapsed);
        Failure::Deadline(elapsed)
    }
}

impl Drop for PendingJob<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.queue.remove(self.id);
            self.queue.statistics.failed(Reason::Canceled, self.submitted.elapsed());
        }
    }
}
