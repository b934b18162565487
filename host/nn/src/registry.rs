//! The model registry: a folder of model folders, loaded once and shared by every request.
//!
//! A registry never changes: a reload makes another one, which shares the models that are still the same, so that a
//! request sees one registry from its start to its end. A model counts as loaded only when each instance has computed a
//! warm-up. Names are looked up in a table and never become paths.

mod model_version;
mod versions;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use modelfn_telemetry::metrics::Metrics;

use super::backend::{self, Backend, Engine, LoadError, LoadOptions, Target};
use super::batcher::{Batcher, Limits, OnBatch};
use super::model::Model;
pub(super) use model_version::ModelVersion;
use modelfn_card::{CARD_FILE, CardError};

/// Every model of this host, by name, and the engines that can load more.
pub struct Registry {
    models: BTreeMap<String, Arc<Model>>,
    broken: BTreeMap<String, Arc<RegistryError>>,
    engines: Arc<Engines>,
}

/// What all registries of a process share.
struct Engines {
    backends: Vec<Box<dyn Backend>>,
    metrics: Arc<Metrics>,
    guest_graphs: Arc<Semaphore>,
}

/// Graphs that guests may have loaded from their own bytes, all together: each has a thread.
const MAX_GUEST_GRAPHS: usize = 8;

/// What to load.
pub struct Source<'a> {
    /// The folder of model folders.
    pub folder: &'a Path,
    /// Load these and no others; every model that can be loaded when empty.
    pub only: &'a [String],
    /// Models that must be there, beyond `only`.
    pub required: &'a [String],
    /// Instances of a model whose card does not say.
    pub instances: NonZeroUsize,
}

/// Why the registry, or a model of it, could not be loaded. Every message tells the remedy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant is")]
pub enum RegistryError {
    #[error("the model folder {} can't be read: {reason}; name another with --models", folder.display())]
    Folder { folder: PathBuf, reason: io::Error },
    #[error("no model '{name}' in {}; have: {have}", folder.display())]
    Unknown { name: String, folder: PathBuf, have: String },
    #[error("model '{name}': {reason}")]
    Versions { name: String, reason: String },
    #[error("model '{name}': {} can't be read: {reason}", path.display())]
    Unreadable { name: String, path: PathBuf, reason: io::Error },
    #[error("model '{name}': {} is missing; weights are produced, not committed: run `make models` or see the card's source", path.display())]
    NoGraph { name: String, path: PathBuf },
    #[error("model '{name}': {CARD_FILE}: {reason}")]
    Card { name: String, reason: Box<CardError> },
    #[error("model '{name}': {} has sha256 {actual}, the card says {expected}; delete the file and run `make models` again", path.display())]
    Digest { name: String, path: PathBuf, expected: String, actual: String },
    #[error("model '{name}': card and graph disagree: {reason}; `modelfn model inspect {name}` shows both")]
    Disagree { name: String, reason: String },
    #[error("model '{name}': {reason}")]
    Load { name: String, reason: LoadError },
    #[error("model '{name}': the warm-up failed: {reason}")]
    WarmUp { name: String, reason: String },
}

impl RegistryError {
    /// Whether the model's files are there but spoilt. The others are mistakes of who set this up.
    fn is_broken_model(&self) -> bool {
        match self {
            RegistryError::Unreadable { .. } | RegistryError::Digest { .. } | RegistryError::WarmUp { .. } => true,
            RegistryError::Load { reason, .. } => matches!(reason, LoadError::Invalid(_)),
            _ => false,
        }
    }
}

impl Registry {
    /// A registry without models, which can load with `backends`.
    pub fn new(backends: Vec<Box<dyn Backend>>, metrics: Arc<Metrics>) -> Registry {
        let guest_graphs = Arc::new(Semaphore::new(MAX_GUEST_GRAPHS));
        let engines = Arc::new(Engines { backends, metrics, guest_graphs });
        Registry { models: BTreeMap::new(), broken: BTreeMap::new(), engines }
    }

    /// A registry with the models of `source`; those of this one that are still the same are shared, not loaded again.
    /// A model that nobody asked for and that can't be loaded is left out with a warning. One that was asked for and is
    /// [broken](Registry::broken) leaves the others alone.
    ///
    /// # Errors
    ///
    /// A model that was asked for is not there or set up wrongly; or one that works in this registry would not in the
    /// new one.
    pub fn reload(&self, source: &Source<'_>) -> Result<Registry, RegistryError> {
        let mut new = Registry { models: BTreeMap::new(), broken: BTreeMap::new(), engines: self.engines.clone() };
        let present = model_names(source.folder)?;
        for name in source.only.iter().chain(source.required) {
            if !present.contains(name) {
                return Err(unknown(name, source.folder, &present));
            }
        }
        for name in present {
            let named = source.only.contains(&name) || source.required.contains(&name);
            if !named && !source.only.is_empty() {
                continue;
            }
            let loaded =
                ModelVersion::find(source.folder, &name).and_then(|model_version| self.load_one(source, model_version));
            match loaded {
                Ok(model) => {
                    new.models.insert(name, model);
                }
                Err(e) if !named => tracing::warn!("left out: {e}"),
                Err(e) if e.is_broken_model() && !self.models.contains_key(&name) => {
                    tracing::error!("not served: {e}");
                    new.broken.insert(name, Arc::new(e));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(new)
    }

    /// This registry with one model loaded anew.
    ///
    /// # Errors
    ///
    /// The model can't be loaded, for whatever reason.
    pub fn reload_model(&self, source: &Source<'_>, name: &str) -> Result<Registry, RegistryError> {
        let model = self.load_one(source, ModelVersion::named(source.folder, name)?)?;
        let others = self.models.iter().map(|(name, model)| (name.clone(), model.clone()));
        let models = others.chain([(name.to_owned(), model)]).collect();
        let mut broken = self.broken.clone();
        broken.remove(name);
        Ok(Registry { models, broken, engines: self.engines.clone() })
    }

    /// The model of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// All models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// Models that were asked for, are there, and can't be served; and why.
    pub fn broken(&self) -> &BTreeMap<String, Arc<RegistryError>> {
        &self.broken
    }

    /// The folder of the version that serves of the model in `folder`; of one that is broken, the version that would.
    pub fn served_folder(&self, folder: &Path) -> Option<PathBuf> {
        let name = folder.file_name()?.to_str()?;
        match self.models.get(name) {
            Some(model) => model.folder().map(Path::to_owned),
            None => versions::served(folder).ok().map(|version| version.folder),
        }
    }

    /// Loads a graph that is in no folder, with one instance of one thread. Blocks for as long as the engine
    /// takes.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load_graph(&self, engine: Engine, target: Target, graph: &[u8]) -> Result<Model, LoadError> {
        let permit = self.engines.guest_graphs.clone().try_acquire_owned();
        let permit = permit.map_err(|_| LoadError::Busy(MAX_GUEST_GRAPHS))?;
        let options = LoadOptions { target, threads: NonZeroUsize::MIN };
        let graph = backend::find(&self.engines.backends, engine)?.load(graph, &options)?;
        let signature = graph.signature().clone();
        // A guest's own graph has one caller: there's nothing to stack, and nobody to wait for.
        let limits = Limits { queue_size: 1, max_batch_size: 1, max_queue_delay: Duration::ZERO };
        let batcher = Batcher::start("guest", vec![graph], limits, Arc::new(|_, _| {}));
        let batcher = batcher.map_err(|e| LoadError::NoEngine(e.to_string()))?;
        Ok(Model {
            name: "(loaded by the guest)".to_owned(),
            engine,
            signature,
            labels: Vec::new(),
            max_batch_size: usize::MAX,
            batcher,
            metrics: self.engines.metrics.clone(),
            source: None,
            _permit: Some(permit),
        })
    }

    fn load_one(&self, source: &Source<'_>, model_version: ModelVersion) -> Result<Arc<Model>, RegistryError> {
        let current = self.models.get(&model_version.name);
        model_version.load(&self.engines, source.instances, current)
    }
}

impl Engines {
    fn on_batch(&self, name: &str) -> Arc<OnBatch> {
        let (metrics, name) = (self.metrics.clone(), name.to_owned());
        Arc::new(move |rows, release| metrics.batch_ran(&name, rows, release))
    }
}

/// The names of the folders in `folder` that hold a model, sorted.
///
/// # Errors
///
/// The folder can't be listed.
pub fn model_names(folder: &Path) -> Result<Vec<String>, RegistryError> {
    let unreadable = |reason| RegistryError::Folder { folder: folder.to_owned(), reason };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if versions::is_model(&entry.path()) {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}

fn unknown(name: &str, folder: &Path, present: &[String]) -> RegistryError {
    RegistryError::Unknown { name: name.to_owned(), folder: folder.to_owned(), have: present.join(", ") }
}
