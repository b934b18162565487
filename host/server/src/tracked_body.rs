//! An answer's body on its way: what is sent of it is counted, and what its request holds is held until all of it was
//! handed to the connection. Answers without a body have none, whatever a guest wrote: hyper sees to that only in
//! HTTP/1, and in HTTP/2 the client would take it for an error of the protocol.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use modelfn_telemetry::metrics::admission::Traffic;

/// A body that is counted, and holds something.
pub(crate) struct TrackedBody<B, H> {
    body: B,
    sent: Traffic,
    /// Given back before the client can see the end: its next request may come at once.
    held: Option<H>,
    /// Bytes that are to come, where that is known: hyper doesn't ask for the end then.
    left: Option<u64>,
    bodiless: bool,
}

impl<B: Body<Data = Bytes>, H> TrackedBody<B, H> {
    /// Wraps the answer to a request of `method`.
    pub(crate) fn wrap(mut response: Response<B>, method: &Method, (sent, held): (Traffic, H)) -> Response<Self> {
        let bodiless =
            method == Method::HEAD || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let announced = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let length = announced.or_else(|| response.body().size_hint().exact());
        if let (&Method::HEAD, None, Some(length)) = (method, announced, length) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        let held = (!bodiless && length != Some(0)).then_some(held);
        response.map(|body| TrackedBody { body, sent, held, left: length, bodiless })
    }
}

impl<B: Body<Data = Bytes> + Unpin, H: Unpin> Body for TrackedBody<B, H> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.bodiless {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => {
                let sent = frame.data_ref().map_or(0, Bytes::len);
                self.sent.add(sent);
                self.left = self.left.map(|left| left.saturating_sub(sent as u64));
                self.left == Some(0) || self.body.is_end_stream()
            }
            Poll::Ready(None | Some(Err(_))) => true,
        };
        if ended {
            self.held = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.bodiless || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.bodiless { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}
