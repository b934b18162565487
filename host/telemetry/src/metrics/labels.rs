//! Label sets and label values. Each value is one of a closed enum, or a name from the manifest or the model registry.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

/// How a request ended, with one value for each case that an operator would handle differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Outcome {
    Answered,
    ClientError,
    FunctionError,
    TimedOut,
    OutOfMemory,
    Shed,
    ClientLeft,
}

/// Why the server closed a connection, or did not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Closed {
    /// The head of a request did not arrive in time.
    SlowHead,
    /// There was no request for longer than a connection is kept.
    Idle,
    /// The client did not read its responses.
    Stalled,
    /// A newcomer took its place.
    Evicted,
    /// Its address has as many connections as it may have.
    AddressFull,
    /// The process was out of file descriptors.
    NoDescriptor,
}

/// Why a batch was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Release {
    /// No further job fitted into the batch.
    Full,
    /// The oldest job had waited for `max_queue_delay`. With a delay of 0 that is the case at once.
    Due,
    /// The job's inputs can't be stacked, so it is a batch by itself.
    Alone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) function: String,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClosedLabels {
    pub(super) reason: Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FunctionLabels {
    pub(super) function: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelLabels {
    pub(super) model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ComputationLabels {
    pub(super) model: String,
    pub(super) succeeded: Succeeded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) succeeded: Succeeded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BatchLabels {
    pub(super) model: String,
    pub(super) release: Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Succeeded {
    True,
    False,
}
