//! The body of a guest's response, which owns the task of the guest that writes it.
//!
//! A body that is dropped before its end, as when the client disconnects, ends the guest. After a body was read to its
//! end, the guest may run on until its deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::Task;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use super::body_channel::BodyReceiver;
use super::remaining_length::RemainingLength;

/// The task of a guest. Dropping it ends the guest, unless that may finish.
pub(super) struct GuestTask {
    task: Option<Task<()>>,
    may_finish: bool,
}

impl GuestTask {
    pub(super) fn new(task: Task<()>) -> GuestTask {
        GuestTask { task: Some(task), may_finish: false }
    }
}

impl Drop for GuestTask {
    fn drop(&mut self) {
        if let Some(task) = self.task.take_if(|_| self.may_finish) {
            task.detach();
        }
    }
}

/// The body of a guest's response.
pub struct ResponseBody {
    body: BodyReceiver,
    guest: GuestTask,
    remaining: RemainingLength,
}

impl ResponseBody {
    pub(super) fn wrap(response: Response<BodyReceiver>, mut guest: GuestTask) -> Response<ResponseBody> {
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
                self.guest.may_finish |= self.remaining.is_zero() || self.body.is_end_stream();
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
