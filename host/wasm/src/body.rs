//! The body of a guest's answer, and the task of the guest that writes it.
//!
//! A response's body owns the guest that writes it: when the body is dropped before its end (the client left),
//! the guest ends; when it was read to its end, the guest may finish in peace until its deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tracing::Instrument;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::function::InvokeError;

/// A guest that has not ended.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<(), InvokeError>> + Send>>;

/// The task of a guest whose answer has a head. Dropping it ends the guest.
pub(super) struct Guest {
    task: JoinHandle<Result<(), InvokeError>>,
    may_finish: bool,
}

impl Guest {
    /// Lets the guest go on in a task of its own, within the current span.
    pub(super) fn spawn(run: Running) -> Guest {
        Guest { task: tokio::spawn(run.in_current_span()), may_finish: false }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.may_finish {
            self.task.abort();
        }
    }
}

/// The body of a guest's answer.
pub struct ResponseBody {
    body: HyperOutgoingBody,
    guest: Guest,
    /// What `content-length` promises and has not been written yet: a server stops reading there, without
    /// asking for the end.
    left: Option<u64>,
}

impl ResponseBody {
    pub(super) fn wrap(response: Response<HyperOutgoingBody>, mut guest: Guest) -> Response<ResponseBody> {
        let length = response.headers().get(CONTENT_LENGTH);
        let left = length.and_then(|value| value.to_str().ok()?.parse().ok());
        // A body that has nothing in it is not read to its end by everyone.
        guest.may_finish = left == Some(0) || matches!(response.status().as_u16(), 204 | 304);
        response.map(|body| ResponseBody { body, guest, left })
    }

    fn note(&mut self, frame: Option<&Frame<Bytes>>) {
        let written = frame.and_then(Frame::data_ref).map_or(0, Bytes::len);
        self.left = self.left.map(|left| left.saturating_sub(u64::try_from(written).unwrap_or(u64::MAX)));
        self.guest.may_finish |= frame.is_none() || self.left == Some(0);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.note(Some(frame)),
            Poll::Ready(None) => self.note(None),
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
