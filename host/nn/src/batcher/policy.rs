//! When a batch is released, and what is in it: a pure function of queue, clock and limits.
//!
//! Nothing waits for company unless `max_queue_delay` says so: with 0, batches form of what queued while every
//! instance was busy. What waits is shared between the instances that are free, so that one does not take all and
//! leave the others idle: on a CPU a batch of eight takes about as long as eight runs.

use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Release;

/// The limits of a model's batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// The most rows (sizes of axis 0) of one batch.
    pub(super) max_batch_size: usize,
    /// How long the oldest job may wait for company.
    pub(super) max_queue_delay: Duration,
}

/// A job that waits, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting<K> {
    /// Only jobs of equal kind stack: names, types and shapes but for axis 0. `None` never stacks.
    pub(super) kind: Option<K>,
    /// Its size of axis 0.
    pub(super) rows: usize,
    /// When it came.
    pub(super) since: Instant,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Run these together: positions in the queue, ascending, the first always 0.
    Run(Vec<usize>, Release),
    /// Look again then, or when another job comes.
    WaitUntil(Instant),
    /// Nothing waits.
    Idle,
}

/// Decides for one instance, while `idle` others are free as well.
pub(super) fn decide<K: PartialEq>(policy: Policy, queue: &[Waiting<K>], (idle, now): (usize, Instant)) -> Decision {
    let Some(first) = queue.first() else { return Decision::Idle };
    if first.kind.is_none() {
        return Decision::Run(vec![0], Release::Alone);
    }
    let alike = || queue.iter().enumerate().filter(|(_, job)| job.kind == first.kind);
    let waiting: usize = alike().map(|(_, job)| job.rows).sum();
    let share = waiting.div_ceil(idle + 1).clamp(1, policy.max_batch_size);
    let mut rows = 0;
    let taken: Vec<usize> = alike()
        .take_while(|(position, job)| {
            rows += job.rows;
            *position == 0 || rows <= share
        })
        .map(|(position, _)| position)
        .collect();
    let due = first.since + policy.max_queue_delay;
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

    /// A queue of (kind, rows, milliseconds since it came); kind 0 never stacks.
    fn queue(now: Instant, jobs: &[(u8, usize, u64)]) -> Vec<Waiting<u8>> {
        let job = |&(kind, rows, ago): &(u8, usize, u64)| Waiting {
            kind: (kind > 0).then_some(kind),
            rows,
            since: now - Duration::from_millis(ago),
        };
        jobs.iter().map(job).collect()
    }

    #[test]
    fn the_table() {
        let now = Instant::now() + Duration::from_secs(10);
        let run = |taken: &[usize], why| Decision::Run(taken.to_vec(), why);
        use Release::{Alone, Due, Full};
        for (name, delay, idle, jobs, expected) in [
            ("nothing waits", 0, 0, &[][..], Decision::Idle),
            ("one job, no delay", 0, 0, &[(1, 1, 0)], run(&[0], Due)),
            ("what queued runs together", 0, 0, &[(1, 1, 9), (1, 1, 5), (1, 1, 0)], run(&[0, 1, 2], Due)),
            ("up to the largest batch", 0, 0, &[(1, 1, 0); 6], run(&[0, 1, 2, 3], Full)),
            ("exactly the largest batch", 0, 0, &[(1, 1, 0); 4], run(&[0, 1, 2, 3], Full)),
            ("rows count, not jobs", 0, 0, &[(1, 3, 0), (1, 2, 0), (1, 1, 0)], run(&[0], Full)),
            ("a job of more rows than a share runs", 0, 1, &[(1, 3, 0)], run(&[0], Due)),
            ("other kinds keep their places", 0, 0, &[(1, 1, 0), (2, 1, 0), (1, 1, 0)], run(&[0, 2], Due)),
            ("the oldest decides the kind", 0, 0, &[(2, 1, 0), (1, 1, 0), (1, 1, 0)], run(&[0], Due)),
            ("what can't stack runs alone", 0, 0, &[(0, 1, 0), (0, 1, 0)], run(&[0], Alone)),
            ("idle instances share", 0, 1, &[(1, 1, 0); 4], run(&[0, 1], Full)),
            ("an odd one is not left behind", 0, 1, &[(1, 1, 0); 3], run(&[0, 1], Due)),
            ("a delay waits", 5, 0, &[(1, 1, 3)], Decision::WaitUntil(now + Duration::from_millis(2))),
            ("a delay that has passed does not", 5, 0, &[(1, 1, 5), (1, 1, 1)], run(&[0, 1], Due)),
            ("a full batch does not wait", 5, 0, &[(1, 1, 0); 5], run(&[0, 1, 2, 3], Full)),
        ] {
            let policy = Policy { max_batch_size: 4, max_queue_delay: Duration::from_millis(delay) };
            assert_eq!(decide(policy, &queue(now, jobs), (idle, now)), expected, "{name}");
        }
    }
}
