//! Connections: bind, accept, hand to hyper, drain.

mod acceptor;
mod activity;
mod head_size;
mod limits;
mod open_connections;
mod serve;
mod timeout_stream;

pub(crate) use self::acceptor::{Accepted, Acceptor, WithoutDescriptors};
pub use self::limits::ConnectionLimits;
pub use self::serve::{GracePeriods, GracefulShutdown, bind, serve};
pub(crate) use self::timeout_stream::TimeoutStream;
