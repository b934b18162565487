//! What connections may take of the server.

use std::num::NonZeroUsize;
use std::time::Duration;

/// What connections may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections that may be open at the same time.
    pub connections: usize,
    /// Connections that one address may have open; `None` is as many as all addresses together.
    pub per_address: Option<NonZeroUsize>,
    /// How long a client may take to send a request's head.
    pub header_timeout: Duration,
    /// How long a client may leave a response unread.
    pub stall: Duration,
    /// How long a connection without requests is kept.
    pub idle: Duration,
}
