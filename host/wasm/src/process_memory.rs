//! The memory that all requests of the process may take together: one budget that every buffer reserves from.
//!
//! Request bodies, the linear memories and tensors of guests, and responses that nobody has read yet count. The program
//! itself, its models and its code do not: whoever sets the limit subtracts them. Nobody waits for memory, since requests
//! that waited for each other's would never end.
//!
//! A quarter is kept for small reservations, so that who needs much does not turn away who needs little.

use std::sync::Arc;

use bytes::Bytes;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::HeldBytes;

use super::concurrency_limit::{ConcurrencyLimit, Permit};

/// The budget. Clones share it.
#[derive(Clone)]
pub struct ProcessMemory {
    bytes: ConcurrencyLimit,
    metrics: Arc<Metrics>,
}

/// The divisor of the part that is kept for small reservations.
const KEPT_FOR_SMALL: usize = 4;

/// Bytes that are reserved until this is dropped.
pub struct MemoryReservation {
    permit: Permit,
    /// Up to this many bytes the reservation is small.
    small: usize,
    memory: ConcurrencyLimit,
    gauge: HeldBytes,
}

/// The budget has too few bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all requests together have reserved the memory that they may")]
pub struct MemoryFull;

impl ProcessMemory {
    /// A budget without a limit, which `metrics` show.
    pub fn unlimited(metrics: Arc<Metrics>) -> ProcessMemory {
        ProcessMemory { bytes: ConcurrencyLimit::new(usize::MAX), metrics }
    }

    /// Limits the budget to so many bytes. What is reserved stays reserved, also where that is more.
    pub fn set_limit(&self, bytes: usize) {
        self.bytes.set_most(bytes);
    }

    /// The bytes that may be reserved.
    pub fn limit(&self) -> usize {
        self.bytes.most()
    }

    /// Bytes that are reserved.
    pub fn reserved(&self) -> usize {
        self.bytes.in_use()
    }

    /// A reservation of no bytes, to be grown. Up to `small` bytes of it may be of the part that is kept for small ones.
    pub fn reservation(&self, small: usize) -> MemoryReservation {
        let (permit, gauge) = (self.bytes.empty_permit(), self.metrics.admission.reserved());
        MemoryReservation { permit, small, memory: self.bytes.clone(), gauge }
    }

    /// The same bytes, reserved until the last clone and slice of the result is dropped. Up to `small` bytes may be of the
    /// part that is kept for small reservations.
    ///
    /// # Errors
    ///
    /// There is no room for them. The bytes are dropped.
    pub fn hold(&self, bytes: Bytes, small: usize) -> Result<Bytes, MemoryFull> {
        let mut reservation = self.reservation(small);
        reservation.grow(bytes.len())?;
        Ok(Bytes::from_owner(Held { bytes, _reservation: reservation }))
    }
}

/// Bytes of this process that are in memory, whoever took them; 0 where the kernel does not say.
pub fn resident() -> usize {
    let pages = || std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<usize>().ok();
    pages().unwrap_or(0).saturating_mul(rustix::param::page_size())
}

impl MemoryReservation {
    /// Reserves so many bytes more.
    ///
    /// # Errors
    ///
    /// There is no room for them; nothing changes.
    pub fn grow(&mut self, bytes: usize) -> Result<(), MemoryFull> {
        let most = self.memory.most();
        let is_small = self.permit.units().saturating_add(bytes) <= self.small;
        let most = if is_small { most } else { most - most / KEPT_FOR_SMALL };
        if !self.permit.try_grow_within(bytes, most) {
            return Err(MemoryFull);
        }
        self.gauge.add(bytes);
        Ok(())
    }

    /// Gives so many bytes back.
    pub fn shrink(&mut self, bytes: usize) {
        self.permit.shrink(bytes);
        self.gauge.remove(bytes);
    }
}

/// Bytes with their reservation.
struct Held {
    bytes: Bytes,
    _reservation: MemoryReservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_reserved_until_their_last_slice_is_gone() {
        let memory = ProcessMemory::unlimited(Arc::default());
        memory.set_limit(10);
        let held = memory.hold(Bytes::from_static(b"0123456789"), 10).unwrap();
        assert_eq!(memory.hold(Bytes::from_static(b"x"), 10), Err(MemoryFull));
        let slice = held.slice(9..);
        drop(held);
        assert_eq!((memory.reserved(), slice.as_ref()), (10, b"9".as_slice()));
        drop(slice);
        assert_eq!(memory.reserved(), 0);
    }

    #[test]
    fn a_reservation_grows_to_the_limit_and_shrinks() {
        let memory = ProcessMemory::unlimited(Arc::default());
        let mut reservation = memory.reservation(usize::MAX);
        reservation.grow(100).unwrap();
        memory.set_limit(50);
        assert_eq!((reservation.grow(1), memory.reserved()), (Err(MemoryFull), 100));
        reservation.shrink(60);
        reservation.grow(10).unwrap();
        assert_eq!((reservation.grow(1), memory.reserved()), (Err(MemoryFull), 50));
    }

    #[test]
    fn a_quarter_is_kept_for_small_reservations() {
        let memory = ProcessMemory::unlimited(Arc::default());
        memory.set_limit(100);
        let mut large = memory.reservation(10);
        large.grow(75).unwrap();
        assert_eq!(large.grow(1), Err(MemoryFull));
        let mut small = [memory.reservation(10), memory.reservation(10)];
        small[0].grow(10).unwrap();
        assert_eq!(small[0].grow(1), Err(MemoryFull), "it is not small any more");
        small[1].grow(10).unwrap();
        assert_eq!(memory.hold(Bytes::from_static(b"123456"), 10), Err(MemoryFull));
        assert!(memory.hold(Bytes::from_static(b"12345"), 10).is_ok());
    }
}
