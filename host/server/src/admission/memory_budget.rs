//! Bytes that the bodies of all requests share, and what JSON bodies become.
//!
//! Nobody waits for bytes: requests that waited for each other's bytes would never end.

use std::sync::Arc;

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::HeldBytes;

use super::concurrency_limit::{ConcurrencyLimit, Permit};
use crate::problem::Problem;

/// The bytes that all requests together may hold.
pub(crate) struct MemoryBudget {
    bytes: ConcurrencyLimit,
    metrics: Arc<Metrics>,
}

/// The bytes that one request holds until this is dropped.
pub(crate) struct Reservation {
    limit: usize,
    permit: Permit,
    gauge: HeldBytes,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        MemoryBudget { bytes: ConcurrencyLimit::new(limit), metrics }
    }

    /// A reservation of no bytes, to be grown.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation {
            limit: self.bytes.most(),
            permit: self.bytes.empty_permit(),
            gauge: self.metrics.admission.held(),
        }
    }
}

impl Reservation {
    /// Reserves so many bytes more.
    ///
    /// # Errors
    ///
    /// [`Problem::BodiesFull`] when the other requests leave less, [`Problem::NeverFits`] when no other requests could
    /// leave enough. The reservation stays as it was.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let needed = self.permit.units().saturating_add(bytes);
        if needed > self.limit {
            return Err(Problem::NeverFits { needed, limit: self.limit });
        }
        if !self.permit.try_grow(bytes) {
            return Err(Problem::BodiesFull);
        }
        self.gauge.add(bytes);
        Ok(())
    }

    /// Reserves `bytes` in place of what was reserved.
    ///
    /// # Errors
    ///
    /// As [`Reservation::grow`]; nothing is reserved then.
    pub(crate) fn replace(&mut self, bytes: usize) -> Result<(), Problem> {
        self.permit.release();
        self.gauge.release();
        self.grow(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reservations_together_are_as_large_as_the_budget_and_no_larger() {
        let budget = MemoryBudget::new(100, Arc::default());
        let (mut one, mut other) = (budget.reserve(), budget.reserve());
        one.grow(60).unwrap();
        assert!(matches!(other.grow(41), Err(Problem::BodiesFull)));
        other.grow(40).unwrap();
        assert!(matches!(other.grow(1), Err(Problem::BodiesFull)));
        assert!(matches!(other.grow(61), Err(Problem::NeverFits { needed: 101, limit: 100 })));
        assert!(matches!(other.grow(usize::MAX), Err(Problem::NeverFits { .. })));
        one.replace(50).unwrap();
        assert!(matches!(other.grow(11), Err(Problem::BodiesFull)));
        drop(one);
        other.grow(60).unwrap();
        drop(other);
        budget.reserve().grow(100).unwrap();
    }
}
