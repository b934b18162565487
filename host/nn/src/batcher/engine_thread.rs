//! The loop of an engine thread, which owns one handle of a graph and computes batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Release;
use modelfn_telemetry::metrics::statistics::Steps;

use super::outcome::Computed;
use super::queue::{Job, Queue};
use crate::backend::{Canceller, ComputeError, Graph};
use crate::stack::{split, stack};
use crate::tensor::Tensors;

/// Called after each batch with its number of rows, and why it was released.
pub type OnBatch = dyn Fn(usize, Release) + Send + Sync;

/// The outputs of each job of a batch, and the durations of the engine call's steps.
type BatchResult = Result<(Vec<Tensors>, Steps), ComputeError>;

/// When and for how long a batch was computed.
#[derive(Clone, Copy)]
struct BatchRun {
    started: Instant,
    computing: Duration,
    batch_size: usize,
}

/// What an engine thread works with.
struct EngineThread<'a> {
    queue: &'a Queue,
    graph: Box<dyn Graph>,
    canceller: Arc<dyn Canceller>,
    on_batch: &'a OnBatch,
}

/// Computes batches until the queue is closed.
pub(super) fn run(queue: &Queue, graph: Box<dyn Graph>, on_batch: &OnBatch) {
    let canceller = graph.canceller();
    let mut thread = EngineThread { queue, graph, canceller, on_batch };
    while let Some((jobs, release)) = queue.pop(&thread.canceller) {
        let others = queue.crash_search.read().unwrap_or_else(PoisonError::into_inner);
        let (result, run) = thread.compute(&jobs, release);
        drop(others);
        match result {
            Err(ComputeError::Failed(_)) if jobs.len() > 1 => thread.compute_one_by_one(jobs),
            Err(ComputeError::Crashed(_)) => {
                // The guilty job is among those that any thread computed when the process ended: each of them is
                // computed again while no other is.
                let _alone = queue.crash_search.write().unwrap_or_else(PoisonError::into_inner);
                thread.compute_one_by_one(jobs);
            }
            result => reply(jobs, result, run),
        }
    }
}

impl EngineThread<'_> {
    /// Computes the jobs of a batch that failed once more, each alone, so that only the guilty fail.
    fn compute_one_by_one(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            if self.queue.begin_again(&job, &self.canceller) {
                let job = vec![job];
                let (result, run) = self.compute(&job, Release::Alone);
                reply(job, result, run);
            }
        }
    }

    fn compute(&mut self, jobs: &[Job], release: Release) -> (BatchResult, BatchRun) {
        let started = Instant::now();
        let rows: Vec<usize> = jobs.iter().map(|job| job.rows).collect();
        let batch_size = rows.iter().sum();
        let result = compute_caught(self.graph.as_mut(), jobs, &rows);
        let computing = started.elapsed();
        self.queue.finished(&self.canceller);
        if let Ok((_, steps)) = &result {
            self.queue.statistics.executed(batch_size, steps);
            self.queue.observe_batch(batch_size, computing);
        }
        (self.on_batch)(batch_size, release);
        (result, BatchRun { started, computing, batch_size })
    }
}

/// One engine call for all of `jobs`. A panic in the engine fails the batch, and does not end the thread.
fn compute_caught(graph: &mut dyn Graph, jobs: &[Job], rows: &[usize]) -> BatchResult {
    catch_unwind(AssertUnwindSafe(|| compute(graph, jobs, rows)))
        .unwrap_or_else(|_| Err(ComputeError::Failed("the engine panicked; its message is in the log".to_owned())))
}

fn compute(graph: &mut dyn Graph, jobs: &[Job], rows: &[usize]) -> BatchResult {
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
        _ => split(outputs, rows).map_err(ComputeError::Failed)?,
    };
    let steps = Steps { input: ready - started, infer: inferred - ready, output: inferred.elapsed() };
    Ok((parts, steps))
}

/// Sends each job's result to its caller. Callers may have dropped their receivers meanwhile.
fn reply(jobs: Vec<Job>, result: BatchResult, run: BatchRun) {
    let BatchRun { started, computing, batch_size } = run;
    let mut outputs = result.map(|(outputs, steps)| (outputs.into_iter(), steps));
    for job in jobs {
        let queued = started - job.submitted;
        let result = match &mut outputs {
            Ok((outputs, steps)) => outputs
                .next()
                .map(|outputs| Computed { outputs, queued, computing, steps: *steps, batch_size })
                .ok_or_else(|| ComputeError::Failed("the batch had fewer outputs than jobs".to_owned())),
            Err(error) => Err(error.clone()),
        };
        let _ = job.reply.send(result);
    }
}
