//! A loaded model, which checks inputs against its signature before a computation is queued.

mod invalid;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::backend::{Engine, GraphMetadata};
use super::batcher::{Batcher, Computed, Failure};
use super::tensor::{Signature, Tensor, TensorSpec, Tensors};
use super::warm_up::WarmUpOutcome;
use super::worker::{Unavailable, Worker};
use modelfn_card::{CARD_VARIABLE, Card};
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::statistics::Statistics;
use modelfn_telemetry::traces::{self, Computation};

pub use self::invalid::InvalidInput;

/// A loaded model.
pub struct Model {
    pub(super) name: String,
    pub(super) engine: Engine,
    /// The card, completed by what the graph says; without content for graphs that guests loaded.
    pub(super) card: Card,
    /// Whether there is a card.
    pub(super) has_card: bool,
    /// Whether the file of the card says all of that itself.
    pub(super) is_card_whole: bool,
    /// How the warm-up ended; `None` where there was none.
    pub(super) warm_up: Option<WarmUpOutcome>,
    pub(super) signature: Signature,
    pub(super) metadata: GraphMetadata,
    /// The names of the elements of the first output, in their order; empty when the card has no labels.
    pub(super) labels: Vec<String>,
    pub(super) max_batch_size: usize,
    pub(super) batcher: Batcher,
    /// The engine's process, if it has one.
    pub(super) worker: Option<Arc<Worker>>,
    pub(super) metrics: Arc<Metrics>,
    /// The files that the model was loaded from; `None` for graphs that guests loaded.
    pub(super) source: Option<ModelSource>,
    /// Limits how many graphs guests load; `None` for other models.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// The files that a model was loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelSource {
    /// The folder of the card.
    pub(super) folder: PathBuf,
    pub(super) version: u32,
    /// The digest of card, labels, graph and external files together.
    pub(super) digest: [u8; 32],
    /// The names of the graph's external files.
    pub(super) external: Vec<String>,
}

/// Why a computation on a model failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The inputs don't match the signature.
    #[error(transparent)]
    InvalidInput(InvalidInput),
    /// Axis 0 is larger than the model's `max_batch_size`.
    #[error("{0}")]
    TooLarge(String),
    /// The inputs were valid, but the queue or the engine failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Model {
    /// The name by which guests load the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.source.as_ref().map_or(1, |source| source.version)
    }

    /// The folder of the card, labels and graph; `None` for graphs that guests loaded.
    pub fn folder(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.folder.as_path())
    }

    /// The names of the files beside the graph that hold its weights.
    pub(super) fn external_files(&self) -> &[String] {
        self.source.as_ref().map_or(&[], |source| &source.external)
    }

    /// For how long the queue has been saturated; zero while it isn't.
    pub fn saturated_for(&self) -> Duration {
        self.batcher.saturated_for()
    }

    /// Why computations fail at the moment, if they do: the engine's process crashed again and again.
    pub fn unavailable(&self) -> Option<Failure> {
        let Unavailable { reason, retry_after, .. } = self.worker.as_ref()?.unavailable()?;
        Some(Failure::Unavailable { reason, retry_after })
    }

    /// Why the engine's process can't load the graph again, if it can't: its files have changed, for example.
    pub fn unloadable(&self) -> Option<String> {
        let unavailable = self.worker.as_ref()?.unavailable()?;
        unavailable.is_unloadable.then_some(unavailable.reason)
    }

    /// The engine that runs the model.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The card, with the name, file, inputs and outputs of the model that is served where the text of the card does not
    /// say them. For graphs that guests loaded it is empty.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Whether there is a card, and not the graph alone.
    pub fn has_card(&self) -> bool {
        self.has_card
    }

    /// The environment variable that gives [the card](Model::card) to a function, where the card's file does not say name,
    /// inputs and outputs itself.
    pub fn card_variable(&self) -> Option<(String, String)> {
        let text = (!self.is_card_whole).then(|| toml::to_string(&self.card))?;
        Some((CARD_VARIABLE.to_owned(), text.ok()?))
    }

    /// Shapes of inputs that the model has computed, in the order of its signature; the smallest ones that fit where it has
    /// computed none yet.
    pub fn example_shapes(&self) -> Vec<Vec<usize>> {
        match &self.warm_up {
            Some(WarmUpOutcome::Computed(shapes)) => shapes.clone(),
            _ => self.signature.inputs.iter().map(TensorSpec::smallest_shape).collect(),
        }
    }

    /// The inputs and outputs: those that the engine reports, with the sizes that the card fixes.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The label of the element `index` of the output `output`: the card's, which are those of the first output, or else
    /// the graph's, if there are any.
    pub fn label(&self, output: &str, index: usize) -> Option<&str> {
        let is_first = self.signature.outputs.first().is_some_and(|spec| spec.name == output);
        let of_card = Some(&self.labels).filter(|labels| is_first && !labels.is_empty());
        let of_graph = || self.metadata.classes.iter().find(|classes| classes.output == output);
        of_card.or_else(|| of_graph().map(|classes| &classes.names))?.get(index).map(String::as_str)
    }

    /// The names of the elements of the first output, in their order; empty where the card has no labels.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The statistics since the model was loaded.
    pub fn statistics(&self) -> &Arc<Statistics> {
        self.batcher.statistics()
    }

    /// Computes `inputs`, whose names may be in any order.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub async fn compute(&self, inputs: Tensors, deadline: Instant) -> Result<Computed, ModelError> {
        self.check(&inputs)?;
        if let Some(failure) = self.unavailable() {
            return Err(failure.into());
        }
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
        self.check_axes(inputs)
    }

    /// Checks that axes of one name have one size.
    fn check_axes(&self, inputs: &Tensors) -> Result<(), ModelError> {
        let mut sizes: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
        for (spec, names) in self.signature.inputs.iter().zip(&self.metadata.axis_names.0) {
            let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == spec.name) else { continue };
            for (axis, &size) in names.iter().zip(tensor.shape()).filter(|(name, _)| !name.is_empty()) {
                let &mut (first, one) = sizes.entry(axis).or_insert((&spec.name, size));
                if one != size {
                    let (first, second) = ((first.to_owned(), one), (spec.name.clone(), size));
                    return Err(ModelError::InvalidInput(InvalidInput::AxesDisagree {
                        axis: axis.clone(),
                        first,
                        second,
                    }));
                }
            }
        }
        Ok(())
    }

    fn invalid(&self, why: impl FnOnce(String, Vec<TensorSpec>) -> InvalidInput) -> ModelError {
        ModelError::InvalidInput(why(self.name.clone(), self.signature.inputs.clone()))
    }

    fn check_tensor(&self, spec: &TensorSpec, tensor: &Tensor) -> Result<(), ModelError> {
        if !spec.admits(tensor.dtype(), tensor.shape()) {
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            return Err(ModelError::InvalidInput(InvalidInput::Misfit { dtype, shape, wanted: spec.clone() }));
        }
        match (spec.shape.first(), tensor.shape().first()) {
            (Some(-1), Some(&batch)) if batch > self.max_batch_size => Err(ModelError::TooLarge(format!(
                "input '{}' has a batch of {batch}; the largest that model '{}' takes at once is {} (max_batch_size of its card)",
                spec.name, self.name, self.max_batch_size
            ))),
            _ => Ok(()),
        }
    }
}
