//! Where a guest's response leaves its sandbox: the head goes to the caller, and the body is taken from the guest at once,
//! up to a bound, so that the guest ends whether its client reads or not.
//!
//! Beyond the bound the guest waits for the client, and is ended when the client has read nothing for a while. What other
//! responses of the same connection do renews nothing here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::body_channel::{self, BodyReceiver, BodySender, MAX_LINGERING, Stalled};
use super::error::InvokeError;
use super::process_memory::ProcessMemory;

/// Bytes of a body that may be unread while the guest runs on.
const MAX_UNREAD: usize = 1 << 20;

/// Bytes of a response that are a small reservation.
const SMALL_RESPONSE: u64 = 64 << 10;

/// How often memory is asked for again when there is none.
const MEMORY_RETRY: Duration = Duration::from_millis(10);

/// What a guest sets as its response.
type GuestResponse = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// The head of a response, or why there is none.
pub(super) type Head = Result<Response<BodyReceiver>, InvokeError>;

/// Where the guest's host call puts the response.
#[derive(Clone, Default)]
pub(super) struct ResponseSlot(Arc<Mutex<Option<GuestResponse>>>);

/// What bounds a response that its client does not read.
#[derive(Clone)]
pub(super) struct ResponseBounds {
    /// How long a client may read nothing.
    pub(super) stall: Duration,
    pub(super) memory: ProcessMemory,
}

/// Takes the response out of the slot and sends it on.
pub(super) struct ResponseOutlet {
    slot: ResponseSlot,
    /// `None` once the caller knows the head, or that there is none.
    head: Option<oneshot::Sender<Head>>,
    bounds: ResponseBounds,
    /// Moves the body's frames; `None` before there is a body and after its end.
    pump: Option<Pump>,
}

type Pump = Pin<Box<dyn Future<Output = Result<(), Stalled>> + Send>>;

impl ResponseSlot {
    pub(super) fn set(&self, response: GuestResponse) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }

    fn take(&self) -> Option<GuestResponse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ResponseOutlet {
    /// An outlet for what is put into `slot`, whose head goes to `head`.
    pub(super) fn new(slot: ResponseSlot, head: oneshot::Sender<Head>, bounds: ResponseBounds) -> Self {
        ResponseOutlet { slot, head: Some(head), bounds, pump: None }
    }

    /// Runs `guest` to its end, and moves what it writes whenever it yields: the head with as much of the body as there is
    /// by then. [`ResponseOutlet::flush`] moves what it wrote last.
    ///
    /// # Errors
    ///
    /// What `guest` returns; [`InvokeError::Refused`] when it set no proper response; [`InvokeError::Unread`] when the
    /// client read nothing for too long.
    pub(super) async fn run<T>(
        &mut self,
        guest: impl Future<Output = Result<T, InvokeError>>,
    ) -> Result<T, InvokeError> {
        let mut guest = std::pin::pin!(guest);
        std::future::poll_fn(|cx| {
            let polled = guest.as_mut().poll(cx);
            if polled.is_pending()
                && let Err(error) = self.advance(cx)
            {
                return Poll::Ready(Err(error));
            }
            polled
        })
        .await
    }

    /// Moves what the guest had written when it ended, without waiting.
    ///
    /// # Errors
    ///
    /// As [`ResponseOutlet::run`].
    pub(super) async fn flush(&mut self) -> Result<(), InvokeError> {
        std::future::poll_fn(|cx| Poll::Ready(self.advance(cx))).await
    }

    /// Moves on what is left once the guest is gone, then waits until the client has read all but a little of it.
    pub(super) async fn finish(mut self) {
        if let Some(pump) = self.pump.take()
            && pump.await.is_err()
        {
            tracing::info!("the client did not read the response; the rest of it was dropped");
        }
    }

    /// Tells the caller that there is no response because of `error`, unless there is one.
    ///
    /// # Errors
    ///
    /// There is one; gives the error back.
    pub(super) fn fail(&mut self, error: InvokeError) -> Result<(), InvokeError> {
        match self.head.take() {
            // The receiver is gone when the client disconnected meanwhile.
            Some(head) => drop(head.send(Err(error))),
            None => return Err(error),
        }
        Ok(())
    }

    /// Takes a response that was set, and moves those frames that are there.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), InvokeError> {
        let response = if self.head.is_some() { self.slot.take() } else { None };
        let started = match response {
            None => None,
            Some(Err(code)) => return Err(InvokeError::Refused(format!("{code:?}"))),
            Some(Ok(response)) if response.status().is_informational() => {
                return Err(InvokeError::Refused(format!("status {} is not an answer", response.status())));
            }
            Some(Ok(response)) => {
                let (sender, receiver) = body_channel::channel();
                let (head, body) = response.into_parts();
                self.pump = Some(Box::pin(pump(body, sender, self.bounds.clone())));
                Some(Response::from_parts(head, receiver))
            }
        };
        self.poll_pump(cx)?;
        if let Some(response) = started
            && let Some(head) = self.head.take()
        {
            drop(head.send(Ok(response)));
        }
        Ok(())
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Result<(), InvokeError> {
        let Some(pump) = &mut self.pump else { return Ok(()) };
        match pump.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => {
                self.pump = None;
                result.map_err(|Stalled| InvokeError::Unread(self.bounds.stall))
            }
        }
    }
}

/// Moves the frames of `body`, and afterwards stays until most of them were read.
async fn pump(mut body: HyperOutgoingBody, sender: BodySender, bounds: ResponseBounds) -> Result<(), Stalled> {
    let mut sent = 0;
    let moved = async {
        while let Some(frame) = body.frame().await {
            // An aborted body: dropping the sender tells the client.
            let Ok(frame) = frame else { return Ok(()) };
            sent += frame.data_ref().map_or(0, Bytes::len) as u64;
            let small = if sent <= SMALL_RESPONSE { usize::MAX } else { 0 };
            sender.send(reserved(frame, small, &bounds).await?);
            sender.wait_until_unread(MAX_UNREAD, bounds.stall).await?;
        }
        sender.finish();
        sender.wait_until_unread(MAX_LINGERING, bounds.stall).await
    };
    let result = moved.await;
    if result.is_err() {
        sender.discard();
    }
    result
}

/// The frame, with its bytes reserved; up to `small` of them are a small reservation. Waits for memory as long as it
/// waits for a client.
async fn reserved(frame: Frame<Bytes>, small: usize, bounds: &ResponseBounds) -> Result<Frame<Bytes>, Stalled> {
    let data = match frame.into_data() {
        Ok(data) => data,
        Err(trailers) => return Ok(trailers),
    };
    let started = Instant::now();
    loop {
        if let Ok(held) = bounds.memory.hold(data.clone(), small) {
            return Ok(Frame::data(held));
        }
        if started.elapsed() > bounds.stall {
            return Err(Stalled);
        }
        sleep(MEMORY_RETRY).await;
    }
}
