//! Reading a request's body: bounded in size, in time, and in what all requests hold together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces;
use tokio::time::timeout;

use super::drain_on_drop::DrainOnDrop;
use super::memory_budget::{MemoryBudget, Reservation};
use crate::problem::Problem;

/// How long a client may pause within a body. What it has sent holds a part of the budget of all requests meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Reads bodies into memory.
pub(crate) struct BodyReader {
    max_bytes: usize,
    budget: MemoryBudget,
    metrics: Arc<Metrics>,
}

/// A whole body.
pub(crate) struct BufferedBody {
    pub(crate) bytes: Bytes,
    /// What the bytes hold of the budget.
    pub(crate) reservation: Reservation,
    /// How long the body was read.
    pub(crate) duration: Duration,
}

impl BodyReader {
    /// Reads bodies of at most `max_bytes` each, which share `budget`.
    pub(crate) fn new(max_bytes: usize, budget: MemoryBudget, metrics: Arc<Metrics>) -> Self {
        BodyReader { max_bytes, budget, metrics }
    }

    /// Checks the length that the headers announce.
    ///
    /// # Errors
    ///
    /// The body is too large, so that it need not be read.
    pub(crate) fn check_announced(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let limit = self.max_bytes as u64;
        match announced {
            Some(actual) if actual > limit => Err(Problem::BodyTooLarge { actual: Some(actual), limit }),
            _ => Ok(()),
        }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    ///
    /// The body is too large, breaks off or is incomplete at the deadline, or all bodies together are too large.
    pub(crate) async fn read(&self, body: DrainOnDrop, deadline: Instant) -> Result<BufferedBody, Problem> {
        let reservation = self.budget.reserve();
        if body.is_end_stream() {
            self.metrics.body_read(Duration::ZERO);
            return Ok(BufferedBody { bytes: Bytes::new(), reservation, duration: Duration::ZERO });
        }
        let started = Instant::now();
        let read = tokio::time::timeout_at(deadline.into(), self.read_to_end(body, reservation)).await;
        let duration = started.elapsed();
        self.metrics.body_read(duration);
        traces::phase("body", started);
        let (bytes, reservation) = read.unwrap_or(Err(Problem::BodyTooSlow))?;
        Ok(BufferedBody { bytes, reservation, duration })
    }

    async fn read_to_end(
        &self,
        mut body: DrainOnDrop,
        mut reservation: Reservation,
    ) -> Result<(Bytes, Reservation), Problem> {
        let limit = self.max_bytes as u64;
        let mut read = Vec::with_capacity(body.size_hint().exact().map_or(0, |n| n.min(limit) as usize));
        while let Some(frame) = timeout(MAX_PAUSE, body.frame()).await.map_err(|_| Problem::BodyTooSlow)? {
            let frame = frame.map_err(|e| Problem::BodyBroken(e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > self.max_bytes {
                return Err(Problem::BodyTooLarge { actual: None, limit });
            }
            reservation.grow(data.len())?;
            read.extend_from_slice(&data);
        }
        Ok((read.into(), reservation))
    }
}
