//! Models: what a tensor is, how a model folder becomes something that computes, and who runs it.
//!
//! Owns the registry of models and the threads that compute. Knows neither HTTP nor WebAssembly, and only
//! `backend/<engine>.rs` knows an engine.

pub mod tensor;

pub mod registry;

pub mod model;

pub mod inspect;

pub mod files;

pub mod weights;

pub mod batcher;

mod stack;

pub mod backend;
