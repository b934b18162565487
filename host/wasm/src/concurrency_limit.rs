//! A limit of how much of something may be in use at the same time: the one gate that all limits are made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts units in use (requests, queue slots, bytes) and refuses more than a limit. Nobody waits here.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    /// `usize::MAX` is no limit.
    most: AtomicUsize,
    in_use: AtomicUsize,
}

/// Units of a [`ConcurrencyLimit`] that are in use until this is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    units: usize,
}

impl ConcurrencyLimit {
    /// A limit of `most` units, none of which is in use.
    pub fn new(most: usize) -> Self {
        ConcurrencyLimit(Arc::new(Gate { most: AtomicUsize::new(most), in_use: AtomicUsize::new(0) }))
    }

    /// The most units that may be in use.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// Changes the limit. Units that are in use stay in use, also where there are more of them now.
    pub fn set_most(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// Units in use.
    pub fn in_use(&self) -> usize {
        self.0.in_use.load(Ordering::Relaxed)
    }

    /// One unit, unless all are in use.
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut permit = self.empty_permit();
        permit.try_grow(1).then_some(permit)
    }

    /// A permit of no units, for [`Permit::try_grow`].
    pub fn empty_permit(&self) -> Permit {
        Permit { gate: self.0.clone(), units: 0 }
    }
}

impl Permit {
    /// Takes so many units more. Returns whether there were as many; otherwise nothing changes.
    pub fn try_grow(&mut self, units: usize) -> bool {
        self.try_grow_within(units, usize::MAX)
    }

    /// The same within a lower limit: not more than `most` units may be in use then.
    pub fn try_grow_within(&mut self, units: usize, most: usize) -> bool {
        let most = self.gate.most.load(Ordering::Relaxed).min(most);
        let grown = |in_use: usize| in_use.checked_add(units).filter(|&sum| sum <= most);
        let taken = self.gate.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if taken {
            self.units += units;
        }
        taken
    }

    /// Gives so many units back, at most all that it holds.
    pub fn shrink(&mut self, units: usize) {
        let units = units.min(self.units);
        self.units -= units;
        self.gate.in_use.fetch_sub(units, Ordering::Relaxed);
    }

    /// Units that this permit holds.
    pub fn units(&self) -> usize {
        self.units
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_and_left_again() {
        let limit = ConcurrencyLimit::new(2);
        let permits = [limit.try_acquire().unwrap(), limit.try_acquire().unwrap()];
        assert!(limit.try_acquire().is_none() && limit.in_use() == 2);
        drop(permits);
        let mut permit = limit.empty_permit();
        assert!(permit.try_grow(2) && !permit.try_grow(1) && !permit.try_grow(usize::MAX) && permit.units() == 2);
        permit.shrink(1);
        assert_eq!((limit.in_use(), permit.units()), (1, 1));
        assert!(permit.try_grow(1));
        permit.shrink(usize::MAX);
        assert!(limit.in_use() == 0 && permit.try_grow(2));
        limit.set_most(1);
        assert_eq!((limit.in_use(), limit.most()), (2, 1));
        drop(permit);
        assert!(limit.try_acquire().is_some() && limit.in_use() == 0);
    }
}
