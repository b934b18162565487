//! A response's body on its way from the guest to the connection: a queue of frames that the guest need not wait for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes of a whole body that may stay unread for as long as its connection lives: more are taken back after a while.
pub const MAX_LINGERING: usize = 64 << 10;

/// The end that the guest's frames are put into. Dropped before [`BodySender::finish`], it aborts the body.
pub struct BodySender(Arc<Shared>);

/// The end that the connection reads.
pub struct BodyReceiver(Arc<Shared>);

/// The client has read nothing for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when the connection has read something, or will read no more.
    progress: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame<Bytes>>,
    /// Bytes of the frames.
    unread: usize,
    end: Option<End>,
    reader: Option<Waker>,
    is_abandoned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Aborted,
    /// The error of an aborted body was reported.
    Reported,
}

/// A body without frames.
pub fn channel() -> (BodySender, BodyReceiver) {
    let shared = Arc::new(Shared::default());
    (BodySender(shared.clone()), BodyReceiver(shared))
}

impl BodySender {
    /// Puts a frame into the queue.
    pub fn send(&self, frame: Frame<Bytes>) {
        self.0.change(|queue| {
            if !queue.is_abandoned {
                queue.unread += frame.data_ref().map_or(0, Bytes::len);
                queue.frames.push_back(frame);
            }
        });
    }

    /// The body is complete.
    pub fn finish(&self) {
        self.0.change(|queue| queue.end = queue.end.or(Some(End::Finished)));
    }

    /// Takes back what the client has not read; it sees that the body is incomplete.
    pub fn discard(&self) {
        self.0.change(|queue| {
            queue.frames.clear();
            queue.unread = 0;
            queue.end = Some(End::Aborted);
        });
    }

    /// Waits until at most `bytes` are unread, or nobody will read any more.
    ///
    /// # Errors
    ///
    /// The client read nothing for the time `stall`.
    pub async fn wait_until_unread(&self, bytes: usize, stall: Duration) -> Result<(), Stalled> {
        loop {
            let progress = self.0.progress.notified();
            let is_done = {
                let queue = self.0.lock();
                queue.is_abandoned || queue.unread <= bytes
            };
            if is_done {
                return Ok(());
            }
            timeout(stall, progress).await.map_err(|_| Stalled)?;
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.0.change(|queue| queue.end = queue.end.or(Some(End::Aborted)));
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        change(&mut queue);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for BodyReceiver {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut queue = self.0.lock();
        if let Some(frame) = queue.frames.pop_front() {
            queue.unread -= frame.data_ref().map_or(0, Bytes::len);
            drop(queue);
            self.0.progress.notify_one();
            return Poll::Ready(Some(Ok(frame)));
        }
        match queue.end {
            Some(End::Aborted) => {
                queue.end = Some(End::Reported);
                Poll::Ready(Some(Err(wasmtime_wasi_http::Error::HttpProtocolError)))
            }
            Some(End::Finished | End::Reported) => Poll::Ready(None),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let queue = self.0.lock();
        queue.frames.is_empty() && queue.end == Some(End::Finished)
    }

    fn size_hint(&self) -> SizeHint {
        let queue = self.0.lock();
        let unread = queue.unread as u64;
        if queue.end == Some(End::Finished) {
            return SizeHint::with_exact(unread);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(unread);
        hint
    }
}

impl Drop for BodyReceiver {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_abandoned = true;
        queue.frames.clear();
        queue.unread = 0;
        drop(queue);
        self.0.progress.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const STALL: Duration = Duration::from_millis(50);

    fn frame(bytes: usize) -> Frame<Bytes> {
        Frame::data(vec![b'x'; bytes].into())
    }

    #[tokio::test]
    async fn a_finished_body_is_whole_and_an_unfinished_one_is_an_error() {
        let (sender, receiver) = channel();
        sender.send(frame(2));
        sender.send(frame(3));
        sender.finish();
        assert_eq!(receiver.size_hint().exact(), Some(5));
        drop(sender);
        assert_eq!(receiver.collect().await.unwrap().to_bytes(), "xxxxx");

        let (sender, mut receiver) = channel();
        sender.send(frame(2));
        drop(sender);
        assert_eq!(receiver.frame().await.unwrap().unwrap().into_data().unwrap(), "xx");
        assert!(receiver.frame().await.unwrap().is_err());
        assert!(receiver.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_sender_waits_for_a_reader_and_not_for_ever() {
        let (sender, mut receiver) = channel();
        sender.send(frame(10));
        sender.send(frame(10));
        assert_eq!(sender.wait_until_unread(20, STALL).await, Ok(()));
        assert_eq!(sender.wait_until_unread(10, STALL).await, Err(Stalled));
        receiver.frame().await;
        assert_eq!(sender.wait_until_unread(10, STALL).await, Ok(()));
        drop(receiver);
        assert_eq!(sender.wait_until_unread(0, STALL).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_discarded_is_not_read() {
        let (sender, mut receiver) = channel();
        sender.send(frame(10));
        sender.discard();
        assert!(receiver.frame().await.unwrap().is_err());
    }
}
