//! Whether this server wants requests: what `/readyz` and the Open Inference Protocol's health say.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// The phase of the server's life, and a check of a running server.
#[derive(Default)]
pub struct Readiness {
    phase: AtomicU8,
    check: OnceLock<Box<dyn Fn() -> Condition + Send + Sync>>,
}

/// The condition of a running server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Why it should get no requests, if so: a sentence.
    pub unready: Option<String>,
    /// The models that it does without.
    pub left_out: Vec<String>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Start-up has ended. From here on `check` is asked.
    pub fn ready(&self, check: impl Fn() -> Condition + Send + Sync + 'static) {
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
        self.condition().unready.is_none()
    }

    /// Whether the server wants requests, and what it does without.
    pub(crate) fn condition(&self) -> Condition {
        let unready = |phase: &str| Condition { unready: Some(phase.to_owned()), left_out: Vec::new() };
        match (self.phase.load(Ordering::Acquire), self.check.get()) {
            (READY, Some(check)) => check(),
            (STARTING, _) => unready("starting"),
            _ => unready("draining"),
        }
    }
}
