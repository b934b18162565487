//! The open requests and responses of a connection, and when they last made progress.
//!
//! In HTTP/2 a client can hold a response back with its flow-control window for ever, while it responses pings, and can
//! keep an idle connection open. hyper bounds neither. Requests without a response have a deadline of their own and are
//! not timed out here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::limits::ConnectionLimits;
use crate::response_body::ResponseBody;

/// The open requests and responses of one connection.
pub(crate) struct ConnectionActivity(Mutex<Progress>);

struct Progress {
    requests: usize,
    responses: usize,
    moved: Instant,
}

impl ConnectionActivity {
    pub(crate) fn new() -> Arc<ConnectionActivity> {
        Arc::new(ConnectionActivity(Mutex::new(Progress { requests: 0, responses: 0, moved: Instant::now() })))
    }

    /// Counts a request for as long as the result lives.
    pub(crate) fn request(self: &Arc<ConnectionActivity>) -> ActiveRequest {
        self.change(|state| state.requests += 1);
        ActiveRequest(self.clone())
    }

    /// Resolves when nothing has made progress for longer than `limits` allow, at most twice as long.
    pub(crate) async fn timed_out(&self, limits: ConnectionLimits) {
        // Checked periodically: waking this task at each change would cost every request something.
        while !self.is_timed_out(limits) {
            tokio::time::sleep(limits.stall.min(limits.idle)).await;
        }
    }

    fn is_timed_out(&self, limits: ConnectionLimits) -> bool {
        let state = self.lock();
        match (state.requests, state.responses) {
            (0, 0) => state.moved.elapsed() >= limits.idle,
            (0, _) => state.moved.elapsed() >= limits.stall,
            _ => false,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let mut state = self.lock();
        change(&mut state);
        state.moved = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has no response yet.
pub(crate) struct ActiveRequest(Arc<ConnectionActivity>);

impl ActiveRequest {
    /// Its response is open from here on.
    pub(crate) fn responded(self, body: ResponseBody) -> ActiveBody {
        self.0.change(|state| state.responses += 1);
        ActiveBody { body, open: self.0.clone() }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.change(|state| state.requests -= 1);
    }
}

/// A response's body, which reports its progress.
pub(crate) struct ActiveBody {
    body: ResponseBody,
    open: Arc<ConnectionActivity>,
}

impl Body for ActiveBody {
    type Data = Bytes;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.open.change(|_| {});
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ActiveBody {
    fn drop(&mut self) {
        self.open.change(|state| state.responses -= 1);
    }
}
