//! The Open Inference Protocol, version 2: the same models and queues as the functions', without a function between.
//!
//! [`core`] is the protocol without a transport: models by name and version, and computations on tensors. [`rest`] is
//! its HTTP form. Another transport stands beside `rest`, on the same core. [`example`] makes a request to try.
//!
//! Sources: the protocol, <https://github.com/kserve/open-inference-protocol>, and Triton's extensions
//! `binary_tensor_data`, `classification`, `statistics` and the index of `model_repository`
//! (<https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/README.html>). Nothing is
//! loaded or unloaded from here.

pub mod classification;
pub mod core;
pub mod example;
pub mod rest;

#[cfg(test)]
#[path = "../../../tests/random.rs"]
mod random;
#[cfg(test)]
mod tests;

pub use self::core::Inference;

/// What the metrics call requests below `/v2`, beside the names of functions.
pub(crate) const FUNCTION: &str = "(v2)";
