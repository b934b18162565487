//! The model card, `model.toml`: what its author says of a model.
//!
//! Host and functions read the same file with this crate. The host needs the tensors, `[graph]` and `[serving]`. How a
//! function turns its request into tensors and tensors into a response stands in *task tables* such as
//! `[preprocessing]`, which [`Card`] carries as they are and [`Card::table`] deserializes into a type of the caller.
//! The tables that image classifiers use are defined here too ([`image`], [`classification`]), so that a host can find
//! a wrong card when it starts and not with the first request.
//!
//! The format is documented in `models/README.md`. This crate opens no file and knows neither HTTP nor WebAssembly nor
//! an engine.

mod card;
pub mod classification;
mod error;
pub mod image;
mod labels;
mod salvage;
mod serving;
mod shape;
mod tensor;

pub use card::{CARD_FILE, CARD_VARIABLE, Card, Engine, GraphFile, Isolation, TASK_TABLES, Target};
pub use error::CardError;
pub use labels::Labels;
pub use salvage::Salvaged;
pub use serving::Serving;
pub use shape::Shape;
pub use tensor::{DType, Signature, TensorSpec, TypeNames, refine};
