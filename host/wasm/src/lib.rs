//! Sandboxes: a component becomes a function that answers one request with one fresh instance.
//!
//! Owns everything about WebAssembly: the engine and its pool, compiled code on disk, the store and limits of
//! a request, and wasi-nn as guests see it. Knows nothing of sockets or of status codes.

pub mod engine;

mod code;
pub mod code_cache;

pub mod function;

mod body;

mod poll_timer;

mod state;

mod wasi_nn;

mod guest_log;
