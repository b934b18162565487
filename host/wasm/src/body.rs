//! The body of a guest's response, which owns the task of the guest that writes it.
//!
//! A body that is dropped before its end, as when the client disconnects, ends the guest. After a body was read to its
//! end, the guest may run on until its deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tracing::Instrument;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::error::InvokeError;
use super::remaining_length::RemainingLength;

/// A guest's invocation, which runs while it is polled.
pub(super) type GuestFuture = Pin<Box<dyn Future<Output = Result<(), InvokeError>> + Send>>;

/// The task of a guest whose response has a head. Dropping it ends the guest.
pub(super) struct GuestTask {
    task: JoinHandle<Result<(), InvokeError>>,
    may_finish: bool,
}

impl GuestTask {
    /// Spawns the rest of the guest's invocation as a task, within the current span.
    pub(super) fn spawn(guest: GuestFuture) -> GuestTask {
        GuestTask { task: tokio::spawn(guest.in_current_span()), may_finish: false }
    }
}

impl Drop for GuestTask {
    fn drop(&mut self) {
        if !self.may_finish {
            self.task.abort();
        }
    }
}

/// The body of a guest's response.
pub struct ResponseBody {
    body: HyperOutgoingBody,
    guest: GuestTask,
    remaining: RemainingLength,
}

impl ResponseBody {
    pub(super) fn wrap(response: Response<HyperOutgoingBody>, mut guest: GuestTask) -> Response<ResponseBody> {
        let remaining = RemainingLength::announced(response.headers());
        // hyper drops the body of a response that can have none without reading it (RFC 9112, section 6.3), which must
        // not be taken for a client that disconnected.
        guest.may_finish = remaining.is_zero() || matches!(response.status().as_u16(), 204 | 304);
        response.map(|body| ResponseBody { body, guest, remaining })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.remaining.read(frame);
                self.guest.may_finish |= self.remaining.is_zero();
            }
            Poll::Ready(None) => self.guest.may_finish = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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
