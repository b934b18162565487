//! How long each phase of one request took, for the header `Server-Timing`.

use std::fmt::Write;

use crate::bindings::wasi::clocks::monotonic_clock::{Instant, now};

/// A stopwatch whose laps are named phases.
#[derive(Debug)]
pub struct Stopwatch {
    lap_started: Instant,
    header: String,
}

impl Stopwatch {
    /// Starts the first lap.
    pub fn start() -> Self {
        Self { lap_started: now(), header: String::new() }
    }

    /// Ends a lap under the name of its phase and starts the next.
    pub fn lap(&mut self, phase: &str) {
        let now = now();
        let milliseconds = (now - self.lap_started) as f64 / 1e6;
        let comma = if self.header.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(self.header, "{comma}{phase};dur={milliseconds:.2}");
        self.lap_started = now;
    }

    /// The header's value: `decode;dur=1.23, compute;dur=9.80`, in milliseconds.
    pub fn into_header(self) -> String {
        self.header
    }
}
