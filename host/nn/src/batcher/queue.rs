//! The bounded queue of a model, from which its engine threads take batches.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Release;
use modelfn_telemetry::metrics::statistics::{Reason, Statistics};
use modelfn_telemetry::saturation::Saturation;
use tokio::sync::oneshot;

use super::batch_size::BatchSizeTuner;
use super::outcome::{Computed, Failure};
use super::policy::{self, Decision, Policy, QueuedJob};
use crate::backend::{Canceller, ComputeError};
use crate::stack::BatchKey;
use crate::tensor::Tensors;

/// The bounds of a model's queue and batches.
#[derive(Clone, Copy, Debug)]
pub struct BatcherLimits {
    /// The most jobs that may be queued.
    pub queue_size: usize,
    /// The most rows (sizes of axis 0) of one batch; 1 turns stacking off. The batcher uses smaller batches where
    /// larger ones don't pay.
    pub max_batch_size: usize,
    /// How long a job may wait for others to stack with.
    pub max_queue_delay: Duration,
}

/// One computation that a caller has submitted.
pub(super) struct Job {
    /// Identifies the job; given by [`Queue::push`].
    pub(super) id: u64,
    pub(super) inputs: Tensors,
    /// Jobs with equal keys can be stacked; `None` when the job must run alone.
    pub(super) key: Option<BatchKey>,
    /// The size of axis 0 of the inputs; 1 for a graph that is not batched.
    pub(super) rows: usize,
    pub(super) submitted: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Computed, ComputeError>>,
}

/// The queue of one model.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Notified when a job arrives and when the queue is closed.
    arrived: Condvar,
    pub(super) limits: BatcherLimits,
    pub(super) saturation: Saturation,
    pub(super) statistics: Arc<Statistics>,
    /// Held for writing by an engine thread that computes alone, to find which job crashes the engine's process.
    pub(super) crash_search: RwLock<()>,
}

struct QueueState {
    /// In the order of arrival.
    jobs: VecDeque<Job>,
    running: Vec<RunningBatch>,
    /// The id of the latest job.
    last_id: u64,
    batch_size: BatchSizeTuner,
    /// Engine threads that wait for jobs.
    idle: usize,
    closed: bool,
}

/// A batch that an engine thread computes.
struct RunningBatch {
    /// The jobs whose callers still wait.
    wanted: Vec<u64>,
    canceller: Arc<dyn Canceller>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed() && self.deadline > Instant::now()
    }
}

impl Queue {
    pub(super) fn new(limits: BatcherLimits) -> Queue {
        let state = QueueState {
            jobs: VecDeque::new(),
            running: Vec::new(),
            last_id: 0,
            batch_size: BatchSizeTuner::new(limits.max_batch_size),
            idle: 0,
            closed: false,
        };
        Queue {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            limits,
            saturation: Saturation::default(),
            statistics: Arc::default(),
            crash_search: RwLock::default(),
        }
    }

    /// Appends a job and returns its id.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`] when the queue is full.
    pub(super) fn push(&self, mut job: Job) -> Result<u64, Failure> {
        let mut state = self.lock();
        if state.jobs.len() >= self.limits.queue_size {
            state.drop_unwanted();
        }
        if state.jobs.len() >= self.limits.queue_size {
            self.saturation.refused();
            self.statistics.failed(Reason::Rejected, job.submitted.elapsed());
            return Err(Failure::Overloaded(self.limits.queue_size));
        }
        state.last_id += 1;
        let id = state.last_id;
        job.id = id;
        state.jobs.push_back(job);
        self.statistics.set_waiting(state.jobs.len());
        drop(state);
        self.arrived.notify_one();
        Ok(id)
    }

    /// Removes a job that is no longer wanted. Returns whether it was still in the queue. A batch that is being
    /// computed for nobody any more is cancelled.
    pub(super) fn remove(&self, id: u64) -> bool {
        let mut state = self.lock();
        let position = state.jobs.iter().position(|job| job.id == id);
        let job = position.and_then(|position| state.jobs.remove(position));
        if job.is_none() {
            state.abandon(id);
        }
        self.shrank(state.jobs.len());
        // The tensors of the job are freed after the lock was released.
        drop(state);
        job.is_some()
    }

    /// Waits for the next batch of jobs that are still wanted; `None` when the queue is closed. The batch runs until
    /// [`finished`](Queue::finished).
    pub(super) fn pop(&self, canceller: &Arc<dyn Canceller>) -> Option<(Vec<Job>, Release)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            state.drop_unwanted();
            let now = Instant::now();
            let decision = state.decide(self.limits.max_queue_delay, now);
            let taken = if let Decision::Run(positions, _) = &decision { state.take(positions) } else { Vec::new() };
            self.shrank(state.jobs.len());
            let timeout = match decision {
                Decision::Run(_, release) => {
                    state.begin(&taken, canceller);
                    return Some((taken, release));
                }
                Decision::WaitUntil(due) => Some(due.saturating_duration_since(now)),
                Decision::Idle => None,
            };
            state = self.wait(state, timeout);
        }
    }

    /// Notes that a job which was taken before is computed once more, alone. Returns whether it is still wanted.
    pub(super) fn begin_again(&self, job: &Job, canceller: &Arc<dyn Canceller>) -> bool {
        let mut state = self.lock();
        let wanted = job.is_wanted();
        if wanted {
            state.begin(std::slice::from_ref(job), canceller);
        }
        wanted
    }

    /// Notes that the computation of a thread is over, which `canceller` would have cancelled.
    pub(super) fn finished(&self, canceller: &Arc<dyn Canceller>) {
        self.lock().running.retain(|batch| !Arc::ptr_eq(&batch.canceller, canceller));
        // From here on nobody cancels until the thread begins another batch.
        canceller.reset();
    }

    /// Tells the tuner of batch sizes how long a batch took.
    pub(super) fn observe_batch(&self, rows: usize, duration: Duration) {
        self.lock().batch_size.observe(rows, duration);
    }

    /// The number of queued jobs.
    pub(super) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Ends the engine threads once they are done with their current batches.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Records the length of the queue after jobs may have left it.
    fn shrank(&self, len: usize) {
        self.saturation.shrank(len, self.limits.queue_size);
        self.statistics.set_waiting(len);
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, QueueState>, timeout: Option<Duration>) -> MutexGuard<'a, QueueState> {
        state.idle += 1;
        let mut state = match timeout {
            Some(time) => self.arrived.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.idle -= 1;
        state
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn drop_unwanted(&mut self) {
        self.jobs.retain(Job::is_wanted);
    }

    fn begin(&mut self, jobs: &[Job], canceller: &Arc<dyn Canceller>) {
        let wanted = jobs.iter().map(|job| job.id).collect();
        self.running.push(RunningBatch { wanted, canceller: canceller.clone() });
    }

    /// Cancels the batch with the job `id` if all of its callers have left.
    fn abandon(&mut self, id: u64) {
        let Some(batch) = self.running.iter_mut().find(|batch| batch.wanted.contains(&id)) else { return };
        batch.wanted.retain(|&wanted| wanted != id);
        if batch.wanted.is_empty() {
            batch.canceller.cancel();
        }
    }

    fn decide(&self, max_queue_delay: Duration, now: Instant) -> Decision {
        let policy = Policy { max_batch_size: self.batch_size.rows(), max_queue_delay };
        let jobs: Vec<_> = self
            .jobs
            .iter()
            .map(|job| QueuedJob { key: job.key.as_ref(), rows: job.rows, submitted: job.submitted })
            .collect();
        policy::decide(policy, &jobs, self.idle, now)
    }

    /// Removes the jobs at these ascending positions. The others keep their order.
    fn take(&mut self, positions: &[usize]) -> Vec<Job> {
        let mut taken = Vec::with_capacity(positions.len());
        for (already, position) in positions.iter().enumerate() {
            taken.extend(self.jobs.remove(position - already));
        }
        taken
    }
}
