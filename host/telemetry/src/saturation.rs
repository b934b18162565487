//! Since when a bounded line has been too long: what tells a burst from a server that can't keep up.
//!
//! A line is saturated from the first one that it has no place for until it has shrunk to half of its places.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether one line is saturated. Costs an atomic read where it isn't.
#[derive(Debug, Default)]
pub struct Saturation {
    /// Milliseconds after `START`, from 1; 0 when it isn't saturated.
    since: AtomicU64,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Saturation {
    /// Somebody found no place.
    pub fn refused(&self) {
        let now = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        // The first one counts.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Somebody left the line, which now has `waiting` of `places`.
    pub fn shrank(&self, waiting: usize, places: usize) {
        if self.since.load(Ordering::Relaxed) != 0 && waiting <= places / 2 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// For how long it has been saturated; zero when it isn't.
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
