//! For how long a bounded queue has been saturated, which distinguishes a burst from a server that can't keep up.
//!
//! A queue is saturated from the first rejection until it has shrunk to half of its capacity.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The saturation of one queue. Costs an atomic read while the queue isn't saturated.
#[derive(Debug, Default)]
pub struct Saturation {
    /// When the queue became saturated, in milliseconds after `START` plus 1; 0 while it isn't saturated.
    since: AtomicU64,
}

/// The zero of the clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Saturation {
    /// Records that the full queue rejected something.
    pub fn refused(&self) {
        let now = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        // Saturation lasts from the first rejection.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that something left the queue, which now holds `waiting` of `capacity`.
    pub fn shrank(&self, waiting: usize, capacity: usize) {
        if self.since.load(Ordering::Relaxed) != 0 && waiting <= capacity / 2 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// For how long the queue has been saturated; zero while it isn't.
    pub fn lasted(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => START.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_from_the_first_refusal_until_half_is_free() {
        let saturation = Saturation::default();
        assert_eq!(saturation.lasted(), Duration::ZERO);
        saturation.refused();
        std::thread::sleep(Duration::from_millis(3));
        saturation.refused();
        saturation.shrank(3, 4);
        assert!(saturation.lasted() >= Duration::from_millis(2));
        saturation.shrank(2, 4);
        assert_eq!(saturation.lasted(), Duration::ZERO);
    }
}
