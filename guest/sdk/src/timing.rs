//! How long each phase of one request took, for the header `Server-Timing`.

use std::fmt::Write;

use crate::bindings::wasi::clocks::monotonic_clock::{Instant, now};

/// A stopwatch whose laps are named phases.
#[derive(Debug)]
pub struct Stopwatch {
    lap_started: Instant,
    laps: Laps,
}

/// Phases in the order in which they first ended, and their milliseconds.
#[derive(Debug, Default)]
struct Laps(Vec<(String, f64)>);

impl Stopwatch {
    /// Starts the first lap.
    pub fn start() -> Self {
        Self { lap_started: now(), laps: Laps::default() }
    }

    /// Ends a lap under the name of its phase and starts the next. The laps of one phase add up, as those of a phase within
    /// a loop.
    pub fn lap(&mut self, phase: &str) {
        let now = now();
        self.laps.add(phase, (now - self.lap_started) as f64 / 1e6);
        self.lap_started = now;
    }

    /// The header's value: `decode;dur=1.23, compute;dur=9.80`, in milliseconds.
    pub fn into_header(self) -> String {
        self.laps.header()
    }
}

impl Laps {
    fn add(&mut self, phase: &str, milliseconds: f64) {
        match self.0.iter_mut().find(|(name, _)| name == phase) {
            Some((_, sum)) => *sum += milliseconds,
            None => self.0.push((phase.to_owned(), milliseconds)),
        }
    }

    fn header(&self) -> String {
        let mut header = String::new();
        for (phase, milliseconds) in &self.0 {
            let comma = if header.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(header, "{comma}{phase};dur={milliseconds:.2}");
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_of_one_phase_add_up() {
        let mut laps = Laps::default();
        assert_eq!(laps.header(), "");
        for (phase, milliseconds) in [("crop", 1.25), ("compute", 10.0), ("crop", 0.5), ("compute", 0.004)] {
            laps.add(phase, milliseconds);
        }
        assert_eq!(laps.header(), "crop;dur=1.75, compute;dur=10.00");
    }
}
