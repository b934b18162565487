//! Dynamic batching: who computes, with whom, and the bounded queue before them.
//!
//! One thread owns each instance of a graph and takes batches from the model's queue; no lock is held across
//! `compute`. Guests stay single-item: what stacks here is what queued while every instance was busy. A job whose
//! caller left or whose deadline passed leaves the queue before a batch is made. Nothing here blocks the caller: it
//! awaits a oneshot.

mod batch_size;
mod pending_job;
mod policy;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::batch_size::BatchSizeTuner;
use self::pending_job::{End, PendingJob};
use self::policy::{Decision, Policy, Waiting};
use super::backend::{ComputeError, Graph};
use super::stack::{BatchKey, split, stack};
use super::tensor::{Signature, Tensors, rows};
use modelfn_telemetry::metrics::Release;
use modelfn_telemetry::metrics::statistics::{Reason, Statistics, Steps};
use modelfn_telemetry::saturation::Saturation;

/// The handle to a model's engine threads. Dropping it ends them.
pub struct Batcher {
    queue: Arc<Queue>,
    /// Whether axis 0 counts rows.
    batched: bool,
}

/// The bounds of a model's queue and batches.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that may wait.
    pub queue_size: usize,
    /// The most rows (sizes of axis 0) of one batch; 1 stacks nothing. Fewer are stacked where more don't pay.
    pub max_batch_size: usize,
    /// How long a job may wait for company.
    pub max_queue_delay: Duration,
}

/// The answer to one job, and what it took.
#[derive(Debug)]
pub struct Computed {
    /// In the signature's order.
    pub outputs: Tensors,
    /// From `compute` being called to an engine thread taking the job.
    pub queued: Duration,
    /// In the engine, for the whole batch.
    pub computing: Duration,
    /// What of that time was what.
    pub steps: Steps,
    /// Rows of the batch that it was part of.
    pub batch_size: usize,
}

/// Why a job has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The queue is full: come back later.
    #[error("{0} computations are waiting already, which is this model's queue_size")]
    Overloaded(usize),
    /// The deadline passed before the engine was done.
    #[error("the deadline passed after {0:?}")]
    Deadline(Duration),
    /// The engine failed; everybody in the batch is told the same.
    #[error(transparent)]
    Engine(ComputeError),
}

impl Failure {
    /// Its variant's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Overloaded(_) => "Overloaded",
            Failure::Deadline(_) => "Deadline",
            Failure::Engine(_) => "Engine",
        }
    }
}

/// Told of each batch as it ends: its rows, and why it was released.
pub type OnBatch = dyn Fn(usize, Release) + Send + Sync;

struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    limits: Limits,
    saturation: Saturation,
    statistics: Arc<Statistics>,
}

struct State {
    jobs: VecDeque<Job>,
    /// Jobs that ever queued: each one's number.
    tickets: u64,
    batch_size: BatchSizeTuner,
    /// Instances that wait for jobs.
    idle: usize,
    closed: bool,
}

struct Job {
    /// Given by the queue.
    ticket: u64,
    inputs: Tensors,
    /// What it stacks with; `None` when it runs alone.
    kind: Option<BatchKey>,
    rows: usize,
    submitted: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<Computed, ComputeError>>,
}

impl Batcher {
    /// Starts a thread for each of `graphs`, which are instances of the same graph.
    ///
    /// # Errors
    ///
    /// A thread can't be made.
    pub fn start(
        model: &str,
        graphs: Vec<Box<dyn Graph>>,
        limits: Limits,
        on_batch: Arc<OnBatch>,
    ) -> std::io::Result<Batcher> {
        let batched = graphs.first().is_some_and(|graph| is_batched(graph.signature()));
        let batch_size = BatchSizeTuner::new(limits.max_batch_size);
        let state = Mutex::new(State { jobs: VecDeque::new(), tickets: 0, batch_size, idle: 0, closed: false });
        let queue = Queue {
            state,
            arrived: Condvar::new(),
            limits,
            saturation: Saturation::default(),
            statistics: Arc::default(),
        };
        let batcher = Batcher { queue: Arc::new(queue), batched };
        for (n, graph) in graphs.into_iter().enumerate() {
            let (queue, on_batch) = (batcher.queue.clone(), on_batch.clone());
            std::thread::Builder::new()
                .name(format!("nn-{model}-{n}"))
                .spawn(move || work(&queue, graph, on_batch.as_ref()))?;
        }
        Ok(batcher)
    }

    /// Computes `inputs`, which must fit the graph's signature. Dropping the future cancels a job that has not
    /// been started.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn compute(&self, inputs: Tensors, deadline: Instant) -> Result<Computed, Failure> {
        let submitted = Instant::now();
        let (reply, answer) = oneshot::channel();
        let kind = if self.batched && self.queue.limits.max_batch_size > 1 { BatchKey::of(&inputs) } else { None };
        let rows = rows(&inputs).filter(|_| self.batched).unwrap_or(1);
        let place = self.queue.push(Job { ticket: 0, inputs, kind, rows, submitted, deadline, reply })?;
        let answered = tokio::time::timeout_at(deadline.into(), answer).await;
        place.end(match answered {
            Ok(Ok(Ok(computed))) => End::Computed(computed),
            Ok(Ok(Err(error))) => End::Failed(Failure::Engine(error)),
            // A worker drops a job unanswered only when it found the deadline passed.
            Ok(Err(_)) => End::Dropped,
            Err(_) => End::Late,
        })
    }

    /// What this model has done.
    pub fn statistics(&self) -> &Arc<Statistics> {
        &self.queue.statistics
    }

    /// For how long its queue has been full; zero when it isn't.
    pub fn saturated_for(&self) -> Duration {
        self.queue.saturation.lasted()
    }

    /// Jobs that wait for an engine thread.
    pub fn waiting(&self) -> usize {
        self.queue.lock().jobs.len()
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.arrived.notify_all();
    }
}

impl Queue {
    /// Puts a job at the end. Whoever holds its place says how it ended.
    fn push(&self, mut job: Job) -> Result<PendingJob<'_>, Failure> {
        let submitted = job.submitted;
        let mut state = self.lock();
        if state.jobs.len() >= self.limits.queue_size {
            state.jobs.retain(Job::is_wanted);
        }
        if state.jobs.len() >= self.limits.queue_size {
            self.saturation.refused();
            self.statistics.failed(Reason::Rejected, submitted.elapsed());
            return Err(Failure::Overloaded(self.limits.queue_size));
        }
        state.tickets += 1;
        let ticket = state.tickets;
        job.ticket = ticket;
        state.jobs.push_back(job);
        self.statistics.waiting(state.jobs.len());
        drop(state);
        self.arrived.notify_one();
        Ok(PendingJob { queue: self, ticket, submitted, ended: false })
    }

    /// Takes a job out that is no longer wanted. Returns whether it was still waiting.
    fn leave(&self, ticket: u64) -> bool {
        let mut state = self.lock();
        let position = state.jobs.iter().position(|job| job.ticket == ticket);
        let job = position.and_then(|position| state.jobs.remove(position));
        self.shrank(state.jobs.len());
        // Its tensors are freed without the lock.
        drop(state);
        job.is_some()
    }

    /// The next batch of jobs that somebody still waits for; `None` when the queue is closed.
    fn pop(&self) -> Option<(Vec<Job>, Release)> {
        let mut state = self.lock();
        loop {
            let policy =
                Policy { max_batch_size: state.batch_size.rows(), max_queue_delay: self.limits.max_queue_delay };
            if state.closed {
                return None;
            }
            state.jobs.retain(Job::is_wanted);
            let waiting: Vec<_> = state.jobs.iter().map(Job::as_waiting).collect();
            let now = Instant::now();
            let decision = policy::decide(policy, &waiting, (state.idle, now));
            let taken = if let Decision::Run(taken, _) = &decision { state.take(taken) } else { Vec::new() };
            self.shrank(state.jobs.len());
            let until = match decision {
                Decision::Run(_, release) => return Some((taken, release)),
                Decision::WaitUntil(due) => Some(due.saturating_duration_since(now)),
                Decision::Idle => None,
            };
            state = self.wait(state, until);
        }
    }

    /// Jobs may have left the queue, to be computed or given up.
    fn shrank(&self, waiting: usize) {
        self.saturation.shrank(waiting, self.limits.queue_size);
        self.statistics.waiting(waiting);
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>, at_most: Option<Duration>) -> MutexGuard<'a, State> {
        state.idle += 1;
        let mut state = match at_most {
            Some(time) => self.arrived.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.idle -= 1;
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the jobs at these ascending positions; the others keep their order.
    fn take(&mut self, positions: &[usize]) -> Vec<Job> {
        let mut taken = Vec::with_capacity(positions.len());
        for (already, position) in positions.iter().enumerate() {
            taken.extend(self.jobs.remove(position - already));
        }
        taken
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed() && self.deadline > Instant::now()
    }

    fn as_waiting(&self) -> Waiting<&BatchKey> {
        Waiting { kind: self.kind.as_ref(), rows: self.rows, since: self.submitted }
    }
}

/// Whether axis 0 of every input and output is open, and so counts rows.
fn is_batched(signature: &Signature) -> bool {
    let mut specs = signature.inputs.iter().chain(&signature.outputs);
    specs.all(|spec| spec.shape.first() == Some(&-1))
}

fn work(queue: &Queue, mut graph: Box<dyn Graph>, on_batch: &OnBatch) {
    while let Some((jobs, release)) = queue.pop() {
        let started = Instant::now();
        let rows: Vec<usize> = jobs.iter().map(|job| job.rows).collect();
        let batch_size = rows.iter().sum();
        let result = compute(graph.as_mut(), &jobs, &rows);
        let computing = started.elapsed();
        let succeeded = result.is_ok();
        if let Ok((_, steps)) = &result {
            queue.statistics.executed(batch_size, steps);
        }
        on_batch(batch_size, release);
        reply(jobs, result, (started, computing, batch_size));
        // Nobody waits for this.
        if succeeded {
            queue.lock().batch_size.ran(batch_size, computing);
        }
    }
}

/// What one engine call gave to each job, and its steps.
type Results = Result<(Vec<Tensors>, Steps), ComputeError>;

/// One engine call for all of `jobs`. A panic in an engine is that batch's failure, not the thread's end.
fn compute(graph: &mut dyn Graph, jobs: &[Job], rows: &[usize]) -> Results {
    catch_unwind(AssertUnwindSafe(|| run(graph, jobs, rows)))
        .unwrap_or_else(|_| Err(ComputeError("the engine panicked; its message is in the log".to_owned())))
}

fn run(graph: &mut dyn Graph, jobs: &[Job], rows: &[usize]) -> Results {
    let started = Instant::now();
    let stacked;
    let inputs = match jobs {
        [job] => &job.inputs,
        jobs => {
            stacked = stack(jobs.iter().map(|job| &job.inputs));
            &stacked
        }
    };
    let ready = Instant::now();
    let outputs = graph.compute(inputs)?;
    let inferred = Instant::now();
    let parts = match jobs {
        [_] => vec![outputs],
        _ => split(outputs, rows).map_err(ComputeError)?,
    };
    let steps = Steps { input: ready - started, infer: inferred - ready, output: inferred.elapsed() };
    Ok((parts, steps))
}

/// Callers may have left meanwhile; then nobody is to be told.
fn reply(jobs: Vec<Job>, results: Results, (started, computing, batch_size): (Instant, Duration, usize)) {
    let mut outputs = results.map(|(outputs, steps)| (outputs.into_iter(), steps));
    for job in jobs {
        let queued = started - job.submitted;
        let answer = match &mut outputs {
            Ok((outputs, steps)) => outputs
                .next()
                .map(|outputs| Computed { outputs, queued, computing, steps: *steps, batch_size })
                .ok_or_else(|| ComputeError("the batch had fewer outputs than jobs".to_owned())),
            Err(error) => Err(error.clone()),
        };
        let _ = job.reply.send(answer);
    }
}

#[cfg(test)]
mod tests;
