//! A response's body on its way to the client: its bytes are counted, and a permit of its request is held until all of
//! it was handed to the connection.
//!
//! A response that can have no body gets none, whatever a guest wrote: hyper sees to that in HTTP/1 only, and in HTTP/2
//! the client would take it for an error of the protocol.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use modelfn_telemetry::metrics::admission::Traffic;
use modelfn_wasm::remaining_length::RemainingLength;

/// A body whose bytes are counted, and which holds a permit.
pub(crate) struct TrackedBody<B, P> {
    body: B,
    sent: Traffic,
    /// Released before the client can see the end of the body: its next request may come at once.
    permit: Option<P>,
    remaining: RemainingLength,
    is_bodiless: bool,
}

impl<B: Body<Data = Bytes>, P> TrackedBody<B, P> {
    /// Wraps the response to a request of `method`. What is sent is counted as `sent`.
    pub(crate) fn wrap(mut response: Response<B>, method: &Method, sent: Traffic, permit: P) -> Response<Self> {
        let is_bodiless =
            method == Method::HEAD || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let announced = RemainingLength::announced(response.headers()).get();
        let length = announced.or_else(|| response.body().size_hint().exact());
        if let (&Method::HEAD, None, Some(length)) = (method, announced, length) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        let remaining = RemainingLength::new(length);
        let permit = (!is_bodiless && !remaining.is_zero()).then_some(permit);
        response.map(|body| TrackedBody { body, sent, permit, remaining, is_bodiless })
    }
}

impl<B: Body<Data = Bytes> + Unpin, P: Unpin> Body for TrackedBody<B, P> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.is_bodiless {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let has_ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => {
                self.sent.add(frame.data_ref().map_or(0, Bytes::len));
                self.remaining.read(frame);
                self.remaining.is_zero() || self.body.is_end_stream()
            }
            Poll::Ready(None | Some(Err(_))) => true,
        };
        if has_ended {
            self.permit = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_bodiless || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_bodiless { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}
