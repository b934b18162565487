//! Artifacts: a reference becomes bytes that were checked before they are used.
//!
//! A leaf that knows neither models nor sandboxes.

pub mod digest;
