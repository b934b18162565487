//! Black-box tests: the real program, on port 0, with real models, pictures and clients. One module a topic.
//!
//! `make test` produces what they need. Where something is missing, a test is skipped with the reason, but fails
//! where `CI` is set.

mod harness;

mod admin;
mod cli;
mod classify;
mod layers;
