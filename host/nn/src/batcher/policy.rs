//! Decides when a batch is released and which jobs are in it: a pure function of queue, clock and limits.
//!
//! With a `max_queue_delay` of 0 no job waits for others, and batches form from jobs that were queued while every
//! instance was busy. Queued jobs are shared between the idle instances, so that one instance does not take all of them
//! and leave the others idle: on a CPU a batch of eight takes about as long as eight runs.

use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Release;

/// The limits of the next batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// The most rows (sizes of axis 0) of one batch.
    pub(super) max_batch_size: usize,
    /// How long the oldest job may wait for others to stack with.
    pub(super) max_queue_delay: Duration,
}

/// The properties of a queued job that the policy depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueuedJob<K> {
    /// Jobs stack if their keys are equal. A job without a key runs alone.
    pub(super) key: Option<K>,
    /// The size of axis 0.
    pub(super) rows: usize,
    /// When the job was submitted.
    pub(super) submitted: Instant,
}

/// What an instance does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Run the jobs at these positions of the queue, which are ascending and start with 0.
    Run(Vec<usize>, Release),
    /// Decide again at this time, or when another job arrives.
    WaitUntil(Instant),
    /// The queue is empty.
    Idle,
}

/// Decides for one instance, while `idle` other instances wait for jobs as well.
pub(super) fn decide<K: PartialEq>(policy: Policy, queue: &[QueuedJob<K>], idle: usize, now: Instant) -> Decision {
    let Some(first) = queue.first() else { return Decision::Idle };
    if first.key.is_none() {
        return Decision::Run(vec![0], Release::Alone);
    }
    let alike = || queue.iter().enumerate().filter(|(_, job)| job.key == first.key);
    let waiting: usize = alike().map(|(_, job)| job.rows).sum();
    let share = waiting.div_ceil(idle + 1).clamp(1, policy.max_batch_size);
    let mut rows = 0;
    let mut taken = Vec::new();
    for (position, job) in alike() {
        rows += job.rows;
        if position > 0 && rows > share {
            break;
        }
        taken.push(position);
    }
    let due = first.submitted + policy.max_queue_delay;
    if waiting >= policy.max_batch_size {
        Decision::Run(taken, Release::Full)
    } else if due <= now {
        Decision::Run(taken, Release::Due)
    } else {
        Decision::WaitUntil(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of (key, rows, milliseconds since the job was submitted). Key 0 stands for a job without a key.
    fn queue(now: Instant, jobs: &[(u8, usize, u64)]) -> Vec<QueuedJob<u8>> {
        let job = |&(key, rows, ago): &(u8, usize, u64)| QueuedJob {
            key: (key > 0).then_some(key),
            rows,
            submitted: now - Duration::from_millis(ago),
        };
        jobs.iter().map(job).collect()
    }

    #[test]
    fn decisions() {
        let now = Instant::now() + Duration::from_secs(10);
        let run = |taken: &[usize], why| Decision::Run(taken.to_vec(), why);
        use Release::{Alone, Due, Full};
        for (name, delay, idle, jobs, expected) in [
            ("an empty queue", 0, 0, &[][..], Decision::Idle),
            ("one job, no delay", 0, 0, &[(1, 1, 0)], run(&[0], Due)),
            ("what queued runs together", 0, 0, &[(1, 1, 9), (1, 1, 5), (1, 1, 0)], run(&[0, 1, 2], Due)),
            ("up to the largest batch", 0, 0, &[(1, 1, 0); 6], run(&[0, 1, 2, 3], Full)),
            ("exactly the largest batch", 0, 0, &[(1, 1, 0); 4], run(&[0, 1, 2, 3], Full)),
            ("rows count, not jobs", 0, 0, &[(1, 3, 0), (1, 2, 0), (1, 1, 0)], run(&[0], Full)),
            ("a job of more rows than a share runs", 0, 1, &[(1, 3, 0)], run(&[0], Due)),
            ("jobs of other keys stay in the queue", 0, 0, &[(1, 1, 0), (2, 1, 0), (1, 1, 0)], run(&[0, 2], Due)),
            ("the oldest job decides the key", 0, 0, &[(2, 1, 0), (1, 1, 0), (1, 1, 0)], run(&[0], Due)),
            ("what can't stack runs alone", 0, 0, &[(0, 1, 0), (0, 1, 0)], run(&[0], Alone)),
            ("idle instances share", 0, 1, &[(1, 1, 0); 4], run(&[0, 1], Full)),
            ("an odd one is not left behind", 0, 1, &[(1, 1, 0); 3], run(&[0, 1], Due)),
            ("a delay waits", 5, 0, &[(1, 1, 3)], Decision::WaitUntil(now + Duration::from_millis(2))),
            ("a delay that has passed does not", 5, 0, &[(1, 1, 5), (1, 1, 1)], run(&[0, 1], Due)),
            ("a full batch does not wait", 5, 0, &[(1, 1, 0); 5], run(&[0, 1, 2, 3], Full)),
        ] {
            let policy = Policy { max_batch_size: 4, max_queue_delay: Duration::from_millis(delay) };
            assert_eq!(decide(policy, &queue(now, jobs), idle, now), expected, "{name}");
        }
    }
}
