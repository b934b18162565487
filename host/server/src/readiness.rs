//! Whether this server wants requests: what `/readyz` and the Open Inference Protocol's health say.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// The phase of the server's life, and a check that says why a running server should get no requests.
#[derive(Default)]
pub struct Readiness {
    phase: AtomicU8,
    check: OnceLock<Box<dyn Fn() -> Option<String> + Send + Sync>>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Start-up has ended. From here on `check` is asked; it gives a sentence when the server is not ready.
    pub fn ready(&self, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        // Start-up ends once, so a second check is ignored.
        let _ = self.check.set(Box::new(check));
        self.phase.store(READY, Ordering::Release);
    }

    /// The drain has begun: no more requests are wanted.
    pub fn draining(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// Whether the server is between start-up and drain, whatever else is wrong.
    pub(crate) fn is_serving(&self) -> bool {
        self.phase.load(Ordering::Acquire) == READY
    }

    /// Whether the server wants requests.
    pub(crate) fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Why the server wants no requests, if so: a sentence.
    pub(crate) fn unready(&self) -> Option<String> {
        match self.phase.load(Ordering::Acquire) {
            STARTING => Some("starting".to_owned()),
            READY => self.check.get().and_then(|check| check()),
            _ => Some("draining".to_owned()),
        }
    }
}
