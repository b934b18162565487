//! How fast the line for instances moves. Who would come to their turn too late is told so at once: work that is done
//! for nobody takes the place of work that somebody still waits for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Turns that an estimate is made of at least.
const ENOUGH: u32 = 8;
/// The weight of the last one.
const LAST: f64 = 1.0 / 16.0;
/// An estimate that is older is none.
const STALE: Duration = Duration::from_secs(2);

/// The time between two turns, as far as it is known.
#[derive(Default)]
pub(crate) struct QueueWaitEstimator(Mutex<State>);

#[derive(Default)]
struct State {
    last: Option<Instant>,
    /// Seconds.
    interval: f64,
    turns: u32,
}

impl QueueWaitEstimator {
    /// Somebody who had waited got an instance, and `waiting` others still wait.
    pub(crate) fn dequeued(&self, now: Instant, waiting: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget_old(now);
        if let Some(last) = state.last {
            let interval = now.saturating_duration_since(last).as_secs_f64();
            // The mean of the first turns, then one that follows.
            let weight = f64::max(LAST, 1.0 / f64::from(state.turns + 1));
            state.interval += (interval - state.interval) * weight;
            state.turns = state.turns.saturating_add(1);
        }
        // Once the line is empty, the time to the next turn says nothing.
        state.last = (waiting > 0).then_some(now);
    }

    /// How long it takes until `ahead` others are done; nothing where that is not known.
    pub(crate) fn estimate(&self, now: Instant, ahead: usize) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget_old(now);
        if state.turns < ENOUGH {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(state.interval).saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }
}

impl State {
    /// Also of a line that was empty since.
    fn forget_old(&mut self, now: Instant) {
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > STALE) {
            *self = State::default();
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
        for n in 0..ENOUGH {
            queue_wait.dequeued(at(start, n), 5);
            assert_eq!(queue_wait.estimate(at(start, n), 100), Duration::ZERO, "too early to tell");
        }
        queue_wait.dequeued(at(start, ENOUGH), 5);
        let foreseen = queue_wait.estimate(at(start, ENOUGH), 100);
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
