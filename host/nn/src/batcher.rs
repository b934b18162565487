//! Dynamic batching: a bounded queue for each model, and threads that each own a handle of the graph.
//!
//! An engine thread takes a batch from the queue, stacks its jobs, computes, and splits the outputs. No lock is held
//! meanwhile. Guests compute one item at a time: what is stacked are jobs that were queued while every thread was busy.
//! Jobs whose caller has left or whose deadline has passed leave the queue before a batch is formed. A caller awaits a
//! oneshot channel and blocks no thread.

mod batch_size;
mod engine_thread;
mod outcome;
mod pending_job;
mod policy;
mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub use self::engine_thread::OnBatch;
pub use self::outcome::{Computed, Failure};
use self::pending_job::{JobEnd, PendingJob};
pub use self::queue::BatcherLimits;
use self::queue::{Job, Queue};
use super::backend::Graph;
use super::stack::BatchKey;
use super::tensor::{Tensors, rows};
use modelfn_telemetry::metrics::statistics::Statistics;

/// The queue and the engine threads of one model. Dropping it ends the threads.
pub struct Batcher {
    queue: Arc<Queue>,
    /// Whether axis 0 of all tensors counts rows.
    batched: bool,
}

impl Batcher {
    /// Starts a thread for each of `graphs`, which are handles to the same graph.
    ///
    /// # Errors
    ///
    /// A thread can't be spawned.
    pub fn start(
        model: &str,
        graphs: Vec<Box<dyn Graph>>,
        limits: BatcherLimits,
        on_batch: Arc<OnBatch>,
    ) -> std::io::Result<Batcher> {
        let batched = graphs.first().is_some_and(|graph| graph.signature().is_batched());
        let batcher = Batcher { queue: Arc::new(Queue::new(limits)), batched };
        for (n, graph) in graphs.into_iter().enumerate() {
            let (queue, on_batch) = (batcher.queue.clone(), on_batch.clone());
            std::thread::Builder::new()
                .name(format!("nn-{model}-{n}"))
                .spawn(move || engine_thread::run(&queue, graph, on_batch.as_ref()))?;
        }
        Ok(batcher)
    }

    /// Computes `inputs`, which must fit the graph's signature. Dropping the future cancels a job that no engine thread
    /// has taken yet.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn compute(&self, inputs: Tensors, deadline: Instant) -> Result<Computed, Failure> {
        let submitted = Instant::now();
        let (reply, receiver) = oneshot::channel();
        let key = if self.batched && self.queue.limits.max_batch_size > 1 { BatchKey::of(&inputs) } else { None };
        let rows = rows(&inputs).filter(|_| self.batched).unwrap_or(1);
        let id = self.queue.push(Job { id: 0, inputs, key, rows, submitted, deadline, reply })?;
        let pending = PendingJob { queue: &self.queue, id, submitted, ended: false };
        let received = tokio::time::timeout_at(deadline.into(), receiver).await;
        pending.end(match received {
            Ok(Ok(Ok(computed))) => JobEnd::Computed(computed),
            Ok(Ok(Err(error))) => JobEnd::Failed(Failure::Engine(error)),
            // An engine thread drops a job without a reply only when the deadline has passed.
            Ok(Err(_)) => JobEnd::Dropped,
            Err(_) => JobEnd::TimedOut,
        })
    }

    /// The statistics of this model.
    pub fn statistics(&self) -> &Arc<Statistics> {
        &self.queue.statistics
    }

    /// For how long the queue has been saturated; zero while it isn't.
    pub fn saturated_for(&self) -> Duration {
        self.queue.saturation.lasted()
    }

    /// The number of jobs in the queue.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
