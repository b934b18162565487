//! modelfn: machine-learning models as sandboxed WebAssembly functions.
//!
//! A request enters [`server`], which owns sockets; it is given to [`wasm`], which owns sandboxes; the guest asks
//! for a tensor computation, which [`nn`] answers. Never back: `server -> wasm -> nn`. Each of the three names
//! one outside technology (hyper, wasmtime, the inference engine) and the others don't. The rest are leaves
//! that anyone may use. A test checks the rule.

// Leaves.
pub mod app;
pub mod config;
pub mod digest;
pub mod key_file;
pub mod metrics;
pub mod pressure;
pub mod public;
pub mod route;
pub mod traces;

// The path of a request, from the outside in.
pub mod server;
pub mod wasm;
pub mod nn;

// Beside it: what a model needs, measured.
pub mod plan;

// Start-up and reload: arguments become a host.
pub mod host;
