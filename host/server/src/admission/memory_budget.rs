//! Bytes that the bodies of all requests share, and what JSON bodies become. They are a part of the memory of all requests.
//!
//! Nobody waits for bytes: requests that waited for each other's bytes would never end.

use std::sync::Arc;

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::HeldBytes;

use modelfn_wasm::process_memory::{MemoryReservation, ProcessMemory};

use super::concurrency_limit::{ConcurrencyLimit, Permit};
use crate::problem::Problem;

/// Bytes of a body that are a small reservation.
const SMALL_BODY: usize = 256 << 10;

/// The bytes that all requests together may hold.
pub(crate) struct MemoryBudget {
    bytes: ConcurrencyLimit,
    memory: ProcessMemory,
    metrics: Arc<Metrics>,
}

/// The bytes that one request holds until this is dropped.
pub(crate) struct Reservation {
    limit: usize,
    permit: Permit,
    memory: MemoryReservation,
    gauge: HeldBytes,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, and of half of `memory` at most.
    pub(crate) fn new(limit: usize, memory: ProcessMemory, metrics: Arc<Metrics>) -> Self {
        MemoryBudget { bytes: ConcurrencyLimit::new(limit), memory, metrics }
    }

    /// A reservation of no bytes, to be grown.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation {
            // Guests that get the bodies need as much again.
            limit: self.bytes.most().min(self.memory.limit() / 2),
            permit: self.bytes.empty_permit(),
            memory: self.memory.reservation(SMALL_BODY),
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
    /// leave enough, [`Problem::MemoryFull`] when all memory is reserved. The reservation stays as it was.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let needed = self.permit.units().saturating_add(bytes);
        if needed > self.limit {
            return Err(Problem::NeverFits { needed, limit: self.limit });
        }
        if !self.permit.try_grow_within(bytes, self.limit) {
            return Err(Problem::BodiesFull);
        }
        if self.memory.grow(bytes).is_err() {
            self.permit.shrink(bytes);
            return Err(Problem::MemoryFull);
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
        let reserved = self.permit.units();
        self.permit.shrink(reserved);
        self.memory.shrink(reserved);
        self.gauge.remove(reserved);
        self.grow(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reservations_together_are_as_large_as_the_budget_and_no_larger() {
        let budget = MemoryBudget::new(100, ProcessMemory::unlimited(Arc::default()), Arc::default());
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

    #[test]
    fn bodies_are_a_part_of_the_memory_of_all_requests() {
        let memory = ProcessMemory::unlimited(Arc::default());
        memory.set_limit(100);
        let mut of_guests = memory.reservation(usize::MAX);
        of_guests.grow(70).unwrap();
        let budget = MemoryBudget::new(100, memory.clone(), Arc::default());
        let mut reservation = budget.reserve();
        reservation.grow(30).unwrap();
        assert!(matches!(reservation.grow(20), Err(Problem::MemoryFull)));
        assert!(matches!(reservation.grow(21), Err(Problem::NeverFits { needed: 51, limit: 50 })));
        assert_eq!(memory.reserved(), 100);
        drop(of_guests);
        reservation.grow(20).unwrap();
        assert!(matches!(budget.reserve().grow(1), Err(Problem::BodiesFull)));
        drop(reservation);
        assert_eq!(memory.reserved(), 0);
        memory.set_limit(usize::MAX);
        budget.reserve().grow(100).unwrap();
    }
}
