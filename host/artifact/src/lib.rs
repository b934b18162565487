//! Artifacts: files whose digest is verified before they are used.
//!
//! This crate is a leaf, which knows neither models nor sandboxes.

#![forbid(unsafe_code)]

pub mod digest;
mod file;

pub use self::digest::Digest;
pub use self::file::{ReadError, VerifiedFile, open_regular, open_within, read_text_within, read_verified};
