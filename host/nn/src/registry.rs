//! The model registry: the models of some sources, loaded once and shared by all requests.
//!
//! A registry is immutable. A reload creates another one, which shares the models whose files are unchanged, so that a
//! request sees the same registry from its start to its end. A model is loaded only once its graph has computed a
//! warm-up. Names are looked up in a table and never become paths.

mod engines;
mod error;
mod model_version;
mod report;
mod sources;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use modelfn_card::CARD_FILE;
use modelfn_card::Card;
use modelfn_telemetry::metrics::Metrics;

pub use self::engines::EngineSettings;
use self::engines::{Engines, MAX_GUEST_GRAPHS};
pub use self::error::RegistryError;
pub(crate) use self::error::without_name;
pub(super) use self::model_version::{LenientRead, ModelVersion};
pub use self::report::ModelReport;
pub use self::sources::{FoundModel, Source, find_models};
pub(crate) use self::versions::graph_file;
use super::backend::GraphBytes;
use super::backend::{self, Engine, LoadError, LoadOptions, Target};
use super::batcher::{Batcher, BatcherLimits};
use super::external::ExternalFolder;
use super::model::Model;
use super::worker::{self, Expected, RemoteFiles, RemoteLoad};

/// All models of the host by name, and the engines that can load more.
pub struct Registry {
    models: BTreeMap<String, Arc<Model>>,
    broken: BTreeMap<String, Arc<RegistryError>>,
    left_out: BTreeMap<String, Arc<RegistryError>>,
    /// The names of the models that must be there, since somebody named them.
    named: BTreeSet<String>,
    /// The names of folders among those of models that hold none.
    empty: Vec<String>,
    /// All models that were found, whether they are served or not.
    found: Vec<FoundModel>,
    engines: Arc<Engines>,
}

/// Which models to load, and how.
pub struct RegistryOptions<'a> {
    /// Where models come from.
    pub sources: &'a [Source],
    /// The models to load; when empty, every model that can be loaded.
    pub only: &'a [String],
    /// Further models that must be there.
    pub required: &'a [String],
    /// Computations at the same time, for models whose cards don't set `instances`. They share the weights.
    pub instances: NonZeroUsize,
}

impl Registry {
    /// A registry without models, whose models will run on `engines`.
    pub fn new(engines: EngineSettings, metrics: Arc<Metrics>) -> Registry {
        let engines = Arc::new(Engines::new(engines, metrics));
        Registry {
            models: BTreeMap::new(),
            broken: BTreeMap::new(),
            left_out: BTreeMap::new(),
            named: BTreeSet::new(),
            empty: Vec::new(),
            found: Vec::new(),
            engines,
        }
    }

    /// Creates a registry with the models of `options`. Models of this registry whose files are unchanged are shared,
    /// not loaded again. A model that was neither named nor served so far and can't be loaded is left out with a warning.
    /// One that was named and whose files are damaged becomes [broken](Registry::broken), and the others are served.
    ///
    /// # Errors
    ///
    /// A model that was named is missing or misconfigured, or a model of this registry could not be served any more.
    pub fn reload(&self, options: &RegistryOptions<'_>) -> Result<Registry, RegistryError> {
        let present = find_models(options.sources)?;
        for name in options.only.iter().chain(options.required) {
            if !present.iter().any(|model| model.name == *name) {
                return Err(sources::unknown(name, options.sources, &present));
            }
        }
        let (mut models, mut broken, mut left_out) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut all_named = BTreeSet::new();
        for found in &present {
            let name = found.name.clone();
            let named = options.only.contains(&name) || options.required.contains(&name);
            if !named && !options.only.is_empty() {
                continue;
            }
            let named = named || found.demanded;
            if named {
                all_named.insert(name.clone());
            }
            let loaded = ModelVersion::read(found).and_then(|model_version| self.load_one(options, model_version));
            match loaded {
                Ok(model) => {
                    models.insert(name, model);
                }
                Err(e) if self.models.contains_key(&name) => return Err(e),
                // Without its engine no model can be loaded, which nobody wants to find out from a warning.
                Err(e) if !named && !e.is_no_engine() => {
                    tracing::warn!("left out: {e}");
                    left_out.insert(name, Arc::new(e));
                }
                Err(e) if e.is_broken_model() => {
                    tracing::error!("not served: {e}");
                    broken.insert(name, Arc::new(e));
                }
                Err(e) => return Err(e),
            }
        }
        self.check_vanished(&present)?;
        let empty = if options.only.is_empty() { sources::folders_without_model(options.sources) } else { Vec::new() };
        let engines = self.engines.clone();
        Ok(Registry { models, broken, left_out, named: all_named, empty, found: present, engines })
    }

    /// A model that serves and whose folder is still there has not been removed: its graph is missing.
    fn check_vanished(&self, present: &[FoundModel]) -> Result<(), RegistryError> {
        let is_present = |model: &FoundModel| present.iter().any(|other| other.name == model.name);
        let vanished =
            |model: &&FoundModel| self.models.contains_key(&model.name) && !is_present(model) && model.path.is_dir();
        self.found.iter().find(vanished).map_or(Ok(()), |model| {
            let path = model.path.display();
            let reason = format!("{path} has no model any more; put one there, or remove the folder");
            Err(RegistryError::Versions { name: model.name.clone(), reason })
        })
    }

    /// Creates a registry with the models of this one, except that one model is loaded again.
    ///
    /// # Errors
    ///
    /// The model can't be loaded.
    pub fn reload_model(&self, options: &RegistryOptions<'_>, name: &str) -> Result<Registry, RegistryError> {
        let model = self.load_one(options, ModelVersion::named(options.sources, name)?)?;
        let others = self.models.iter().map(|(name, model)| (name.clone(), model.clone()));
        let models = others.chain([(name.to_owned(), model)]).collect();
        let mut broken = self.broken.clone();
        broken.remove(name);
        let mut left_out = self.left_out.clone();
        left_out.remove(name);
        let (empty, found) = (self.empty.clone(), find_models(options.sources)?);
        let (named, engines) = (self.named.clone(), self.engines.clone());
        Ok(Registry { models, broken, left_out, named, empty, found, engines })
    }

    /// The model called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// All models, sorted by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The memory of all engine processes, in bytes.
    pub fn engine_bytes(&self) -> usize {
        self.models().filter_map(|model| model.worker.as_ref()).map(|worker| worker.memory_bytes()).sum()
    }

    /// Whether the server must have the model `name`: somebody named it.
    pub fn is_named(&self, name: &str) -> bool {
        self.named.contains(name)
    }

    /// Models that were found and not named, and can't be loaded, with the reasons.
    pub fn left_out(&self) -> &BTreeMap<String, Arc<RegistryError>> {
        &self.left_out
    }

    /// Models that were named and whose files are damaged, with the reasons.
    pub fn broken(&self) -> &BTreeMap<String, Arc<RegistryError>> {
        &self.broken
    }

    /// The model whose folder is `folder`, as it was found.
    pub fn in_folder(&self, folder: &Path) -> Option<&FoundModel> {
        self.found.iter().find(|model| sources::is_same(&model.path, folder))
    }

    /// Whether the model `name` has a folder of its own, and is no file beside others.
    pub fn has_own_folder(&self, name: &str) -> bool {
        self.found.iter().any(|model| model.name == name && model.path.is_dir())
    }

    /// The folder of the served version of the model in `folder`; for a broken model, of the version that would be
    /// served. `None` where `folder` is not a model's.
    pub fn served_folder(&self, folder: &Path) -> Option<PathBuf> {
        let found = self.in_folder(folder)?;
        match self.models.get(&found.name) {
            Some(model) => model.folder().map(Path::to_owned),
            None => versions::served(folder).ok().map(|version| version.folder),
        }
    }

    /// Loads a graph from a guest's bytes, with a single thread and in a process of its own where there are such.
    /// Blocks until the engine has loaded it.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load_graph(&self, engine: Engine, target: Target, graph: &[u8]) -> Result<Model, LoadError> {
        const NAME: &str = "(loaded by the guest)";
        let permit = self.engines.guest_graphs.clone().try_acquire_owned();
        let permit = permit.map_err(|_| LoadError::Busy(MAX_GUEST_GRAPHS))?;
        let options = LoadOptions { target, threads: NonZeroUsize::MIN, outputs: Vec::new() };
        let (graph, worker) = match &self.engines.settings.worker {
            None => {
                let backend = backend::find(&self.engines.settings.backends, engine)?;
                (backend.load(GraphBytes { graph, external: &[] }, &options)?, None)
            }
            Some(settings) => {
                let file = worker::memory_file(graph).map_err(|e| LoadError::NoEngine(e.to_string()))?;
                let graph =
                    RemoteFiles { graph: file, external: ExternalFolder::default(), expected: Expected::default() };
                let load = RemoteLoad { model: NAME, graph, engine, options, warm_up: None };
                let loaded = worker::load(settings, load)?;
                (loaded.graph, Some(loaded.worker))
            }
        };
        let (signature, metadata) = (graph.signature().clone(), graph.metadata());
        // The graph has one caller, so there is nothing to stack.
        let limits = BatcherLimits { queue_size: 1, max_batch_size: 1, max_queue_delay: Duration::ZERO };
        let batcher = Batcher::start("guest", vec![graph], limits, Arc::new(|_, _| {}));
        let batcher = batcher.map_err(|e| LoadError::NoEngine(e.to_string()))?;
        Ok(Model {
            name: NAME.to_owned(),
            engine,
            card: Card::default(),
            has_card: false,
            is_card_whole: false,
            warm_up: None,
            signature,
            metadata,
            labels: Vec::new(),
            max_batch_size: usize::MAX,
            batcher,
            worker,
            metrics: self.engines.metrics.clone(),
            source: None,
            _permit: Some(permit),
        })
    }

    fn load_one(
        &self,
        options: &RegistryOptions<'_>,
        model_version: ModelVersion,
    ) -> Result<Arc<Model>, RegistryError> {
        let current = self.models.get(&model_version.name);
        model_version.load(&self.engines, options.instances, current)
    }
}
