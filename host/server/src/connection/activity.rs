//! What a connection has open, and since when nothing of it moved.
//!
//! HTTP/2 lets a client hold an answer back by its window, for ever and while it answers pings, and lets it keep a
//! connection on which nothing happens. hyper bounds neither. Requests that have no answer yet have a deadline of
//! their own and are left alone here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::limits::ConnectionLimits;
use crate::service::ResponseBody;

/// The open requests and answers of one connection.
pub(crate) struct ConnectionActivity(Mutex<State>);

struct State {
    requests: usize,
    answers: usize,
    moved: Instant,
}

impl ConnectionActivity {
    pub(crate) fn new() -> Arc<ConnectionActivity> {
        Arc::new(ConnectionActivity(Mutex::new(State { requests: 0, answers: 0, moved: Instant::now() })))
    }

    /// Counts a request for as long as the result lives.
    pub(crate) fn request(self: &Arc<ConnectionActivity>) -> ActiveRequest {
        self.change(|state| state.requests += 1);
        ActiveRequest(self.clone())
    }

    /// Resolves when nothing has moved for longer than `limits` allow; at most twice as long.
    pub(crate) async fn timed_out(&self, limits: ConnectionLimits) {
        // Looked at now and then: waking this task at each change would cost every request something.
        while !self.is_overdue(limits) {
            tokio::time::sleep(limits.stall.min(limits.idle)).await;
        }
    }

    fn is_overdue(&self, limits: ConnectionLimits) -> bool {
        let state = self.lock();
        match (state.requests, state.answers) {
            (0, 0) => state.moved.elapsed() >= limits.idle,
            (0, _) => state.moved.elapsed() >= limits.stall,
            _ => false,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.moved = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has no answer yet.
pub(crate) struct ActiveRequest(Arc<ConnectionActivity>);

impl ActiveRequest {
    /// Its answer is open from here on.
    pub(crate) fn answered(self, body: ResponseBody) -> ActiveBody {
        self.0.change(|state| state.answers += 1);
        ActiveBody { body, open: self.0.clone() }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.change(|state| state.requests -= 1);
    }
}

/// An answer's body, which says when it moves.
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
        self.open.change(|state| state.answers -= 1);
    }
}
