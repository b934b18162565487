//! Statistics of one model since it was loaded, with Triton's meaning and names.
//!
//! A computation ends in exactly one way and is counted by its caller. An engine call is counted by the engine thread,
//! before the callers get their outputs. The statistics of the Open Inference Protocol and `/metrics` read the same
//! numbers. Recording takes no lock, except for a table that engine threads write once a batch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The statistics of one model.
#[derive(Debug, Default)]
pub struct Statistics {
    success: DurationCounter,
    queue: DurationCounter,
    steps: [DurationCounter; 3],
    failures: [DurationCounter; Reason::ALL.len()],
    waiting: AtomicUsize,
    /// When an engine call last succeeded, in milliseconds since 1970; 0 before the first.
    last_inference: AtomicU64,
    batches: Mutex<BTreeMap<usize, BatchSize>>,
}

/// Durations of the steps of an engine call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Stacking the inputs of a batch.
    pub input: Duration,
    /// Running in the engine, with the copies that it makes of inputs and outputs.
    pub infer: Duration,
    /// Splitting the outputs of the batch.
    pub output: Duration,
}

/// Why a computation failed, by Triton's `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full, or the deadline passed in the queue.
    Rejected,
    /// The caller dropped the computation.
    Canceled,
    /// The engine failed.
    Backend,
    /// The deadline passed while the engine computed.
    Other,
}

/// How often something happened, and how long that took altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// How often it happened.
    pub count: u64,
    /// The sum of the durations, in nanoseconds.
    pub ns: u64,
}

/// The engine calls of one batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the steps are described at `Steps`")]
pub struct BatchSize {
    pub compute_input: Total,
    pub compute_infer: Total,
    pub compute_output: Total,
}

/// The statistics at one time. The numbers are read one after the other, so that they may differ by what happens
/// between two reads.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Computations that succeeded, from the call to the outputs.
    pub success: Total,
    /// Failed computations, in the order of [`Reason::ALL`].
    pub failures: [Total; Reason::ALL.len()],
    /// Time in the queue, of computations that succeeded.
    pub queue: Total,
    /// [`Steps::input`] of computations that succeeded. Each computation of a batch counts the time of the whole batch.
    pub compute_input: Total,
    /// [`Steps::infer`], counted likewise.
    pub compute_infer: Total,
    /// [`Steps::output`], counted likewise.
    pub compute_output: Total,
    /// Computations in the queue now.
    pub waiting: usize,
    /// When an engine call last succeeded, in milliseconds since 1970; 0 before the first.
    pub last_inference: u64,
    /// Engine calls that succeeded, by their rows.
    pub batches: BTreeMap<usize, BatchSize>,
}

#[derive(Debug, Default)]
struct DurationCounter {
    count: AtomicU64,
    ns: AtomicU64,
}

impl Statistics {
    /// Records an engine call for `rows` rows that succeeded.
    pub fn executed(&self, rows: usize, steps: &Steps) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_inference.fetch_max(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut batches = self.batches();
        let batch = batches.entry(rows).or_default();
        batch.compute_input.add(steps.input);
        batch.compute_infer.add(steps.infer);
        batch.compute_output.add(steps.output);
    }

    /// Records a computation that succeeded `total` after the call, of which it spent `queued` in the queue.
    pub fn succeeded(&self, total: Duration, queued: Duration, steps: &Steps) {
        self.success.add(total);
        self.queue.add(queued);
        for (counter, time) in self.steps.iter().zip([steps.input, steps.infer, steps.output]) {
            counter.add(time);
        }
    }

    /// Records a computation that failed, `after` the call.
    pub fn failed(&self, reason: Reason, after: Duration) {
        self.failures[reason as usize].add(after);
    }

    /// Sets the number of computations in the queue.
    pub fn set_waiting(&self, computations: usize) {
        self.waiting.store(computations, Ordering::Relaxed);
    }

    /// Reads the current numbers.
    pub fn snapshot(&self) -> Snapshot {
        let [compute_input, compute_infer, compute_output] = self.steps.each_ref().map(DurationCounter::total);
        Snapshot {
            success: self.success.total(),
            failures: self.failures.each_ref().map(DurationCounter::total),
            queue: self.queue.total(),
            compute_input,
            compute_infer,
            compute_output,
            waiting: self.waiting.load(Ordering::Relaxed),
            last_inference: self.last_inference.load(Ordering::Relaxed),
            batches: self.batches().clone(),
        }
    }

    fn batches(&self) -> MutexGuard<'_, BTreeMap<usize, BatchSize>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Failed computations, for any reason.
    pub fn fail(&self) -> Total {
        self.failures.iter().fold(Total::default(), |sum, one| sum.plus(*one))
    }

    /// The number of engine calls that succeeded.
    pub fn executions(&self) -> u64 {
        self.batches.values().map(|batch| batch.compute_infer.count).sum()
    }

    /// The number of rows that the engine has computed.
    pub fn inferences(&self) -> u64 {
        self.batches.iter().map(|(rows, batch)| *rows as u64 * batch.compute_infer.count).sum()
    }
}

impl Reason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Reason; 4] = [Reason::Rejected, Reason::Canceled, Reason::Backend, Reason::Other];

    /// The value of Triton's label.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Rejected => "REJECTED",
            Reason::Canceled => "CANCELED",
            Reason::Backend => "BACKEND",
            Reason::Other => "OTHER",
        }
    }
}

impl Total {
    fn add(&mut self, time: Duration) {
        *self = self.plus(Total { count: 1, ns: nanoseconds(time) });
    }

    fn plus(self, other: Total) -> Total {
        Total { count: self.count + other.count, ns: self.ns.wrapping_add(other.ns) }
    }
}

impl DurationCounter {
    fn add(&self, time: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    fn total(&self) -> Total {
        Total { count: self.count.load(Ordering::Relaxed), ns: self.ns.load(Ordering::Relaxed) }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_computations_add_up() {
        let ms = Duration::from_millis;
        let statistics = Statistics::default();
        let steps = Steps { input: ms(1), infer: ms(5), output: ms(2) };
        statistics.executed(3, &steps);
        statistics.executed(3, &steps);
        statistics.executed(1, &steps);
        statistics.succeeded(ms(10), ms(2), &steps);
        statistics.failed(Reason::Backend, ms(4));
        statistics.failed(Reason::Rejected, ms(1));
        statistics.set_waiting(5);
        let seen = statistics.snapshot();
        assert_eq!((seen.inferences(), seen.executions(), seen.waiting), (7, 3, 5));
        assert_eq!(
            (seen.success, seen.fail()),
            (Total { count: 1, ns: 10_000_000 }, Total { count: 2, ns: 5_000_000 })
        );
        assert_eq!((seen.queue.ns, seen.compute_infer), (2_000_000, Total { count: 1, ns: 5_000_000 }));
        assert_eq!(seen.batches[&3].compute_output, Total { count: 2, ns: 4_000_000 });
        assert_eq!(seen.failures[Reason::Backend as usize].count, 1);
        assert!(seen.last_inference > 1_600_000_000_000, "milliseconds since 1970");
    }
}
