//! The seam to inference engines: two traits, the errors they give, and the list of engines.
//!
//! Everything above speaks of tensors and signatures; everything an engine needs to know of itself stays in
//! its own file below `backend/`. Devices are an engine's affair: a target that it can't give is refused,
//! never replaced by another one.

pub mod fake;
pub mod onnx;

use std::num::NonZeroUsize;

pub use modelfn_card::{Engine, Target};

use super::tensor::{Signature, Tensors};
use super::weights::Weights;

/// An inference engine that can load graphs.
pub trait Backend: Send + Sync {
    /// The word that a model card and a wasi-nn encoding use for it.
    fn engine(&self) -> Engine;

    /// Gets ready what every graph needs, a library say, while a file is still being read. What fails here is an error
    /// of [`load`](Backend::load).
    fn prepare(&self) {}

    /// Loads one graph from the bytes of its file. Each call makes an independent graph.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    fn load(&self, graph: &[u8], options: &LoadOptions) -> Result<Box<dyn Graph>, LoadError>;

    /// Counts the weights in the bytes of a graph's file, without loading it.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`].
    fn weights(&self, graph: &[u8]) -> Result<Weights, LoadError>;
}

/// The one of `backends` that runs `engine`.
///
/// # Errors
///
/// [`LoadError::NoEngine`].
pub fn find(backends: &[Box<dyn Backend>], engine: Engine) -> Result<&dyn Backend, LoadError> {
    let found = backends.iter().find(|backend| backend.engine() == engine);
    found.map(Box::as_ref).ok_or_else(|| LoadError::NoEngine(format!("this build has no {engine:?} engine")))
}

/// A loaded graph, for one thread at a time; [`share`](Graph::share) makes it another's, too.
pub trait Graph: Send {
    /// Inputs and outputs as the engine itself reports them.
    fn signature(&self) -> &Signature;

    /// The same graph for another thread. They compute at the same time, and share weights where the engine can.
    fn share(&self) -> Box<dyn Graph>;

    /// Runs the graph once, blocking. `inputs` fit the signature (names, types and shapes were checked).
    /// Outputs come in the signature's order.
    ///
    /// # Errors
    ///
    /// The engine failed; the graph stays usable.
    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError>;
}

/// How to load a graph.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// The device to run on.
    pub target: Target,
    /// Threads that one `compute` may use.
    pub threads: NonZeroUsize,
}

/// Why a graph could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine itself is not there.
    #[error("{0}")]
    NoEngine(String),
    /// The engine has no such device. Never replaced by another device.
    #[error("target '{target:?}' is not available: the {engine:?} engine of this build runs on cpu only", target = .0, engine = .1)]
    NoTarget(Target, Engine),
    /// Too many graphs were loaded by guests already.
    #[error("guests have loaded {0} graphs already; try again later, or have the host load the model")]
    Busy(usize),
    /// The bytes are not a graph that the engine can run.
    #[error("not a graph that the engine can run: {0}")]
    Invalid(String),
}

/// Why a computation failed, in the engine's own words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the engine failed: {0}")]
pub struct ComputeError(pub String);
