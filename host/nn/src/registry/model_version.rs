//! One version of a model: its files are found, read and verified, and then loaded.

mod lenient;

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::engines::{EngineSettings, Engines};
use super::error::RegistryError;
use super::sources::{self, FoundModel, Source, find_models};
use super::versions;
use crate::backend::GraphBytes;
use crate::backend::{self, Backend, Graph, Isolation, LoadError, LoadOptions};
use crate::batcher::{Batcher, BatcherLimits};
use crate::external::{Digests, ExternalFolder, read_files};
use crate::model::{Model, ModelSource};
use crate::warm_up::{WarmUp, WarmUpOutcome, warm_up};
use crate::worker::{self, Expected, RemoteFiles, RemoteLoad, RemoteLoaded, Worker};
pub(crate) use lenient::LenientRead;
use modelfn_artifact::{Digest, VerifiedFile, open_regular, open_within, read_text_within};
use modelfn_card::{CARD_FILE, Card, CardError, GraphFile, Labels, Signature};

/// A version of a model on disk, whose card and labels were read and whose graph was not.
pub(crate) struct ModelVersion {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// The model's folder, which links in it may not leave.
    root: PathBuf,
    /// The folder of this version.
    pub(crate) folder: PathBuf,
    /// The graph's file where a person named it, or a folder in which it is a link: that may lead anywhere.
    named: Option<PathBuf>,
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
    pub(crate) warm_up: Option<WarmUpOutcome>,
}

/// A graph that agrees with its card.
struct WarmGraph {
    loaded: LoadedGraph,
    /// When loading it began.
    started: Instant,
}

impl ModelVersion {
    /// Reads card and labels of the model `name`, if `sources` have such a model. No name becomes a path.
    pub(crate) fn named(sources: &[Source], name: &str) -> Result<ModelVersion, RegistryError> {
        let present = find_models(sources)?;
        match present.iter().find(|model| model.name == name) {
            Some(found) => ModelVersion::read(found),
            None => Err(sources::unknown(name, sources, &present)),
        }
    }

    /// Reads card and labels of a model.
    pub(super) fn read(found: &FoundModel) -> Result<ModelVersion, RegistryError> {
        let FoundModel { name, path, .. } = found;
        if !path.is_dir() {
            return ModelVersion::read_file_model(found);
        }
        let version =
            versions::served(path).map_err(|reason| RegistryError::Versions { name: name.clone(), reason })?;
        let text =
            if versions::has_card(&version.folder) { Some(card_text(name, path, &version.folder)?) } else { None };
        let card = Card::parse_in_folder(text.as_deref().unwrap_or_default(), name);
        let card = card.map_err(|reason| card_error(name, reason))?;
        let version = ModelVersion {
            name: name.clone(),
            version: version.number,
            root: path.clone(),
            folder: version.folder,
            named: None,
            card,
            card_text: text.unwrap_or_default(),
            labels: None,
        };
        let version = version.with_graph_and_labels()?;
        Ok(ModelVersion { named: linked_graph(found, &version), ..version })
    }

    /// Reads the model of an `.onnx` file. A card beside it is the file's own if it names that file, or no file where
    /// there is no other.
    fn read_file_model(found: &FoundModel) -> Result<ModelVersion, RegistryError> {
        let name = &found.name;
        let real = found.path.canonicalize().map_err(|reason| unreadable(name, &found.path, reason))?;
        let file = real.file_name().map(PathBuf::from).unwrap_or_default();
        let folder = real.parent().unwrap_or(Path::new("/")).to_owned();
        let (mut card, mut text) = (Card::named(name), String::new());
        if versions::has_card(&folder) {
            text = card_text(name, &folder, &folder)?;
            card = Card::parse(&text).map_err(|reason| card_error(name, reason))?;
            let is_meant = |card: &Card| {
                card.graph.file.as_os_str().is_empty() && versions::graph_file(&folder).is_ok_and(|graph| graph == file)
            };
            if card.graph.file != file && !is_meant(&card) {
                (card, text) = (Card::named(name), String::new());
            }
        }
        card.name.clone_from(name);
        card.graph.file = file;
        ModelVersion {
            name: name.clone(),
            version: 1,
            root: folder.clone(),
            folder,
            named: Some(found.path.clone()),
            card,
            card_text: text,
            labels: None,
        }
        .with_graph_and_labels()
    }

    /// Finds the graph where the card does not say, and reads the labels.
    fn with_graph_and_labels(mut self) -> Result<ModelVersion, RegistryError> {
        if self.card.graph.file.as_os_str().is_empty() {
            self.card.graph.file = versions::graph_file(&self.folder)
                .map_err(|reason| RegistryError::Versions { name: self.name.clone(), reason })?;
        }
        let postprocessing = self.card.classification().map_err(|reason| card_error(&self.name, reason))?;
        if let Some(labels) = postprocessing.and_then(|table| table.labels) {
            let path = self.folder.join(labels);
            let text = read_text_within(&self.root, &path, MAX_TEXT);
            self.labels = Some(Labels::new(text.map_err(|reason| unreadable(&self.name, &path, reason))?));
        }
        Ok(self)
    }

    /// Opens the file of the graph.
    pub(crate) fn open_file(&self) -> Result<File, RegistryError> {
        let path = self.folder.join(&self.card.graph.file);
        if !path.exists() {
            return Err(RegistryError::NoGraph { name: self.name.clone(), path });
        }
        let opened = if self.named.is_some() { open_regular(&path) } else { open_within(&self.root, &path) };
        opened.map_err(|reason| unreadable(&self.name, &path, reason))
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
        let card = loaded.graph.metadata().reading(&self.card);
        let disagreements = card.disagreements(loaded.graph.signature(), self.labels.as_ref());
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
        let outputs = self.card.outputs.iter().map(|spec| spec.name.clone()).collect();
        let options = LoadOptions { target, threads: self.card.serving.threads, outputs };
        let Some(worker) = engines.worker_for(&self.card.graph).map_err(failed)? else {
            return self.load_on_threads(backend::find(&engines.backends, engine).map_err(failed)?, options, sha256);
        };
        let expected = Expected { graph: sha256.to_owned(), external: self.card.graph.external.clone() };
        let graph = RemoteFiles { graph: self.open_file()?, external: self.external_folder(), expected };
        let warm_up = Some(WarmUp::of(&self.card));
        let load = RemoteLoad { model: &self.name, graph, engine, options, warm_up };
        let RemoteLoaded { graph, worker, digest, external, warm_up } = worker::load(worker, load).map_err(failed)?;
        Ok(LoadedGraph { graph, digest, external, worker: Some(worker), warm_up })
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
        let warm_up = warm_up(graph.as_mut(), &WarmUp::of(&self.card), || {});
        let warm_up = warm_up.map_err(|reason| failed(LoadError::WarmUp(reason)))?;
        Ok(LoadedGraph { graph, digest, external: external.digests, worker: None, warm_up: Some(warm_up) })
    }

    /// Starts the engine threads of a loaded graph.
    fn start(&self, engines: &Engines, loaded: WarmGraph, instances: NonZeroUsize) -> Result<Model, RegistryError> {
        let WarmGraph { loaded: LoadedGraph { graph, digest, external, worker, warm_up }, started } = loaded;
        let source = self.source(&digest, &external);
        let ModelVersion { name, version, card, .. } = self;
        let instances = card.serving.instances.unwrap_or(instances).get();
        let written = Card::parse(&self.card_text).unwrap_or_default();
        let is_card_whole = written.name == *name && !written.inputs.is_empty() && !written.outputs.is_empty();
        let served_card = card.completed(name, graph.signature());
        let signature = card.refine(graph.signature());
        let metadata = graph.metadata();
        for sentence in &metadata.omitted {
            tracing::warn!(model = name, "an output is left out: {sentence}");
        }
        let stacks = card.serving.dynamic_batching && signature.is_batched();
        let limits = BatcherLimits {
            queue_size: card.serving.queue_size.get(),
            max_batch_size: if stacks { card.serving.max_batch_size.get() } else { 1 },
            max_queue_delay: Duration::from_secs_f64(card.serving.max_queue_delay_ms / 1e3),
        };
        let mut graphs: Vec<_> = (1..instances).map(|_| graph.share()).collect();
        graphs.push(graph);
        let batcher = Batcher::start(name, graphs, limits, engines.on_batch(name))
            .map_err(|e| self.failed(LoadError::NoEngine(e.to_string())))?;
        if let Some(WarmUpOutcome::Unknown(reason)) = &warm_up {
            tracing::warn!(
                model = name,
                "no warm-up: {reason}; its card can say a shape: {}",
                warm_up_remedy(&signature)
            );
        }
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
            card: served_card,
            has_card: self.has_card(),
            is_card_whole,
            warm_up,
            signature,
            metadata,
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
        match &self.named {
            Some(file) => ExternalFolder::of_file(file),
            None => ExternalFolder::of(&self.folder.join(&self.card.graph.file), &self.root),
        }
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

/// The line of a card that states the shapes of a warm-up, with an example.
fn warm_up_remedy(signature: &Signature) -> String {
    let shapes = signature.inputs.iter().map(|spec| format!("{:?} = {:?}", spec.name, spec.smallest_shape()));
    format!("[serving] warmup = {{ {} }}, with sizes that it computes", shapes.collect::<Vec<_>>().join(", "))
}

/// The graph of a model whose folder a person named, if it is a link right there, as in the caches of hubs. The person
/// vouches for what that leads to. Of what a folder of models holds nobody does.
fn linked_graph(found: &FoundModel, version: &ModelVersion) -> Option<PathBuf> {
    let graph = found.path.join(&version.card.graph.file);
    let is_right_there = graph.parent() == Some(found.path.as_path()) && version.folder == found.path;
    (found.demanded && is_right_there && graph.is_symlink()).then_some(graph)
}

fn card_text(name: &str, root: &Path, folder: &Path) -> Result<String, RegistryError> {
    let path = folder.join(CARD_FILE);
    let text = read_text_within(root, &path, MAX_TEXT).map_err(|reason| unreadable(name, &path, reason))?;
    if text.trim().is_empty() { Err(card_error(name, CardError::Empty)) } else { Ok(text) }
}

fn card_error(name: &str, reason: CardError) -> RegistryError {
    RegistryError::Card { name: name.to_owned(), reason: Box::new(reason) }
}

fn unreadable(name: &str, path: &Path, reason: std::io::Error) -> RegistryError {
    RegistryError::Unreadable { name: name.to_owned(), path: path.to_owned(), reason }
}
