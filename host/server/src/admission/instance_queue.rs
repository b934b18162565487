//! The queue for an instance: who gets one at once, who waits, who is refused, and who is next.
//!
//! Instances are shared by components, and among the requests of a component by clients. A component may use what others
//! leave idle, but not the share that each of the others can always have ([`shares`]). A free instance goes to the
//! component, and there to the client, that has the fewest. Where the queue is full, a client that waits with fewer
//! requests takes the last place of the one that waits with most.

mod flows;
mod shares;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::saturation::Saturation;
use modelfn_telemetry::traces;
use tokio::sync::oneshot;

use self::flows::{Flows, Refusal};
pub(crate) use self::shares::ComponentShare;
use crate::problem::Problem;

/// Whose request it is, as far as shares go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The component's id.
    pub(crate) component: Arc<str>,
    /// The name of the client's key; `None` is everyone without one.
    pub(crate) client: Option<Arc<str>>,
}

/// The most that may be in use and wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Instances that exist at the same time.
    pub(super) instances: usize,
    /// Requests that wait.
    pub(super) waiting: usize,
    /// How long a request may be expected to wait.
    pub(super) target: Duration,
}

/// The queue of a server.
pub(super) struct InstanceQueue(Arc<Shared>);

struct Shared {
    limits: QueueLimits,
    flows: Mutex<Flows>,
    saturation: Saturation,
    /// How many waited when a request was refused last: by the number that may wait, or by how long they would.
    capacity: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// An instance that a request may use until this is dropped.
pub(super) struct InstancePermit {
    queue: Arc<Shared>,
    flow: Flow,
}

/// A place in the queue. Dropping it gives the place up, or the instance that was granted meanwhile.
struct Waiting {
    queue: Arc<Shared>,
    flow: Flow,
    ticket: u64,
    granted: oneshot::Receiver<Result<(), Refusal>>,
    is_over: bool,
}

impl InstanceQueue {
    /// A queue with these limits, for components that [`InstanceQueue::share_among`] names.
    pub(super) fn new(limits: QueueLimits, metrics: Arc<Metrics>) -> Self {
        let flows = Mutex::new(Flows::new(&limits));
        let (saturation, capacity) = (Saturation::default(), AtomicUsize::new(limits.waiting));
        InstanceQueue(Arc::new(Shared { limits, flows, saturation, capacity, metrics }))
    }

    /// Shares the instances among these components from now on.
    pub(super) fn share_among(&self, components: &[ComponentShare]) {
        self.0.lock().share_among(components);
    }

    /// A first look, so that no body is read in vain; [`InstanceQueue::acquire`] decides.
    ///
    /// # Errors
    ///
    /// The queue is full, the wait would be too long, or it leaves too little time before `deadline`.
    pub(super) fn check_room(&self, flow: &Flow, deadline: Instant) -> Result<(), Problem> {
        self.0.check_room(&mut self.0.lock(), flow, deadline)
    }

    /// Waits for an instance, in a queue with a bounded number of others and until the deadline at most. Returns it and
    /// how long that took. `timeout` is only for the error's text.
    ///
    /// # Errors
    ///
    /// As [`InstanceQueue::check_room`], or no instance was free by the deadline.
    pub(super) async fn acquire(
        &self,
        flow: Flow,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(InstancePermit, Duration), Problem> {
        let queue = self.0.clone();
        let mut waiting = {
            let mut flows = queue.lock();
            if flows.try_take(&flow) {
                drop(flows);
                queue.metrics.waited_for_admission(Duration::ZERO);
                return Ok((InstancePermit { queue, flow }, Duration::ZERO));
            }
            queue.check_room(&mut flows, &flow, deadline)?;
            let (ticket, granted) = flows.enqueue(&flow).map_err(|refusal| queue.refused(refusal))?;
            Waiting { queue: queue.clone(), flow, ticket, granted, is_over: false }
        };
        let (gauge, started) = (queue.metrics.admission.waiting(), Instant::now());
        let granted = tokio::time::timeout_at(deadline.into(), &mut waiting.granted).await;
        drop(gauge);
        let waited = started.elapsed();
        queue.metrics.waited_for_admission(waited);
        traces::phase("admission", started);
        match granted {
            Ok(Ok(Ok(()))) => {
                waiting.is_over = true;
                queue.shrank(&queue.lock());
                Ok((InstancePermit { queue: queue.clone(), flow: waiting.flow.clone() }, waited))
            }
            Ok(Ok(Err(refusal))) => {
                waiting.is_over = true;
                Err(queue.refused(refusal))
            }
            // The sender is kept until it was used.
            Ok(Err(_)) | Err(_) => Err(Problem::NoInstance(timeout)),
        }
    }

    /// How long the queue has been refusing requests; zero when it does not.
    pub(super) fn saturated_for(&self) -> Duration {
        let flows = self.0.lock();
        // Nobody waits where an instance is free; without requests nothing else would notice.
        if flows.free() > 0 {
            self.0.saturation.shrank(0, self.0.limits.waiting);
        }
        drop(flows);
        self.0.saturation.lasted()
    }
}

impl Shared {
    fn check_room(&self, flows: &mut Flows, flow: &Flow, deadline: Instant) -> Result<(), Problem> {
        if flows.has_room_for(flow) {
            return Ok(());
        }
        flows.check_place(flow).map_err(|refusal| self.refused(refusal))?;
        let now = Instant::now();
        let wait = flows.expected_wait(flow, now);
        if wait.in_queue > self.limits.target {
            flows.refused(now);
            self.saturate(flows.waiting());
            return Err(Problem::WaitTooLong(wait.in_queue));
        }
        // A quarter of the time is kept in reserve, since requests differ in the work that they need.
        let left = deadline.saturating_duration_since(now) / 4 * 3;
        if wait.until_end > left { Err(Problem::DeadlineUnreachable(wait.until_end)) } else { Ok(()) }
    }

    fn refused(&self, refusal: Refusal) -> Problem {
        match refusal {
            Refusal::QueueFull => {
                self.saturate(self.limits.waiting);
                Problem::QueueFull(self.limits.waiting)
            }
            Refusal::Stale(waited) => Problem::WaitTooLong(waited),
        }
    }

    /// Records that a request was refused because so many wait.
    fn saturate(&self, waiting: usize) {
        self.capacity.store(waiting, Ordering::Relaxed);
        self.saturation.refused();
    }

    /// Records that something has left the queue.
    fn shrank(&self, flows: &Flows) {
        self.saturation.shrank(flows.waiting(), self.capacity.load(Ordering::Relaxed));
    }

    fn lock(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InstancePermit {
    fn drop(&mut self) {
        self.queue.lock().release(&self.flow);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut flows = self.queue.lock();
        // Nothing is granted while the queue is locked.
        match self.granted.try_recv() {
            Ok(Ok(())) => flows.release(&self.flow),
            Ok(Err(_)) => {}
            Err(_) => flows.leave(&self.flow, self.ticket),
        }
        self.queue.shrank(&flows);
    }
}
