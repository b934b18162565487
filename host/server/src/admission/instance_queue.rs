//! The bounded queue for a free instance: who waits, who is refused at once, and since when the queue has been full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::saturation::Saturation;
use modelfn_telemetry::traces;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::concurrency_limit::ConcurrencyLimit;
use super::queue_wait::QueueWaitEstimator;
use crate::problem::Problem;

/// Instances, and the requests that wait for one in the order in which they came.
pub(super) struct InstanceQueue {
    max_instances: usize,
    instances: Arc<Semaphore>,
    /// Each request that waits holds a slot.
    slots: ConcurrencyLimit,
    saturation: Saturation,
    queue_wait: QueueWaitEstimator,
    metrics: Arc<Metrics>,
}

impl InstanceQueue {
    /// A queue of at most `max_waiting` requests for `max_instances` instances.
    pub(super) fn new(max_instances: usize, max_waiting: usize, metrics: Arc<Metrics>) -> Self {
        InstanceQueue {
            max_instances,
            instances: Arc::new(Semaphore::new(max_instances)),
            slots: ConcurrencyLimit::new(max_waiting),
            saturation: Saturation::default(),
            queue_wait: QueueWaitEstimator::default(),
            metrics,
        }
    }

    /// A first look, so that no body is read in vain; [`InstanceQueue::acquire`] decides.
    ///
    /// # Errors
    ///
    /// The queue is full, or those ahead leave too little time before `deadline`.
    pub(super) fn check_room(&self, deadline: Instant) -> Result<(), Problem> {
        let waiting = self.slots.in_use();
        if self.instances.available_permits() > 0 || waiting == 0 {
            return Ok(());
        }
        if waiting >= self.slots.most() {
            return Err(self.refuse());
        }
        let now = Instant::now();
        let needed = self.queue_wait.estimate(now, waiting + self.max_instances);
        // A quarter of the time is kept in reserve, since requests differ in the work that they need.
        let left = deadline.saturating_duration_since(now) / 4 * 3;
        if needed > left { Err(Problem::DeadlineUnreachable(needed)) } else { Ok(()) }
    }

    /// Waits for a free instance, in a queue with a bounded number of others and until the deadline at most. Returns
    /// it and how long that took. `timeout` is only for the error's text.
    ///
    /// # Errors
    ///
    /// The queue is full, or no instance was free by the deadline.
    pub(super) async fn acquire(
        &self,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(OwnedSemaphorePermit, Duration), Problem> {
        if let Ok(instance) = self.instances.clone().try_acquire_owned() {
            self.metrics.waited_for_admission(Duration::ZERO);
            return Ok((instance, Duration::ZERO));
        }
        let slot = self.slots.try_acquire().ok_or_else(|| self.refuse())?;
        let (waiting, started) = (self.metrics.admission.waiting(), Instant::now());
        let instance = tokio::time::timeout_at(deadline.into(), self.instances.clone().acquire_owned()).await;
        drop((slot, waiting));
        self.saturation.shrank(self.slots.in_use(), self.slots.most());
        let waited = started.elapsed();
        self.metrics.waited_for_admission(waited);
        traces::phase("admission", started);
        match instance {
            Ok(Ok(instance)) => {
                self.queue_wait.dequeued(Instant::now(), self.slots.in_use());
                Ok((instance, waited))
            }
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Problem::NoInstance(timeout)),
        }
    }

    /// How long the queue has been full; zero when it is not.
    pub(super) fn saturated_for(&self) -> Duration {
        // Nobody waits where an instance is free; without requests nothing else would notice.
        if self.instances.available_permits() > 0 {
            self.saturation.shrank(0, self.slots.most());
        }
        self.saturation.lasted()
    }

    fn refuse(&self) -> Problem {
        self.saturation.refused();
        Problem::QueueFull(self.slots.most())
    }
}
