//! Draining what is left of a request's body after an early response.
//!
//! Who responds early (413, 404, 503 ...) drops the body. Closing the connection then would make the client's kernel
//! discard the response together with the reset, and a browser would show a network error in its place. So the unread
//! body is drained in the background, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use modelfn_telemetry::metrics::admission::Traffic;
use tokio::time::timeout;

use crate::client_turn::ClientTurn;

/// The most bytes of one body that are drained.
const MAX_DRAIN_BYTES: usize = 32 << 20;

/// The longest that one body is drained.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(5);

type Inner = Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send>>;

/// A request's body that drains itself in the background when it is dropped before its end.
pub(crate) struct DrainOnDrop {
    body: Option<Inner>,
    /// The client waits to be asked for the body (`Expect: 100-continue`): there is nothing to drain.
    expects_continue: bool,
    received: Traffic,
    /// Tells the connection when the request waits for its client.
    turn: ClientTurn,
}

impl DrainOnDrop {
    /// Wraps the body of `request`, and counts what arrives of it as `received`.
    pub(crate) fn wrap<B>(mut request: Request<B>, received: Traffic) -> Request<DrainOnDrop>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let expects_continue = request.headers().contains_key(http::header::EXPECT);
        let turn = request.extensions_mut().remove::<ClientTurn>().unwrap_or_default();
        request.map(|body| {
            let body = Some(Box::pin(body.map_err(Into::into)) as Inner);
            DrainOnDrop { body, expects_continue, received, turn }
        })
    }
}

impl Body for DrainOnDrop {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // Reading makes hyper send `100 Continue`.
        self.expects_continue = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = body.as_mut().poll_frame(cx);
        if polled.is_pending() {
            self.turn.begin();
        } else {
            self.turn.end();
        }
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
        self.turn.end();
        let rest = self.body.take().filter(|body| !self.expects_continue && !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            let (received, turn) = (self.received.clone(), self.turn.clone());
            runtime.spawn(async move {
                // Until then the connection does not take what arrives for the next request.
                let _turn = turn;
                timeout(MAX_DRAIN_TIME, drain(rest, received)).await
            });
        }
    }
}

async fn drain(mut body: Inner, received: Traffic) {
    let mut left = MAX_DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.into_data().map_or(0, |data| data.remaining());
        received.add(read);
        match left.checked_sub(read) {
            Some(less) => left = less,
            None => return,
        }
    }
}
