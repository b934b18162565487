//! HTTP: sockets, routes, admission, and what a client is told when something fails.
//!
//! The only layer that knows hyper and status codes.

pub mod listen;

mod open;

mod patience;

pub mod router;

pub mod keys;

pub mod function;

mod answer;

mod budget;

mod body;

mod deadline;

mod rhythm;

mod timing;

mod watch;

pub mod inference;

pub mod admin;

pub mod collector;

pub mod error;
