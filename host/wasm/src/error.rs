//! Why an invocation failed, with one variant for each reaction that a caller may have.

use std::time::Duration;

use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::ResourceTableError;

use super::process_memory::MemoryFull;

/// Why a guest gave no response.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The guest ran into its wall-clock deadline. Holds how long it had run.
    #[error("the function did not answer within {0:?}")]
    Deadline(Duration),
    /// The guest needs more memory, table elements or tensor bytes than one request may use.
    #[error("the function ran out of memory: {0}")]
    OutOfMemory(String),
    /// The instance pool or the queue of a model is full; the client may try again later.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// All requests together have reserved the memory that they may; the client may try again later.
    #[error(transparent)]
    MemoryFull(#[from] MemoryFull),
    /// The client has read nothing of the response for so long that the guest was ended.
    #[error("the client read nothing of the response for {0:?}")]
    Unread(Duration),
    /// The guest asked for a model that is granted to it but could not be loaded when the host started.
    #[error("model '{0}' could not be loaded; this server is not ready")]
    NoModel(String),
    /// The guest trapped or could not be started. The text is meant for the log, not for the client.
    #[error("the function failed: {0}")]
    Trapped(String),
    /// The guest returned without setting a response.
    #[error("the function ended without an answer")]
    NoResponse,
    /// The guest set an error code, or an informational status, in place of a response.
    #[error("the function answered with an error: {0}")]
    Refused(String),
}

/// Why memory or table growth was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedGrowth {
    /// The request has a limit of its own.
    OwnLimit,
    /// All requests together have reserved the memory that they may.
    MemoryFull,
}

impl InvokeError {
    /// The value of `error.type` in traces.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            InvokeError::Deadline(_) => "Deadline",
            InvokeError::OutOfMemory(_) => "OutOfMemory",
            InvokeError::Overloaded(_) => "Overloaded",
            InvokeError::Trapped(_) => "Trapped",
            InvokeError::NoResponse => "NoAnswer",
            InvokeError::Refused(_) => "Refused",
            InvokeError::MemoryFull(_) => "MemoryFull",
            InvokeError::Unread(_) => "Unread",
            InvokeError::NoModel(_) => "NoModel",
        }
    }

    /// Maps what wasmtime returned. If growth of a memory or table was refused before, that is taken for the cause of a
    /// trap.
    pub(super) fn from_wasmtime(error: wasmtime::Error, refused: Option<RefusedGrowth>) -> InvokeError {
        if error.is::<PoolConcurrencyLimitError>() {
            return InvokeError::Overloaded(error.to_string());
        }
        if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            return InvokeError::OutOfMemory("it holds too many handles (streams, fields, tensors ...)".to_owned());
        }
        if let Some(full) = error.downcast_ref::<MemoryFull>() {
            return InvokeError::MemoryFull(*full);
        }
        match (error.downcast::<InvokeError>(), refused) {
            (Ok(from_host_call), _) => from_host_call,
            (Err(_), Some(RefusedGrowth::MemoryFull)) => MemoryFull.into(),
            (Err(error), Some(RefusedGrowth::OwnLimit)) => {
                InvokeError::OutOfMemory(format!("memory or table growth was refused; then: {error:#}"))
            }
            (Err(error), None) => InvokeError::Trapped(format!("{error:#}")),
        }
    }
}
