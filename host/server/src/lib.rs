//! HTTP: sockets, admission, routes, and what a client is told when something fails.
//!
//! The only layer that names hyper. A request passes [`connection`], [`router`], [`admission`] and a function or the
//! Open Inference Protocol ([`oip`]).

#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod build_failure;
mod client_turn;
pub mod connection;
pub mod functions;
mod host_header;
pub mod loader;
pub mod model_page;
pub mod oip;
pub mod problem;
pub mod readiness;
mod request_id;
mod request_recorder;
pub mod response_body;
pub mod router;
mod server_timing;
pub mod service;
pub mod services;
pub mod tracked_body;
pub mod units;
mod unread_responses;
