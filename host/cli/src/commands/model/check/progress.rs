//! A line on the terminal that says how far it is.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The line is written anew no more often than this.
const INTERVAL: Duration = Duration::from_millis(100);

/// Counts what is done, and shows it where stderr is a terminal. The line goes when this is dropped.
pub(super) struct Progress {
    what: &'static str,
    total: usize,
    done: Cell<usize>,
    shown: RefCell<Option<Instant>>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { what, total, done: Cell::new(0), shown: RefCell::new(None), is_terminal }
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.done.set(self.done.get() + 1);
        let mut shown = self.shown.borrow_mut();
        if self.is_terminal && shown.is_none_or(|shown| shown.elapsed() >= INTERVAL) {
            *shown = Some(Instant::now());
            // A terminal that is gone is no reason to stop.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}: {} of {}", self.what, self.done.get(), self.total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.borrow().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
