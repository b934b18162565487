//! A connection with timeouts that hyper lacks.
//!
//! hyper bounds how long a client may take to send a head of HTTP/1. It does not bound how long a client may take to
//! show which protocol it speaks, nor how long it may leave a response unread; either would hold a connection for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::limits::ConnectionLimits;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What hyper reads from and writes to.
pub(crate) struct TimeoutStream<S> {
    stream: S,
    /// Bytes of the preface that have come; `None` when the protocol is known.
    matched: Option<usize>,
    protocol_by: Pin<Box<Sleep>>,
    stalled_by: Pin<Box<Sleep>>,
    stall: Duration,
    stalled: bool,
}

impl<S> TimeoutStream<S> {
    /// Wraps a new connection. The client has `header_timeout` to show which protocol it speaks.
    pub(crate) fn new(stream: S, limits: ConnectionLimits) -> Self {
        let ConnectionLimits { header_timeout, stall, .. } = limits;
        let (protocol_by, stalled_by) = (Box::pin(sleep(header_timeout)), Box::pin(sleep(stall)));
        TimeoutStream { stream, matched: Some(0), protocol_by, stalled_by, stall, stalled: false }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        self.matched = self.matched.and_then(|matched| {
            let expected = &HTTP2_PREFACE[matched..];
            let goes_on = bytes.len() < expected.len() && expected.starts_with(bytes);
            goes_on.then_some(matched + bytes.len())
        });
    }

    /// A write that is pending may stay so for `stall`; any progress starts anew.
    fn note_write<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            self.stalled_by.as_mut().reset(Instant::now() + self.stall);
        }
        ready!(self.stalled_by.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.matched.is_some() {
            if polled.is_pending() {
                ready!(self.protocol_by.as_mut().poll(cx));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")));
            }
            self.note_read(&buffer.filled()[before..]);
        }
        polled
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
