//! Black-box tests: the real program on port 0, with real models, pictures and clients. Each topic has a module.
//!
//! `make test` produces what they need. If something is missing, a test is skipped with the reason; with `CI` set it
//! fails.

#![expect(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, reason = "a test harness fails where it stands")]

mod harness;
mod program;
mod functions;
mod browser;
mod collector;

mod admin;
mod any_model;
mod metrics;
mod model_command;
mod dashboard;
mod traces;
mod batching;
mod cli;
mod new;
mod build;
mod dev;
mod test;
mod model_check;
mod classify;
mod ocr;
mod pictures;
mod embed;
mod differential;
mod preprocessing;
mod layers;
mod module_graph;
mod readme;
mod shipped;
mod spin;
mod isolation;
mod mounts;
mod limits;
mod log;
mod connections;
mod http;
mod http_fuzz;
mod keys;
mod inference;
mod tensors;
mod statistics;
mod reload;
mod engine_process;
mod external_data;
mod faults;
mod graph_ends;
mod wasi_nn;
mod sdk;
mod wasmtime_serve;
mod page;
mod model_page;
mod python;
mod plan;
