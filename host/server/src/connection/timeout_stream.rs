//! A connection's bytes, with what hyper lacks.
//!
//! - A client may leave what is written to it unread for a bounded time only.
//! - A client that has closed its half of an HTTP/1 connection still gets its response. hyper would take the end of the
//!   client's bytes for a client that left, and TCP does not tell the two apart. So hyper learns of the end only when
//!   nothing is open any more, or after a bounded time: whoever left costs no more than that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::ConnectionActivity;
use super::limits::ConnectionLimits;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a request goes on for a client that has closed its half of the connection.
const HALF_CLOSE_TIME: Duration = Duration::from_secs(1);

/// What hyper reads from and writes to.
pub(crate) struct TimeoutStream<S> {
    stream: S,
    activity: Arc<ConnectionActivity>,
    /// Bytes of the preface that have come; `None` when the protocol is known.
    matched: Option<usize>,
    /// Until when the end of the client's bytes is kept back, once it has come.
    half_closed: Option<Pin<Box<Sleep>>>,
    stalled_by: Pin<Box<Sleep>>,
    stall: Duration,
    stalled: bool,
}

impl<S> TimeoutStream<S> {
    /// Wraps a new connection, and tells `activity` what arrives on it.
    pub(crate) fn new(stream: S, activity: Arc<ConnectionActivity>, limits: ConnectionLimits) -> Self {
        let (stall, stalled_by) = (limits.stall, Box::pin(sleep(limits.stall)));
        TimeoutStream { stream, activity, matched: Some(0), half_closed: None, stalled_by, stall, stalled: false }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        if let Some(matched) = self.matched {
            let expected = &HTTP2_PREFACE[matched..];
            if bytes.starts_with(expected) {
                self.activity.speaks_http2();
            }
            let goes_on = bytes.len() < expected.len() && expected.starts_with(bytes);
            self.matched = goes_on.then_some(matched + bytes.len());
        }
        self.activity.received();
    }

    /// The client sends nothing more. Resolves when hyper may know.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.activity.is_busy_http1() {
            return Poll::Ready(());
        }
        self.half_closed.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSE_TIME))).as_mut().poll(cx)
    }

    /// A write that is pending may stay so for `stall`; any progress starts anew.
    fn note_write<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if std::mem::take(&mut self.stalled) {
                self.activity.write_is_pending(false);
            }
            return written;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            self.activity.write_is_pending(true);
            self.stalled_by.as_mut().reset(Instant::now() + self.stall);
        }
        ready!(self.stalled_by.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.half_closed.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let bytes = &buffer.filled()[before..];
            if !bytes.is_empty() || buffer.remaining() == 0 {
                self.note_read(bytes);
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_end(cx).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
