//! A response's body on its way to the client: its bytes are counted, a permit of its request is held until all of it
//! was handed to the connection, and the connection can abandon it when the client does not read.
//!
//! - A response that can have no body gets none, whatever a guest wrote: hyper sees to that in HTTP/1 only, and in
//!   HTTP/2 the client would take it for an error of the protocol.
//! - A large frame is handed over in copied pieces, so that what the connection buffers is small and never keeps the
//!   whole response in memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use modelfn_telemetry::metrics::admission::Traffic;
use modelfn_wasm::remaining_length::RemainingLength;

use crate::admission::concurrency_limit::Permit;
use crate::client_turn::ClientTurn;
use crate::response_body::ResponseBody;

/// The most bytes that are handed to the connection at once.
const MAX_PIECE: usize = 64 << 10;

/// A response's body. Its `guard` is dropped with it.
pub struct TrackedBody<G = ()> {
    sending: Arc<Mutex<Sending>>,
    is_bodiless: bool,
    _guard: G,
}

/// What is still to be handed to the connection.
struct Sending {
    /// `None` once it was abandoned.
    body: Option<ResponseBody>,
    /// What is left of the body's last frame.
    rest: Bytes,
    sent: Traffic,
    /// Released before the client can see the end of the body: its next request may come at once.
    permit: Option<Permit>,
    remaining: RemainingLength,
    turn: ClientTurn,
}

/// A response as its connection sees it.
pub(crate) struct ResponseHandle {
    sending: Weak<Mutex<Sending>>,
    turn: ClientTurn,
}

impl TrackedBody {
    /// Wraps the response to a request of `method`. What is sent is counted as `sent`.
    pub(crate) fn wrap(
        mut response: Response<ResponseBody>,
        method: &Method,
        sent: Traffic,
        permit: Option<Permit>,
    ) -> Response<Self> {
        let is_bodiless =
            method == Method::HEAD || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let announced = RemainingLength::announced(response.headers()).get();
        let length = announced.or_else(|| response.body().size_hint().exact());
        if let (&Method::HEAD, None, Some(length)) = (method, announced, length) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        let remaining = RemainingLength::new(length);
        let permit = permit.filter(|_| !is_bodiless && !remaining.is_zero());
        response.map(|body| {
            let (rest, turn) = (Bytes::new(), ClientTurn::default());
            let sending = Sending { body: Some(body), rest, sent, permit, remaining, turn };
            TrackedBody { sending: Arc::new(Mutex::new(sending)), is_bodiless, _guard: () }
        })
    }

    /// This response for its connection, and the body with a guard that is dropped with it.
    pub(crate) fn watched<G>(self, guard: impl FnOnce(ResponseHandle) -> G) -> TrackedBody<G> {
        let turn = lock(&self.sending).turn.clone();
        let handle = ResponseHandle { sending: Arc::downgrade(&self.sending), turn };
        TrackedBody { sending: self.sending, is_bodiless: self.is_bodiless, _guard: guard(handle) }
    }
}

impl ResponseHandle {
    /// Whether and since when the response waits for its client to take more of it.
    pub(crate) fn turn(&self) -> &ClientTurn {
        &self.turn
    }

    /// Drops the body, and with it the guest that writes it and all that its request still holds. The connection finds
    /// an error in its place.
    pub(crate) fn abandon(&self) {
        let Some(sending) = self.sending.upgrade() else { return };
        let mut sending = lock(&sending);
        let held = (sending.body.take(), std::mem::take(&mut sending.rest), sending.permit.take());
        drop(sending);
        drop(held);
    }
}

impl Sending {
    /// The next frame, of at most [`MAX_PIECE`] bytes.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.rest.is_empty() {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Some(Err("the client did not read its response".into())));
            };
            let polled = Pin::new(body).poll_frame(cx);
            let is_large = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(|data: &Bytes| data.len() > MAX_PIECE);
            match polled {
                Poll::Ready(Some(Ok(frame))) if is_large(&frame) => {
                    self.rest = frame.into_data().unwrap_or_default();
                }
                other => return other,
            }
        }
        let piece = Bytes::copy_from_slice(&self.rest[..self.rest.len().min(MAX_PIECE)]);
        self.rest.advance(piece.len());
        if self.rest.is_empty() {
            // An empty slice would keep the whole frame in memory.
            self.rest = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_some_and(Body::is_end_stream)
    }
}

type Error = <ResponseBody as Body>::Error;

impl<G: Unpin> Body for TrackedBody<G> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.is_bodiless {
            return Poll::Ready(None);
        }
        let mut sending = lock(&self.sending);
        sending.turn.end();
        let polled = sending.poll_piece(cx);
        let has_ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => {
                sending.sent.add(frame.data_ref().map_or(0, Bytes::len));
                sending.remaining.read(frame);
                sending.turn.begin();
                sending.remaining.is_zero() || sending.is_end()
            }
            Poll::Ready(None | Some(Err(_))) => true,
        };
        if has_ended {
            sending.permit = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_bodiless || lock(&self.sending).is_end()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_bodiless {
            return SizeHint::with_exact(0);
        }
        let sending = lock(&self.sending);
        let rest = sending.rest.len() as u64;
        let hint = sending.body.as_ref().map_or_else(SizeHint::default, Body::size_hint);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

fn lock(sending: &Mutex<Sending>) -> MutexGuard<'_, Sending> {
    sending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn wrap(bytes: Bytes) -> TrackedBody {
        let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        let metrics = modelfn_telemetry::metrics::Metrics::new();
        TrackedBody::wrap(Response::new(body), &Method::GET, metrics.admission.sent(), None).into_body()
    }

    fn poll(body: &mut TrackedBody<impl Unpin>) -> Poll<Option<Result<Bytes, String>>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let piece = |frame: Frame<Bytes>| frame.into_data().unwrap();
        Pin::new(body).poll_frame(&mut cx).map_ok(piece).map_err(|e| e.to_string())
    }

    #[test]
    fn a_large_frame_is_handed_over_in_pieces_of_which_none_keeps_the_whole() {
        let whole = Bytes::from((0..3 * MAX_PIECE + 7).map(|n| n as u8).collect::<Vec<_>>());
        let mut body = wrap(whole.clone());
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        let mut pieces: Vec<Bytes> = Vec::new();
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((whole.len() - pieces.concat().len()) as u64));
            let Poll::Ready(Some(Ok(piece))) = poll(&mut body) else { panic!("a piece is there") };
            pieces.push(piece);
        }
        assert_eq!((pieces.len(), pieces.concat()), (4, whole.to_vec()));
        drop(body);
        assert!(whole.is_unique(), "a piece shares the whole frame's memory");
    }

    #[test]
    fn an_abandoned_body_holds_nothing_and_gives_an_error() {
        let whole = Bytes::from(vec![0; 3 * MAX_PIECE]);
        let mut watched = None;
        let mut body = wrap(whole.clone()).watched(|handle| watched = Some(handle));
        let handle = watched.unwrap();
        assert_eq!(handle.turn().since(), None, "nothing was handed over yet");
        assert!(poll(&mut body).is_ready() && handle.turn().since().is_some());
        handle.abandon();
        assert!(whole.is_unique());
        assert!(!body.is_end_stream(), "the client must not take it for whole");
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(e))) if e.contains("did not read")));
    }
}
