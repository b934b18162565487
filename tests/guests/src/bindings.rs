//! Bindings made from `guest/wit`, the contract, and from `wit/`, what the probe tries beyond it.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "generated code; which of the lints it trips depends on the target"
)]

wit_bindgen::generate!({ world: "modelfn:probe/probe", path: ["../../guest/wit", "wit/cli", "wit/sockets", "wit"], generate_all });

#[cfg(target_family = "wasm")]
export!(Probe with_types_in self);

#[cfg(target_family = "wasm")]
use crate::Probe;
