//! The `[serving]` table: how the host runs a model.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::error::CardError;

/// The most instances of a model, and the most threads of one of them: more than the cores of large machines.
const MAX_THREADS: usize = 512;

/// The most computations that wait and the most rows of one of them. Functions, whose numbers have 32 bits, read them too.
const MAX_ROWS: usize = i32::MAX as usize;

/// Longest `max_queue_delay_ms`: one minute.
const MAX_QUEUE_DELAY_MS: f64 = 60_000.0;

/// The `[serving]` table. Each key may be absent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serving {
    /// Computations at the same time, which share the weights; at most 512. When absent, the host decides (`--model-instances`).
    pub instances: Option<NonZeroUsize>,
    /// Threads that one computation uses, 1 to 512; 1 by default.
    pub threads: NonZeroUsize,
    /// Computations that may wait; requests beyond them are shed. 256 by default.
    pub queue_size: NonZeroUsize,
    /// The largest axis 0 of one engine call where the graph leaves that axis open, be it one client's own batch or
    /// several requests stacked. 8 by default.
    pub max_batch_size: NonZeroUsize,
    /// Whether computations of different requests are stacked into one engine call; false by default.
    pub dynamic_batching: bool,
    /// How long a computation may wait for others to be stacked with, in milliseconds, 0 to 60,000. With 0, the
    /// default, only what queued while the engine was busy is stacked.
    pub max_queue_delay_ms: f64,
    /// The shapes of the first computation, by the names of inputs whose axes the graph leaves open. Inputs that are not
    /// named get usual sizes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub warmup: BTreeMap<String, Vec<usize>>,
}

impl Default for Serving {
    fn default() -> Self {
        let n = |n| NonZeroUsize::new(n).expect("a literal above zero");
        Self {
            instances: None,
            threads: n(1),
            queue_size: n(256),
            max_batch_size: n(8),
            dynamic_batching: false,
            max_queue_delay_ms: 0.0,
            warmup: BTreeMap::new(),
        }
    }
}

impl Serving {
    pub(crate) fn check(&self) -> Result<(), CardError> {
        let instances = self.instances.map_or(0, NonZeroUsize::get);
        for (key, value, most) in [
            ("instances", instances, MAX_THREADS),
            ("threads", self.threads.get(), MAX_THREADS),
            ("queue_size", self.queue_size.get(), MAX_ROWS),
            ("max_batch_size", self.max_batch_size.get(), MAX_ROWS),
        ] {
            if value > most {
                return Err(CardError::TooMany { key, value, most });
            }
        }
        let delay = self.max_queue_delay_ms;
        if (0.0..=MAX_QUEUE_DELAY_MS).contains(&delay) { Ok(()) } else { Err(CardError::QueueDelay(delay)) }
    }
}
