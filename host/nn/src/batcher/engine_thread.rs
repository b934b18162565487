//! The loop of an engine thread, which owns one handle of a graph and computes batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Release;
use modelfn_telemetry::metrics::statistics::Steps;

use super::outcome::Computed;
use super::queue::{Job, Queue};
use crate::backend::{ComputeError, Graph};
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

/// Computes batches until the queue is closed.
pub(super) fn run(queue: &Queue, mut graph: Box<dyn Graph>, on_batch: &OnBatch) {
    while let Some((jobs, release)) = queue.pop() {
        let started = Instant::now();
        let rows: Vec<usize> = jobs.iter().map(|job| job.rows).collect();
        let batch_size = rows.iter().sum();
        let result = compute_caught(graph.as_mut(), &jobs, &rows);
        let computing = started.elapsed();
        let succeeded = result.is_ok();
        if let Ok((_, steps)) = &result {
            queue.statistics.executed(batch_size, steps);
        }
        on_batch(batch_size, release);
        reply(jobs, result, BatchRun { started, computing, batch_size });
        // The tuner is told last, since no caller waits for it.
        if succeeded {
            queue.observe_batch(batch_size, computing);
        }
    }
}

/// One engine call for all of `jobs`. A panic in the engine fails the batch, and does not end the thread.
fn compute_caught(graph: &mut dyn Graph, jobs: &[Job], rows: &[usize]) -> BatchResult {
    catch_unwind(AssertUnwindSafe(|| compute(graph, jobs, rows)))
        .unwrap_or_else(|_| Err(ComputeError("the engine panicked; its message is in the log".to_owned())))
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
        _ => split(outputs, rows).map_err(ComputeError)?,
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
                .ok_or_else(|| ComputeError("the batch had fewer outputs than jobs".to_owned())),
            Err(error) => Err(error.clone()),
        };
        let _ = job.reply.send(result);
    }
}
