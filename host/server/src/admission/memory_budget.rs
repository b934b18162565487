//! Bytes that the bodies of all requests share, and what JSON bodies become.
//!
//! Nobody waits for bytes: requests that waited for each other's would never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::problem::Problem;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::HeldBytes;

/// Bytes for everybody.
pub(crate) struct MemoryBudget {
    most: usize,
    held: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// What one request holds of them, until it's dropped.
pub(crate) struct Reservation {
    most: usize,
    all: Arc<AtomicUsize>,
    own: usize,
    counted: HeldBytes,
}

impl MemoryBudget {
    /// A budget of `most` bytes.
    pub(crate) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        MemoryBudget { most, held: Arc::default(), metrics }
    }

    /// Nothing yet.
    pub(crate) fn charge(&self) -> Reservation {
        Reservation { most: self.most, all: self.held.clone(), own: 0, counted: self.metrics.admission.held() }
    }
}

impl Reservation {
    /// Holds so many bytes more.
    ///
    /// # Errors
    ///
    /// The others leave less; or no others could leave enough. Then it holds what it held.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Problem> {
        let needed = self.own.saturating_add(bytes);
        if needed > self.most {
            return Err(Problem::NeverFits { needed, limit: self.most });
        }
        let more = |all: usize| all.checked_add(bytes).filter(|&sum| sum <= self.most);
        let held = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        held.map_err(|_| Problem::BodiesFull)?;
        self.own = needed;
        self.counted.add(bytes);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_charges_together_are_as_large_as_the_budget_and_no_larger() {
        let budget = MemoryBudget::new(100, Arc::default());
        let (mut one, mut other) = (budget.charge(), budget.charge());
        one.add(60).unwrap();
        assert!(matches!(other.add(41), Err(Problem::BodiesFull)));
        other.add(40).unwrap();
        assert!(matches!(other.add(1), Err(Problem::BodiesFull)));
        assert!(matches!(other.add(61), Err(Problem::NeverFits { needed: 101, limit: 100 })));
        assert!(matches!(other.add(usize::MAX), Err(Problem::NeverFits { .. })));
        drop(one);
        other.add(60).unwrap();
        drop(other);
        budget.charge().add(100).unwrap();
    }
}
