//! The interface to inference engines: the traits [`Backend`] and [`Graph`], their errors, and the list of engines.
//!
//! Everything above works with tensors and signatures. What is specific to an engine stays in its own file below
//! `backend/`. A target that an engine doesn't support is an error, and never replaced by another target.

pub mod external;
pub mod fake;
pub mod onnx;

use std::num::NonZeroUsize;
use std::sync::Arc;

pub use self::external::{ExternalFile, GraphBytes};
pub use modelfn_card::{Engine, Isolation, Target};

use modelfn_card::{Card, Shape};

use super::tensor::{AxisNames, ClassNames, Signature, TensorSpec, Tensors};
use super::weights::Weights;

/// An inference engine that can load graphs.
pub trait Backend: Send + Sync {
    /// Which engine this is.
    fn engine(&self) -> Engine;

    /// Whether this build of the engine can run graphs on `target`.
    fn supports(&self, target: Target) -> bool;

    /// Where graphs of this engine run if neither card nor settings demand one: `None` where the settings decide.
    fn default_isolation(&self) -> Option<Isolation> {
        None
    }

    /// Prepares what every graph needs, such as a library, while the graph's file is still being read. A failure is
    /// reported by [`load`](Backend::load).
    fn prepare(&self) {}

    /// The other files in which the weights of a graph are, by the paths that the graph names, without repetition. The
    /// paths were checked: they stay below the folder of the graph's file.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`].
    fn external_files(&self, _graph: &[u8]) -> Result<Vec<String>, LoadError> {
        Ok(Vec::new())
    }

    /// Loads a graph from the bytes of its files. Graphs of several calls share nothing.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    fn load(&self, graph: GraphBytes<'_>, options: &LoadOptions) -> Result<Box<dyn Graph>, LoadError>;

    /// Counts the weights in the bytes of a graph's file, without loading it.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`].
    fn weights(&self, graph: &[u8]) -> Result<Weights, LoadError>;
}

/// Finds the backend of `engine`.
///
/// # Errors
///
/// [`LoadError::NoEngine`].
pub fn find(backends: &[Box<dyn Backend>], engine: Engine) -> Result<&dyn Backend, LoadError> {
    let found = backends.iter().find(|backend| backend.engine() == engine);
    found.map(Box::as_ref).ok_or_else(|| LoadError::NoEngine(format!("this build has no {engine:?} engine")))
}

/// A loaded graph, which one thread uses at a time. [`share`](Graph::share) gives another thread its own handle.
pub trait Graph: Send {
    /// Inputs and outputs as the engine reports them.
    fn signature(&self) -> &Signature;

    /// What the graph says beside its signature.
    fn metadata(&self) -> GraphMetadata {
        GraphMetadata::default()
    }

    /// Another handle to the same graph, for another thread. Handles compute at the same time, and share the weights if
    /// the engine can.
    fn share(&self) -> Box<dyn Graph>;

    /// Cancels computations of this handle from other threads.
    fn canceller(&self) -> Arc<dyn Canceller>;

    /// Runs the graph once and blocks until it is done. The names, types and shapes of `inputs` were checked against
    /// the signature. Outputs are in the order of the signature.
    ///
    /// # Errors
    ///
    /// See [`ComputeError`]; the graph stays usable.
    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError>;
}

/// What a graph says of itself beside its signature.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct GraphMetadata {
    /// The names of the inputs' axes.
    pub axis_names: AxisNames,
    /// The names of the classes of some outputs.
    pub classes: Vec<ClassNames>,
    /// A sentence for each output that is not served, with the remedy.
    pub omitted: Vec<String>,
}

impl GraphMetadata {
    /// `card` as it is meant for this graph: where it calls an output a map for each row, as graphs with ZipMap do, it says
    /// nothing of the columns that the output has here.
    pub(crate) fn reading(&self, card: &Card) -> Card {
        let mut card = card.clone();
        let is_map = |spec: &TensorSpec| self.classes.iter().any(|classes| classes.output == spec.name);
        for spec in card.outputs.iter_mut().filter(|spec| is_map(spec) && spec.shape[..] == [-1]) {
            spec.shape = Shape::ANY;
        }
        card
    }
}

/// Cancels the computation of one handle.
pub trait Canceller: Send + Sync {
    /// Ends the computation that runs, or else the next one, as soon as the engine can. Does not block.
    fn cancel(&self);

    /// Forgets a cancellation. To be called when a computation is over, so that the next one is not cancelled.
    fn reset(&self);
}

/// Options for loading a graph.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The device to run on.
    pub target: Target,
    /// The most threads that one `compute` uses.
    pub threads: NonZeroUsize,
    /// The names of the outputs to compute. Where there are none, it is all that tensors can carry.
    pub outputs: Vec<String>,
}

/// Why a graph could not be loaded.
#[derive(Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum LoadError {
    /// The engine, or its library, is not available.
    #[error("{0}")]
    NoEngine(String),
    /// The engine doesn't support the target.
    #[error("target '{target:?}' is not available: the {engine:?} engine of this build runs on cpu only", target = .0, engine = .1)]
    NoTarget(Target, Engine),
    /// Guests have loaded as many graphs as they may.
    #[error("guests have loaded {0} graphs already; try again later, or have the host load the model")]
    Busy(usize),
    /// The bytes are not a graph that the engine can run.
    #[error("not a graph that the engine can run: {0}")]
    Invalid(String),
    /// The file has another digest than the card says.
    #[error("its sha256 is {actual}")]
    Digest {
        /// The digest that the file has.
        actual: String,
    },
    /// A file of its weights has another digest than expected.
    #[error("its weights in '{file}' have sha256 {actual}, but {expected} is expected")]
    ExternalDigest {
        /// The path by which the graph names the file.
        file: String,
        /// The digest that the file should have.
        expected: String,
        /// The digest that the file has.
        actual: String,
    },
    /// The first computation failed.
    #[error("the warm-up failed: {0}")]
    WarmUp(String),
    /// The first computation, on shapes that were made up for open axes, ended the engine's process or did not end.
    /// Without it the graph can be loaded.
    #[error("the warm-up on usual shapes failed: {0}")]
    MadeUpWarmUp(String),
}

/// Why a computation has no outputs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ComputeError {
    /// The engine refused or failed. Holds its message.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// The engine's process ended during this computation, or another one at the same time. Says how.
    #[error("{0}")]
    Crashed(String),
    /// Nobody wanted the outputs any more.
    #[error("the computation was cancelled")]
    Cancelled,
}
