//! Bindings made from `wit/`, the contract that guest and host share.
//!
//! Nothing is written by hand here. The generated code is the only unsafe code of a function. Most functions need none
//! of it; what the other modules do not offer can be called through it.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "generated code; which of the lints it trips depends on the target"
)]

wit_bindgen::generate!({ world: "function", path: "wit", generate_all, pub_export_macro: true, default_bindings_module: "modelfn_guest::bindings" });
