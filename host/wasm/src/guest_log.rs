//! A guest's stdout and stderr, whose lines go to the host's log within the span of the request.
//!
//! The number of bytes is bounded. Output beyond the bound is dropped; the guest is neither blocked nor failed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The most bytes of each output stream of a request that are logged.
const MAX_BYTES: usize = 16 << 10;

/// One of a guest's two output streams. All handles of the stream share its bound, since a guest may open as many
/// handles as it likes.
#[derive(Clone)]
pub(super) struct GuestLog(Arc<Mutex<Lines>>);

struct Lines {
    span: tracing::Span,
    /// Bytes that may still be logged.
    remaining: usize,
    /// The start of a line that has no end yet. Guests often write a line in pieces.
    partial_line: Vec<u8>,
}

impl GuestLog {
    /// A log whose lines belong to the current span, which is the request's.
    pub(super) fn new() -> Self {
        GuestLog(Arc::new(Mutex::new(Lines {
            span: tracing::Span::current(),
            remaining: MAX_BYTES,
            partial_line: Vec::new(),
        })))
    }

    fn log(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
    }
}

impl Lines {
    fn write(&mut self, bytes: &[u8]) {
        if self.remaining == 0 {
            return;
        }
        let taken = bytes.len().min(self.remaining);
        self.remaining -= taken;
        for part in bytes[..taken].split_inclusive(|&byte| byte == b'\n') {
            self.partial_line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
        if self.remaining == 0 {
            self.end_line();
            tracing::warn!(target: "guest", parent: &self.span, "further output is dropped: over {MAX_BYTES} bytes");
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial_line);
        if !line.trim_end().is_empty() {
            tracing::info!(target: "guest", parent: &self.span, "{}", line.trim_end());
        }
        self.partial_line.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestLog {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.log(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
