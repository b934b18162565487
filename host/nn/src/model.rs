//! A loaded model: what it takes is checked here, before a computation is queued.

mod invalid;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::backend::Engine;
use super::batcher::{Batcher, Computed, Failure};
use super::tensor::{Signature, Tensor, TensorSpec, Tensors};
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::statistics::Statistics;
use modelfn_telemetry::traces::{self, Computation};

pub use self::invalid::InvalidInput;

/// A loaded model.
pub struct Model {
    pub(super) name: String,
    pub(super) engine: Engine,
    pub(super) signature: Signature,
    /// What the elements of the first output are called, in their order; none when the card has no labels.
    pub(super) labels: Vec<String>,
    pub(super) max_batch_size: usize,
    pub(super) batcher: Batcher,
    pub(super) metrics: Arc<Metrics>,
    /// `None` for graphs that guests loaded.
    pub(super) source: Option<ModelSource>,
    /// Held by graphs that guests loaded.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// Which files a model was loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelSource {
    /// The folder of its card.
    pub(super) folder: PathBuf,
    pub(super) version: u32,
    /// Of card, labels and graph.
    pub(super) digest: [u8; 32],
}

/// Why a model gave no outputs.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The inputs don't fit the graph.
    #[error(transparent)]
    InvalidInput(InvalidInput),
    /// Axis 0 is larger than the model's `max_batch_size`.
    #[error("{0}")]
    TooLarge(String),
    /// The inputs were right; the queue or the engine was not.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Model {
    /// The name guests load it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, from 1.
    pub fn version(&self) -> u32 {
        self.source.as_ref().map_or(1, |source| source.version)
    }

    /// The folder that its card, labels and graph came from, if any.
    pub fn folder(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.folder.as_path())
    }

    /// For how long its queue has been full; zero when it isn't.
    pub fn saturated_for(&self) -> Duration {
        self.batcher.saturated_for()
    }

    /// The engine that computes it.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Inputs and outputs, as the engine reports them.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the card calls the element `index` of the output `name`.
    pub fn label(&self, output: &str, index: usize) -> Option<&str> {
        let first = self.signature.outputs.first().is_some_and(|spec| spec.name == output);
        self.labels.get(index).filter(|_| first).map(String::as_str)
    }

    /// What it has done since it was loaded.
    pub fn statistics(&self) -> &Arc<Statistics> {
        self.batcher.statistics()
    }

    /// Computes `inputs`; any order of names is taken.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub async fn compute(&self, inputs: Tensors, deadline: Instant) -> Result<Computed, ModelError> {
        self.check(&inputs)?;
        let submitted = Instant::now();
        let computed = self.batcher.compute(inputs, deadline).await;
        match &computed {
            Ok(computed) => {
                let Computed { queued, computing, batch_size, .. } = *computed;
                self.metrics.computed(&self.name, queued, computing);
                traces::computed(&self.name, Computation { submitted, queued, computing, batch_size });
            }
            Err(failure) => {
                self.metrics.not_computed(&self.name);
                traces::not_computed(&self.name, submitted, failure.kind());
            }
        }
        Ok(computed?)
    }

    fn check(&self, inputs: &Tensors) -> Result<(), ModelError> {
        let specs = &self.signature.inputs;
        for spec in specs {
            if inputs.iter().filter(|(name, _)| *name == spec.name).count() != 1 {
                let given = inputs.iter().map(|(name, _)| name.clone()).collect();
                return Err(self.invalid(|model, inputs| InvalidInput::NotEachOnce { model, inputs, given }));
            }
        }
        for (name, tensor) in inputs {
            let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
                return Err(self.invalid(|model, inputs| InvalidInput::Unknown { model, inputs, name: name.clone() }));
            };
            self.check_tensor(spec, tensor)?;
        }
        Ok(())
    }

    fn invalid(&self, why: impl FnOnce(String, Vec<TensorSpec>) -> InvalidInput) -> ModelError {
        ModelError::InvalidInput(why(self.name.clone(), self.signature.inputs.clone()))
    }

    fn check_tensor(&self, spec: &TensorSpec, tensor: &Tensor) -> Result<(), ModelError> {
        if !spec.admits(tensor.dtype(), tensor.shape()) || tensor.data().is_empty() {
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            return Err(ModelError::InvalidInput(InvalidInput::Misfit { dtype, shape, wanted: spec.clone() }));
        }
        match (spec.shape.first(), tensor.shape().first()) {
            (Some(-1), Some(&batch)) if batch > self.max_batch_size => Err(ModelError::TooLarge(format!(
                "input '{}' has a batch of {batch}; the largest that model '{}' takes at once is {}",
                spec.name, self.name, self.max_batch_size
            ))),
            _ => Ok(()),
        }
    }
}
