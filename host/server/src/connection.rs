//! Connections: bind, accept, hand to hyper, drain.

mod activity;
mod limits;
mod serve;
mod timeout_stream;

pub use self::limits::ConnectionLimits;
pub use self::serve::{GracePeriods, GracefulShutdown, bind, serve};
