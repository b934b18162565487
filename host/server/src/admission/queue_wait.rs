//! How long a request will wait for an instance, estimated from the pace of the queue.
//!
//! A request whose deadline would pass in the queue is refused at once: work for a client who has given up would take the
//! place of work that another client still waits for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Dequeue intervals that an estimate needs at least.
const MIN_INTERVALS: u32 = 8;
/// The weight of the latest interval in the moving average.
const LATEST_WEIGHT: f64 = 1.0 / 16.0;
/// Estimates older than this are discarded.
const STALE: Duration = Duration::from_secs(2);

/// An exponentially weighted moving average of the interval between two requests leaving the queue.
#[derive(Default)]
pub(crate) struct QueueWaitEstimator(Mutex<Average>);

#[derive(Default)]
struct Average {
    /// When the last request left the queue, if others were still waiting then.
    last: Option<Instant>,
    /// The average interval in seconds.
    interval: f64,
    /// Intervals in the average.
    intervals: u32,
}

impl QueueWaitEstimator {
    /// A request left the queue with an instance, and `waiting` others still wait.
    pub(crate) fn dequeued(&self, now: Instant, waiting: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget_old(now);
        if let Some(last) = state.last {
            let interval = now.saturating_duration_since(last).as_secs_f64();
            // The plain mean of the first intervals, then a moving average.
            let weight = f64::max(LATEST_WEIGHT, 1.0 / f64::from(state.intervals + 1));
            state.interval += (interval - state.interval) * weight;
            state.intervals = state.intervals.saturating_add(1);
        }
        // Once the queue is empty, the time until the next request leaves it says nothing about its pace.
        state.last = (waiting > 0).then_some(now);
    }

    /// How long it takes until `ahead` other requests have left; zero while that is not known.
    pub(crate) fn estimate(&self, now: Instant, ahead: usize) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget_old(now);
        if state.intervals < MIN_INTERVALS {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(state.interval).saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }
}

impl Average {
    /// Discards a stale average, and one of a queue that has been empty since.
    fn forget_old(&mut self, now: Instant) {
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > STALE) {
            *self = Average::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    fn at(start: Instant, steps: u32) -> Instant {
        start + STEP * steps
    }

    #[test]
    fn a_line_that_moves_steadily_is_foreseen() {
        let (queue_wait, start) = (QueueWaitEstimator::default(), Instant::now());
        for n in 0..MIN_INTERVALS {
            queue_wait.dequeued(at(start, n), 5);
            assert_eq!(queue_wait.estimate(at(start, n), 100), Duration::ZERO, "too early to tell");
        }
        queue_wait.dequeued(at(start, MIN_INTERVALS), 5);
        let foreseen = queue_wait.estimate(at(start, MIN_INTERVALS), 100);
        assert!(foreseen.abs_diff(STEP * 100) < Duration::from_millis(1), "{foreseen:?}");
    }

    #[test]
    fn what_is_old_or_was_no_line_is_forgotten() {
        let (queue_wait, start) = (QueueWaitEstimator::default(), Instant::now());
        (0..20).for_each(|n| queue_wait.dequeued(at(start, n), 5));
        assert!(queue_wait.estimate(at(start, 20), 1) > Duration::ZERO);
        assert_eq!(queue_wait.estimate(at(start, 20) + STALE, 1), Duration::ZERO);

        (0..20).for_each(|n| queue_wait.dequeued(at(start, 1000 + n), 5));
        queue_wait.dequeued(at(start, 1020), 0);
        assert_eq!(queue_wait.estimate(at(start, 1021), 1), Duration::ZERO, "the line was empty");
    }

    #[test]
    fn a_change_is_followed() {
        let (queue_wait, start) = (QueueWaitEstimator::default(), Instant::now());
        (0..50).for_each(|n| queue_wait.dequeued(at(start, n), 5));
        (0..100).for_each(|n| queue_wait.dequeued(at(start, 50 + 4 * n), 5));
        let foreseen = queue_wait.estimate(at(start, 450), 1);
        assert!(foreseen.abs_diff(STEP * 4) < Duration::from_millis(1), "{foreseen:?}");
    }
}
