//! The protocol without a transport: which models there are, and computing with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelfn_nn::backend::ComputeError;
use modelfn_nn::batcher::{Computed, Failure};
use modelfn_nn::model::{Model, ModelError};
use modelfn_nn::registry::Registry;
use modelfn_nn::tensor::{DType, Tensors};
use tokio::sync::Semaphore;

use crate::problem::Problem;
use crate::readiness::Readiness;

/// Requests and responses up to this many bytes are converted at once; larger ones on a thread that may take its time.
const MAX_INLINE_CONVERSION: usize = 64 << 10;

/// The models that the protocol serves.
pub struct Inference {
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    /// Large requests and responses are converted by as many threads as there are cores.
    converters: Arc<Semaphore>,
}

impl Inference {
    /// The protocol on the models of `registry`.
    pub fn new(registry: Arc<Registry>, readiness: Arc<Readiness>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Inference { registry, readiness, converters: Arc::new(Semaphore::new(cores)) }
    }

    /// Why a model keeps the server from being ready, if so: one that must be there is broken or can't be loaded again
    /// after its engine ended, or its queue has been full for `saturated_after`. An engine that requests have ended is not
    /// a reason, since a client could take the whole server out of service.
    pub(crate) fn unready(&self, saturated_after: Duration) -> Option<String> {
        let broken = self.registry.broken().values().map(|error| format!("not served: {error}"));
        let unloadable = self.unloadable(true).map(|(name, reason)| format!("not served: model '{name}': {reason}"));
        let saturated = self.registry.models().filter(|model| model.saturated_for() >= saturated_after).map(|model| {
            let seconds = model.saturated_for().as_secs();
            format!("saturated: the queue of model '{}' has been full for {seconds} s", model.name())
        });
        broken.chain(unloadable).chain(saturated).next()
    }

    /// The models that were loaded once and can't be again, with the reasons: those that must be there, or the others.
    fn unloadable(&self, named: bool) -> impl Iterator<Item = (&str, String)> {
        let models = self.registry.models().filter(move |model| self.registry.is_named(model.name()) == named);
        models.filter_map(|model| Some((model.name(), model.unloadable()?)))
    }

    /// Whether the server wants requests.
    pub(crate) fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Whether the server is between start-up and drain: a model that works is ready then, whatever else is wrong.
    pub(crate) fn is_serving(&self) -> bool {
        self.readiness.is_serving()
    }

    /// The models that serve.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.registry.models()
    }

    /// The names of models that are there and could not be loaded. The reason is for those who run the server.
    pub(crate) fn not_loaded(&self) -> impl Iterator<Item = &str> {
        self.registry.broken().keys().chain(self.registry.left_out().keys()).map(String::as_str)
    }

    /// The names of models that are not served and need not be.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let unloadable = self.unloadable(false).map(|(name, _)| name.to_owned());
        self.registry.left_out().keys().cloned().chain(unloadable).collect()
    }

    /// The names of the models that serve.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.registry.models().map(|model| model.name()).collect()
    }

    /// The model of this name, and of this version where the client asks for one.
    ///
    /// # Errors
    ///
    /// There is no such model or version, or the model could not be loaded.
    pub(crate) fn model(&self, name: &str, version: Option<u64>) -> Result<&Arc<Model>, Problem> {
        if self.registry.broken().contains_key(name) {
            return Err(Problem::Unavailable(name.to_owned()));
        }
        if self.registry.left_out().contains_key(name) {
            return Err(Problem::LeftOut(name.to_owned()));
        }
        let Some(model) = self.registry.get(name) else {
            return Err(Problem::NoModel { name: name.to_owned(), have: self.names().join(", ") });
        };
        if let Some(failure) = model.unavailable() {
            return Err(ModelError::from(failure).into());
        }
        match version {
            Some(version) if version != u64::from(model.version()) => {
                Err(Problem::NoVersion { name: name.to_owned(), version, have: model.version() })
            }
            _ => Ok(model),
        }
    }

    /// Computes `inputs` with `model` by the deadline.
    ///
    /// # Errors
    ///
    /// The inputs don't fit the model, in the protocol's names of types, or the model gave no outputs.
    pub(crate) async fn compute(model: &Model, inputs: Tensors, deadline: Instant) -> Result<Computed, Problem> {
        model.compute(inputs, deadline).await.map_err(|error| match error {
            ModelError::InvalidInput(invalid) => Problem::Invalid(invalid.describe(DType::oip_name)),
            error => error.into(),
        })
    }

    /// Runs `convert`, which takes time in proportion to `bytes`, where it keeps no other request from being served.
    ///
    /// # Errors
    ///
    /// No thread was free by the deadline, or the conversion panicked.
    pub(crate) async fn convert<T: Send + 'static>(
        &self,
        bytes: usize,
        deadline: Instant,
        convert: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= MAX_INLINE_CONVERSION {
            return Ok(convert());
        }
        let started = Instant::now();
        let late = |_| Failure::Deadline(started.elapsed());
        let permit = tokio::time::timeout_at(deadline.into(), self.converters.clone().acquire_owned()).await;
        let permit = permit.map_err(late).map_err(ModelError::from)?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            convert()
        });
        done.await.map_err(|panic| internal(panic.to_string()))
    }
}

/// A failure whose text is for the log only.
pub(crate) fn internal(text: String) -> Problem {
    ModelError::from(Failure::Engine(ComputeError::Failed(text))).into()
}
