//! One version of a model: its files are found, read and verified, and then loaded.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::engines::{EngineSettings, Engines};
use super::error::RegistryError;
use super::versions::{self, VersionFolder, model_names};
use crate::backend::{self, Backend, Graph, Isolation, LoadError, LoadOptions};
use crate::batcher::{Batcher, BatcherLimits};
use crate::external::{Digests, ExternalFolder, GraphBytes, read_files};
use crate::model::{Model, ModelSource};
use crate::warm_up::warm_up;
use crate::worker::{self, Expected, RemoteFiles, RemoteLoad, RemoteLoaded, Worker};
use modelfn_artifact::{Digest, VerifiedFile, open_within, read_text_within};
use modelfn_card::{CARD_FILE, Card, GraphFile, Labels};

/// A version of a model on disk, whose card and labels were read and whose graph was not.
pub(crate) struct ModelVersion {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// The model's folder, which links in it may not leave.
    root: PathBuf,
    /// The folder of this version.
    pub(crate) folder: PathBuf,
    pub(crate) card: Card,
    card_text: String,
    pub(crate) labels: Option<Labels>,
}

/// The largest card, and the largest file of labels, in bytes.
const MAX_TEXT: u64 = 16 << 20;

/// A graph that was loaded and has computed a warm-up.
pub(crate) struct LoadedGraph {
    pub(crate) graph: Box<dyn Graph>,
    pub(crate) digest: Digest,
    /// The digests of its external files.
    pub(crate) external: Digests,
    /// The engine's process, if it has one.
    worker: Option<Arc<Worker>>,
}

/// A graph that agrees with its card.
struct WarmGraph {
    loaded: LoadedGraph,
    /// When loading it began.
    started: Instant,
}

impl ModelVersion {
    /// Reads card and labels of the model `name`, if there is such a model in `models`. No other name becomes a path.
    pub(crate) fn named(models: &Path, name: &str) -> Result<ModelVersion, RegistryError> {
        let present = model_names(models)?;
        if !present.iter().any(|have| have == name) {
            return Err(RegistryError::unknown(name, models, &present));
        }
        ModelVersion::find(models, name)
    }

    /// Reads card and labels of the model `name`, which is one of [`model_names`].
    pub(super) fn find(models: &Path, name: &str) -> Result<ModelVersion, RegistryError> {
        let VersionFolder { folder, number: version } = versions::served(&models.join(name))
            .map_err(|reason| RegistryError::Versions { name: name.to_owned(), reason })?;
        let root = models.join(name);
        let read_text =
            |path: PathBuf| read_text_within(&root, &path, MAX_TEXT).map_err(|reason| unreadable(name, &path, reason));
        let card_text = read_text(folder.join(CARD_FILE))?;
        let card_error = |reason| RegistryError::Card { name: name.to_owned(), reason: Box::new(reason) };
        let card = Card::parse_in_folder(&card_text, name).map_err(card_error)?;
        let postprocessing = card.classification().map_err(card_error)?;
        let labels = postprocessing.map(|table| read_text(folder.join(&table.labels))).transpose()?;
        let labels = labels.map(Labels::new);
        Ok(ModelVersion { name: name.to_owned(), version, root, folder, card, card_text, labels })
    }

    /// Opens the file of the graph.
    pub(crate) fn open_file(&self) -> Result<File, RegistryError> {
        let path = self.folder.join(&self.card.graph.file);
        if !path.exists() {
            return Err(RegistryError::NoGraph { name: self.name.clone(), path });
        }
        open_within(&self.root, &path).map_err(|reason| unreadable(&self.name, &path, reason))
    }

    /// Reads the file of the graph, which must have the digest `sha256` if that is not empty. A text in the card that is
    /// no digest never matches.
    pub(crate) fn read_file(&self, sha256: &str) -> Result<VerifiedFile, RegistryError> {
        let mut bytes = Vec::new();
        let path = || self.folder.join(&self.card.graph.file);
        self.open_file()?.read_to_end(&mut bytes).map_err(|reason| unreadable(&self.name, &path(), reason))?;
        let digest = Digest::of(&bytes);
        let actual = digest.to_string();
        if !sha256.is_empty() && sha256 != actual {
            return Err(self.failed(LoadError::Digest { actual }));
        }
        Ok(VerifiedFile { bytes, digest })
    }

    /// Loads the model and runs a warm-up; returns `current` if its files are unchanged.
    pub(super) fn load(
        self,
        engines: &Engines,
        instances: NonZeroUsize,
        current: Option<&Arc<Model>>,
    ) -> Result<Arc<Model>, RegistryError> {
        if let Some(current) = current
            && current.source.is_some()
            && current.source == self.source_on_disk(current.external_files())?
        {
            return Ok(current.clone());
        }
        let started = Instant::now();
        let loaded = self.load_graph(&engines.settings, &self.card.graph.sha256)?;
        let disagreements = self.card.disagreements(loaded.graph.signature(), self.labels.as_ref());
        if !disagreements.is_empty() {
            return Err(RegistryError::Disagree { name: self.name.clone(), reason: disagreements.join("; ") });
        }
        self.start(engines, WarmGraph { loaded, started }, instances).map(Arc::new)
    }

    /// Loads the graph where its engine runs, and computes a warm-up. The file must have the digest `sha256`, if that is
    /// not empty.
    pub(crate) fn load_graph(&self, engines: &EngineSettings, sha256: &str) -> Result<LoadedGraph, RegistryError> {
        let failed = |reason| self.failed(reason);
        let GraphFile { engine, target, .. } = self.card.graph;
        let options = LoadOptions { target, threads: self.card.serving.threads };
        let Some(worker) = engines.worker_for(&self.card.graph).map_err(failed)? else {
            return self.load_on_threads(backend::find(&engines.backends, engine).map_err(failed)?, options, sha256);
        };
        let expected = Expected { graph: sha256.to_owned(), external: self.card.graph.external.clone() };
        let graph = RemoteFiles { graph: self.open_file()?, external: self.external_folder(), expected };
        let load = RemoteLoad { model: &self.name, graph, engine, options, warm_up: true };
        let RemoteLoaded { graph, worker, digest, external } = worker::load(worker, load).map_err(failed)?;
        Ok(LoadedGraph { graph, digest, external, worker: Some(worker) })
    }

    fn load_on_threads(
        &self,
        backend: &dyn Backend,
        options: LoadOptions,
        sha256: &str,
    ) -> Result<LoadedGraph, RegistryError> {
        let VerifiedFile { bytes, digest } = std::thread::scope(|scope| {
            let reader = scope.spawn(|| self.read_file(sha256));
            backend.prepare();
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let failed = |reason| self.failed(reason);
        let names = backend.external_files(&bytes).map_err(failed)?;
        let folder = self.external_folder();
        let external = read_files(&names, &self.card.graph.external, |name| folder.open(name)).map_err(failed)?;
        let files = GraphBytes { graph: &bytes, external: &external.files };
        let mut graph = backend.load(files, &options).map_err(failed)?;
        warm_up(graph.as_mut()).map_err(|reason| self.failed(LoadError::WarmUp(reason)))?;
        Ok(LoadedGraph { graph, digest, external: external.digests, worker: None })
    }

    /// Starts the engine threads of a loaded graph.
    fn start(&self, engines: &Engines, loaded: WarmGraph, instances: NonZeroUsize) -> Result<Model, RegistryError> {
        let WarmGraph { loaded: LoadedGraph { graph, digest, external, worker }, started } = loaded;
        let source = self.source(&digest, &external);
        let ModelVersion { name, version, card, .. } = self;
        let instances = card.serving.instances.unwrap_or(instances).get();
        let (signature, axis_names) = (graph.signature().clone(), graph.axis_names());
        let limits = BatcherLimits {
            queue_size: card.serving.queue_size.get(),
            max_batch_size: if card.serving.dynamic_batching { card.serving.max_batch_size.get() } else { 1 },
            max_queue_delay: Duration::from_secs_f64(card.serving.max_queue_delay_ms / 1e3),
        };
        let mut graphs: Vec<_> = (1..instances).map(|_| graph.share()).collect();
        graphs.push(graph);
        let batcher = Batcher::start(name, graphs, limits, engines.on_batch(name))
            .map_err(|e| self.failed(LoadError::NoEngine(e.to_string())))?;
        let load_time = started.elapsed();
        let load_ms = load_time.as_millis();
        if let Some(worker) = &worker {
            let (metrics, name) = (engines.metrics.clone(), name.clone());
            worker.on_restart(move || metrics.engine_restarted(&name));
        }
        let isolation = if worker.is_some() { Isolation::Process } else { Isolation::Thread };
        tracing::info!(model = name, version, instances, engine = ?card.graph.engine, ?isolation, load_ms, "model loaded");
        engines.metrics.model_loaded(name, *version, load_time);
        engines.metrics.expose(name, *version, batcher.statistics());
        let labels = self.labels.iter().flat_map(Labels::iter).map(str::to_owned).collect();
        Ok(Model {
            name: name.clone(),
            engine: card.graph.engine,
            signature,
            axis_names,
            labels,
            max_batch_size: card.serving.max_batch_size.get(),
            batcher,
            worker,
            metrics: engines.metrics.clone(),
            source: Some(source),
            _permit: None,
        })
    }

    fn failed(&self, reason: LoadError) -> RegistryError {
        let name = self.name.clone();
        match reason {
            LoadError::Digest { actual } => {
                let path = self.folder.join(&self.card.graph.file);
                RegistryError::Digest { name, path, expected: self.card.graph.sha256.clone(), actual }
            }
            LoadError::WarmUp(reason) => RegistryError::WarmUp { name, reason },
            reason => RegistryError::Load { name, reason },
        }
    }

    /// Where the graph's weights are if they are in other files.
    fn external_folder(&self) -> ExternalFolder {
        ExternalFolder::of(&self.folder.join(&self.card.graph.file), &self.root)
    }

    /// The files as they are now, with these external ones; `None` if one of those can't be read.
    fn source_on_disk(&self, external: &[String]) -> Result<Option<ModelSource>, RegistryError> {
        let path = self.folder.join(&self.card.graph.file);
        let graph = Digest::of_reader(self.open_file()?).map_err(|reason| unreadable(&self.name, &path, reason))?;
        let folder = self.external_folder();
        let digest_of = |name: &String| {
            let digest = Digest::of_reader(&*folder.open(name).ok()?).ok()?;
            Some((name.clone(), digest.to_string()))
        };
        let external: Option<Digests> = external.iter().map(digest_of).collect();
        Ok(external.map(|external| self.source(&graph, &external)))
    }

    fn source(&self, graph: &Digest, external: &Digests) -> ModelSource {
        let graph = graph.to_string();
        let mut digest = Sha256::new();
        let labels = self.labels.as_ref().map_or("", Labels::text);
        let files = external.iter().flat_map(|(name, digest)| [name.as_str(), digest.as_str()]);
        for part in [self.card_text.as_str(), labels, &graph].into_iter().chain(files) {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        let (folder, digest) = (self.folder.clone(), digest.finalize().into());
        ModelSource { folder, version: self.version, digest, external: external.keys().cloned().collect() }
    }
}

fn unreadable(name: &str, path: &Path, reason: std::io::Error) -> RegistryError {
    RegistryError::Unreadable { name: name.to_owned(), path: path.to_owned(), reason }
}
