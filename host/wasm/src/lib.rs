//! Sandboxes: a component becomes a function that handles each request with a fresh instance.
//!
//! Owns everything about WebAssembly: the engine and its instance pool, compiled code on disk, the store and the limits
//! of a request, and wasi-nn as guests see it. Knows nothing of sockets, admission, or how errors become HTTP
//! responses.

mod body;
pub mod body_channel;
mod code;
pub mod code_cache;
pub mod concurrency_limit;
pub mod engine;
mod error;
pub mod function;
mod guest_log;
pub mod guest_threads;
mod invocation;
mod mounts;
mod open_file;
mod phases;
mod poll_timer;
pub mod process_memory;
pub mod remaining_length;
mod response_outlet;
mod services;
mod settings;
mod state;
mod wasi_nn;
