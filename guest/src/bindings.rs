//! Bindings made from `wit/`, the contract that guest and host share.
//!
//! Nothing is written by hand here. The generated code is the only unsafe code of the function.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "generated code; which of the lints it trips depends on the target"
)]

wit_bindgen::generate!({ world: "function", path: "wit", generate_all });

#[cfg(target_family = "wasm")]
export!(Function with_types_in self);

#[cfg(target_family = "wasm")]
use crate::Function;
