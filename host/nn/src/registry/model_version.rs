//! One version of a model: its files are found, read and verified, and then loaded.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::engines::Engines;
use super::error::RegistryError;
use super::versions::{self, VersionFolder, model_names};
use crate::backend::{self, Backend, Graph, LoadError, LoadOptions};
use crate::batcher::{Batcher, BatcherLimits};
use crate::model::{Model, ModelSource};
use crate::tensor::{Tensor, Tensors};
use modelfn_artifact::{Digest, ReadError, VerifiedFile, read_verified};
use modelfn_card::{CARD_FILE, Card, Labels};

/// A version of a model on disk, whose card and labels were read and whose graph was not.
pub(crate) struct ModelVersion {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) folder: PathBuf,
    pub(crate) card: Card,
    card_text: String,
    pub(crate) labels: Option<Labels>,
}

/// A graph that was loaded and has computed a warm-up.
struct WarmGraph {
    graph: Box<dyn Graph>,
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
        let card_text = read_text(name, &folder.join(CARD_FILE))?;
        let card_error = |reason| RegistryError::Card { name: name.to_owned(), reason: Box::new(reason) };
        let card = Card::parse_in_folder(&card_text, name).map_err(card_error)?;
        let postprocessing = card.classification().map_err(card_error)?;
        let labels = postprocessing.map(|table| read_text(name, &folder.join(&table.labels))).transpose()?;
        let labels = labels.map(Labels::new);
        Ok(ModelVersion { name: name.to_owned(), version, folder, card, card_text, labels })
    }

    /// Reads the graph and computes its digest, which is not compared with the card's.
    pub(crate) fn read_graph(&self) -> Result<VerifiedFile, RegistryError> {
        let path = self.folder.join(&self.card.graph.file);
        if !path.exists() {
            return Err(RegistryError::NoGraph { name: self.name.clone(), path });
        }
        read_verified(&path, None).map_err(|error| match error {
            ReadError::Unreadable { path, reason } => unreadable(&self.name, &path, reason),
            ReadError::Mismatch { path, actual, expected } => RegistryError::Digest {
                name: self.name.clone(),
                path,
                expected: expected.to_string(),
                actual: actual.to_string(),
            },
        })
    }

    /// Checks that the graph's digest is the one in the card, if that has one. A text in the card that is no digest
    /// never matches.
    pub(crate) fn check_digest(&self, actual: &Digest) -> Result<(), RegistryError> {
        let expected = &self.card.graph.sha256;
        let actual = actual.to_string();
        if expected.is_empty() || actual == *expected {
            return Ok(());
        }
        let (name, path) = (self.name.clone(), self.folder.join(&self.card.graph.file));
        Err(RegistryError::Digest { name, path, expected: expected.clone(), actual })
    }

    /// Loads the model and runs a warm-up; returns `current` if its files are unchanged.
    pub(super) fn load(
        self,
        engines: &Engines,
        instances: NonZeroUsize,
        current: Option<&Arc<Model>>,
    ) -> Result<Arc<Model>, RegistryError> {
        let backend = backend::find(&engines.backends, self.card.graph.engine).map_err(|e| self.failed(e))?;
        let graph = std::thread::scope(|scope| {
            let read = scope.spawn(|| self.read_graph());
            backend.prepare();
            read.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.check_digest(&graph.digest)?;
        let source = self.source(&graph.digest);
        if let Some(current) = current.filter(|current| current.source.as_ref() == Some(&source)) {
            return Ok(current.clone());
        }
        let loaded = self.open_graph(backend, &graph.bytes)?;
        self.start(engines, loaded, instances, source).map(Arc::new)
    }

    /// Loads the graph, runs a warm-up, and compares the graph with the card.
    fn open_graph(&self, backend: &dyn Backend, bytes: &[u8]) -> Result<WarmGraph, RegistryError> {
        let started = Instant::now();
        let options = LoadOptions { target: self.card.graph.target, threads: self.card.serving.threads };
        let mut graph = backend.load(bytes, &options).map_err(|e| self.failed(e))?;
        warm_up(graph.as_mut()).map_err(|reason| RegistryError::WarmUp { name: self.name.clone(), reason })?;
        let disagreements = self.card.disagreements(graph.signature(), self.labels.as_ref());
        if !disagreements.is_empty() {
            return Err(RegistryError::Disagree { name: self.name.clone(), reason: disagreements.join("; ") });
        }
        Ok(WarmGraph { graph, started })
    }

    /// Starts the engine threads of a loaded graph.
    fn start(
        &self,
        engines: &Engines,
        loaded: WarmGraph,
        instances: NonZeroUsize,
        source: ModelSource,
    ) -> Result<Model, RegistryError> {
        let WarmGraph { graph, started } = loaded;
        let ModelVersion { name, version, card, .. } = self;
        let instances = card.serving.instances.unwrap_or(instances).get();
        let signature = graph.signature().clone();
        let limits = BatcherLimits {
            queue_size: card.serving.queue_size.get(),
            max_batch_size: if card.serving.dynamic_batching { card.serving.max_batch_size.get() } else { 1 },
            max_queue_delay: Duration::from_secs_f64(card.serving.max_queue_delay_ms / 1e3),
        };
        let mut graphs: Vec<_> = (1..instances).map(|_| graph.share()).collect();
        graphs.push(graph);
        let batcher = Batcher::start(name, graphs, limits, engines.on_batch(name))
            .map_err(|e| RegistryError::WarmUp { name: name.clone(), reason: e.to_string() })?;
        let load_time = started.elapsed();
        let load_ms = load_time.as_millis();
        tracing::info!(model = name, version, instances, engine = ?card.graph.engine, load_ms, "model loaded");
        engines.metrics.model_loaded(name, *version, load_time);
        engines.metrics.expose(name, *version, batcher.statistics());
        let labels = self.labels.iter().flat_map(Labels::iter).map(str::to_owned).collect();
        Ok(Model {
            name: name.clone(),
            engine: card.graph.engine,
            signature,
            labels,
            max_batch_size: card.serving.max_batch_size.get(),
            batcher,
            metrics: engines.metrics.clone(),
            source: Some(source),
            _permit: None,
        })
    }

    fn failed(&self, reason: LoadError) -> RegistryError {
        RegistryError::Load { name: self.name.clone(), reason }
    }

    fn source(&self, graph: &Digest) -> ModelSource {
        let graph = graph.to_string();
        let mut digest = Sha256::new();
        for part in
            [self.card_text.as_bytes(), self.labels.as_ref().map_or("", Labels::text).as_bytes(), graph.as_bytes()]
        {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        ModelSource { folder: self.folder.clone(), version: self.version, digest: digest.finalize().into() }
    }
}

fn read_text(name: &str, path: &Path) -> Result<String, RegistryError> {
    std::fs::read_to_string(path).map_err(|reason| unreadable(name, path, reason))
}

fn unreadable(name: &str, path: &Path, reason: std::io::Error) -> RegistryError {
    RegistryError::Unreadable { name: name.to_owned(), path: path.to_owned(), reason }
}

/// Computes once on zeros, so that no request pays for the work of a first run.
fn warm_up(graph: &mut dyn Graph) -> Result<(), String> {
    let inputs = graph.signature().inputs.clone();
    let zeros = inputs
        .iter()
        .map(|spec| {
            Ok((spec.name.clone(), Tensor::zeros(spec.dtype, spec.smallest_shape()).map_err(|e| e.to_string())?))
        })
        .collect::<Result<Tensors, String>>()?;
    graph.compute(&zeros).map(drop).map_err(|e| e.to_string())
}
