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
