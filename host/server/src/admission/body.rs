//! Reading a request's body: bounded in size, in time, and in what all requests hold together.
//!
//! A body is read whole before there is a sandbox for it, so that a slow client holds its connection and what it
//! has sent, and nothing else; and so that the guest never waits for the network.
//!
//! A body that nobody wants any more is read on. Who answers early (413, 404, 503 …) drops the body; closing the
//! connection then would make the client's kernel throw our answer away with the reset, and a browser would show a
//! network error instead of it. So the rest is read and dropped, within bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::Request;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::admission::memory_budget::{MemoryBudget, Reservation};
use crate::problem::Problem;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::Traffic;
use modelfn_telemetry::traces;

/// How long a client may pause within a body. What it has sent counts against everybody's budget meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How much more is read, and for how long.
const MAX_BYTES: usize = 32 << 20;
const MAX_TIME: Duration = Duration::from_secs(5);

type Inner = Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send>>;

/// Bodies of requests in flight, and what they may hold.
pub(crate) struct Bodies {
    most: usize,
    budget: MemoryBudget,
    metrics: Arc<Metrics>,
}

/// A whole body. Its bytes count as held until it's dropped.
pub(crate) struct BufferedBody {
    pub(crate) bytes: Bytes,
    pub(crate) charge: Reservation,
    /// How long it was read.
    pub(crate) took: Duration,
}

impl Bodies {
    /// Bodies of at most `most` bytes each and `together` bytes at the same time.
    pub(crate) fn new((most, together): (usize, usize), metrics: &Arc<Metrics>) -> Self {
        Bodies { most, budget: MemoryBudget::new(together, metrics.clone()), metrics: metrics.clone() }
    }

    /// Whether a body may be as long as these headers announce.
    ///
    /// # Errors
    ///
    /// It may not: there's no need to read it.
    pub(crate) fn check_announced(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let limit = self.most();
        match announced {
            Some(actual) if actual > limit => Err(Problem::BodyTooLarge { actual: Some(actual), limit }),
            _ => Ok(()),
        }
    }

    /// The most bytes of one body.
    fn most(&self) -> u64 {
        self.most as u64
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    ///
    /// It's too large, breaks off, isn't there by `deadline`, or all bodies together are too large.
    pub(crate) async fn read(&self, body: DrainOnDrop, deadline: Instant) -> Result<BufferedBody, Problem> {
        if body.is_end_stream() {
            self.metrics.body_read(Duration::ZERO);
            return Ok(BufferedBody { bytes: Bytes::new(), charge: self.budget.charge(), took: Duration::ZERO });
        }
        let started = Instant::now();
        let read = tokio::time::timeout_at(deadline.into(), self.read_to_end(body)).await;
        let took = started.elapsed();
        self.metrics.body_read(took);
        traces::phase("body", started);
        read.unwrap_or(Err(Problem::BodyTooSlow)).map(|(bytes, charge)| BufferedBody { bytes, charge, took })
    }

    async fn read_to_end(&self, mut body: DrainOnDrop) -> Result<(Bytes, Reservation), Problem> {
        let mut charge = self.budget.charge();
        let mut read = Vec::with_capacity(body.size_hint().exact().map_or(0, |n| n.min(self.most()) as usize));
        while let Some(frame) = timeout(MAX_PAUSE, body.frame()).await.map_err(|_| Problem::BodyTooSlow)? {
            let frame = frame.map_err(|e| Problem::BodyBroken(e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > self.most {
                return Err(Problem::BodyTooLarge { actual: None, limit: self.most() });
            }
            charge.add(data.len())?;
            read.extend_from_slice(&data);
        }
        Ok((read.into(), charge))
    }
}

/// A body that drains itself in the background when it is dropped before its end.
pub(crate) struct DrainOnDrop {
    body: Option<Inner>,
    /// The client sends nothing until it's asked to (`Expect: 100-continue`): there is nothing to drain.
    held_back: bool,
    received: Traffic,
}

impl DrainOnDrop {
    /// The body of `request`, drained from here on; what comes of it is counted as `received`.
    pub(crate) fn wrap<B>(request: Request<B>, received: Traffic) -> Request<DrainOnDrop>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let held_back = request.headers().contains_key(http::header::EXPECT);
        request.map(|body| DrainOnDrop { body: Some(Box::pin(body.map_err(Into::into))), held_back, received })
    }
}

impl Body for DrainOnDrop {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // Whoever reads asks for it.
        self.held_back = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = body.as_mut().poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.received.add(frame.data_ref().map_or(0, Bytes::len));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !self.held_back && !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(timeout(MAX_TIME, drain(rest, self.received.clone())));
        }
    }
}

async fn drain(mut body: Inner, received: Traffic) {
    let mut left = MAX_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.into_data().map_or(0, |data| data.remaining());
        received.add(read);
        match left.checked_sub(read) {
            Some(less) => left = less,
            None => return,
        }
    }
}
