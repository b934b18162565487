//! Connections: bind, accept, hand to hyper, drain.

mod activity;
mod serve;
mod timeout_stream;

pub use self::serve::{ConnectionLimits, GracePeriods, GracefulShutdown, bind, serve};
