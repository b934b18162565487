//! Models: tensors, the registry that loads a folder of models, the batcher, and the engines that compute.
//!
//! This crate knows neither HTTP nor WebAssembly. Only the file `backend/<engine>.rs` knows an engine.

pub mod tensor;

pub mod registry;

pub mod model;

pub mod inspect;

pub mod files;

pub mod weights;

pub mod batcher;

mod external;

mod stack;

pub mod backend;

pub mod warm_up;

pub mod worker;
