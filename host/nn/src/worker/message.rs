//! The messages between the server and an engine process.
//!
//! Each message is one packet. The control socket carries [`Command`] and [`Event`], the socket of each handle carries
//! [`Computation`] and [`Outcome`]. Both sides are the same program, so that the format has no versions.

use std::num::NonZeroUsize;

use modelfn_card::{DType, Engine, Signature, Target};
use serde::{Deserialize, Serialize};

use crate::backend::{GraphMetadata, LoadError};
use crate::external::Digests;
use crate::warm_up::{WarmUp, WarmUpOutcome};

/// What the server tells an engine process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// Loads a graph. Comes once, with the descriptor of the graph's file.
    Load(LoadCommand),
    /// An external file that the process asked for. Comes with its descriptor.
    External,
    /// Opens a handle to the graph. Comes with descriptors: its socket, and the memory of its inputs and of its outputs.
    Open {
        /// Identifies the handle.
        handle: u32,
    },
    /// Cancels a computation, if it still runs.
    Cancel {
        /// Identifies the handle.
        handle: u32,
        /// The number of the computation.
        run: u64,
    },
}

/// The digests that the files of a graph must have, in hexadecimal digits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// Of the graph's file; empty where any file is accepted.
    pub(crate) graph: String,
    /// Of its external files; those that are not listed are accepted.
    pub(crate) external: Digests,
}

/// The graph that a process loads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LoadCommand {
    pub(super) engine: Engine,
    pub(super) target: Target,
    /// The most threads of one computation.
    pub(super) threads: NonZeroUsize,
    /// The names of the outputs to compute; none for all.
    pub(super) outputs: Vec<String>,
    pub(super) expected: Expected,
    /// The computation on zeros that belongs to loading; `None` does without.
    pub(super) warm_up: Option<WarmUp>,
}

/// What an engine process tells the server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// The graph needs the external file that it calls by this name.
    Wants(String),
    /// A computation on shapes begins that nobody stated.
    MadeUpWarmUp,
    /// The graph was loaded.
    Loaded(GraphDescription),
    /// The graph can't be loaded. The process ends.
    NotLoaded(LoadError),
}

/// What a process says of the graph that it has loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GraphDescription {
    pub(super) signature: Signature,
    pub(super) metadata: GraphMetadata,
    /// The digest of the graph's file, in hexadecimal digits.
    pub(super) sha256: String,
    /// The digests of its external files.
    pub(super) external: Digests,
    /// How the warm-up ended; `None` where there was none.
    pub(super) warm_up: Option<WarmUpOutcome>,
}

/// One computation on a handle.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Computation {
    /// Counts the computations of a handle.
    pub(super) run: u64,
    pub(super) inputs: Vec<TensorHeader>,
    /// The size of the memory of the inputs, in bytes.
    pub(super) memory: u64,
}

/// How a computation ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The outputs, in the order of the signature.
    Computed(Vec<TensorHeader>),
    /// The engine failed, with its message.
    Failed(String),
}

/// A tensor in a message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TensorHeader {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) data: TensorData,
}

/// Where the data of a tensor is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum TensorData {
    /// In the message itself.
    Inline(Vec<u8>),
    /// In the memory that both sides share.
    Shared {
        /// The first byte.
        offset: u64,
        /// Bytes.
        length: usize,
    },
}
