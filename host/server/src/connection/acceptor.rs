//! Accepts connections, within the limits of their number and while file descriptors last.
//!
//! A process that is out of descriptors can't even accept a connection to say so. One descriptor is therefore kept for
//! that, and connections that can be spared are closed first.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::activity::ConnectionActivity;
use super::limits::ConnectionLimits;
use super::open_connections::{ConnectionSlot, OpenConnections};
use modelfn_telemetry::metrics::{Closed, Metrics};

/// The wait after an accept that failed.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How long a client that is refused may take to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The time between two lines of the log about accepts that fail.
const WARN_EVERY: Duration = Duration::from_secs(10);

const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What becomes of a client that was accepted with the descriptor that was kept for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutDescriptors {
    /// It gets 503.
    Refuse,
    /// It is served like any other: the port of probes.
    Serve,
}

/// A listener and its open connections.
pub(crate) struct Acceptor {
    listener: TcpListener,
    open: Arc<OpenConnections>,
    /// The descriptor that is kept for a client who comes when there are no others.
    kept: Option<File>,
    without_descriptors: WithoutDescriptors,
    warned: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// A connection that was accepted, and counts as open until `slot` is dropped.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) activity: Arc<ConnectionActivity>,
    pub(crate) slot: ConnectionSlot,
}

impl Acceptor {
    pub(crate) fn new(
        listener: TcpListener,
        limits: ConnectionLimits,
        without_descriptors: WithoutDescriptors,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (open, kept) = (OpenConnections::new(limits), descriptor());
        Acceptor { listener, open, kept, without_descriptors, warned: None, metrics }
    }

    /// The connections that are open.
    pub(crate) fn open(&self) -> &Arc<OpenConnections> {
        &self.open
    }

    /// The next connection. Whatever fails is waited out.
    pub(crate) async fn accept(&mut self) -> Accepted {
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(e) => match self.recover(&e).await {
                    Some(accepted) => accepted,
                    None => continue,
                },
            };
            let _ = stream.set_nodelay(true);
            let activity = ConnectionActivity::new();
            match self.open.admit(address.ip(), &activity).await {
                Ok(slot) => return Accepted { stream, address, activity, slot },
                Err(_) => self.metrics.connection_closed(Closed::AddressFull),
            }
        }
    }

    /// Waits out an accept that failed. Where descriptors have run out, a connection that can be spared is closed;
    /// without one, the newcomer is accepted with the descriptor that was kept. Gives the newcomer that is to be served.
    async fn recover(&mut self, error: &io::Error) -> Option<(TcpStream, SocketAddr)> {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!("a connection could not be accepted: {error}");
        }
        let is_out = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
        // An accept wants a descriptor before it looks whether anybody is there.
        if !is_out || !has_newcomer(&self.listener) || self.open.evict() {
            tokio::time::sleep(BACK_OFF).await;
            self.kept = self.kept.take().or_else(descriptor);
            return None;
        }
        drop(self.kept.take());
        let accepted = tokio::time::timeout(BACK_OFF, self.listener.accept()).await;
        if let Ok(Ok((stream, address))) = accepted {
            if self.without_descriptors == WithoutDescriptors::Serve {
                return Some((stream, address));
            }
            let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream)).await;
            self.metrics.connection_closed(Closed::NoDescriptor);
        }
        self.kept = descriptor();
        None
    }
}

/// Whether a client waits to be accepted.
fn has_newcomer(listener: &TcpListener) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Says no, and reads what the client has sent, so that no reset destroys the response.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    let mut unread = [0; 4096];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// A descriptor that holds nothing.
fn descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}
