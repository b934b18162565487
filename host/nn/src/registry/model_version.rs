//! A model on disk: found, read and checked, then loaded.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::versions::{self, Version};
use super::{Engines, RegistryError, model_names, unknown};
use crate::backend::{self, Backend, Graph, LoadError, LoadOptions};
use crate::batcher::{Batcher, Limits};
use crate::model::{Model, ModelSource};
use crate::tensor::{Tensor, Tensors};
use modelfn_artifact::digest::sha256_hex;
use modelfn_card::classification::Postprocessing;
use modelfn_card::{CARD_FILE, Card, Labels};

/// The files of the version that is to be served; nothing is loaded yet.
pub(crate) struct ModelVersion {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) folder: PathBuf,
    pub(crate) card: Card,
    card_text: String,
    pub(crate) labels: Option<Labels>,
}

impl ModelVersion {
    /// Reads all of model `name` but its graph, if there is such a folder in `models`: no other name becomes a path.
    pub(crate) fn named(models: &Path, name: &str) -> Result<ModelVersion, RegistryError> {
        let present = model_names(models)?;
        if !present.iter().any(|have| have == name) {
            return Err(unknown(name, models, &present));
        }
        ModelVersion::find(models, name)
    }

    /// Reads all of model `name` but its graph. The name is one of [`model_names`].
    pub(super) fn find(models: &Path, name: &str) -> Result<ModelVersion, RegistryError> {
        let Version { folder, number: version } = versions::served(&models.join(name))
            .map_err(|reason| RegistryError::Versions { name: name.to_owned(), reason })?;
        let card_text = read_text(name, &folder.join(CARD_FILE))?;
        let card = Card::parse_in_folder(&card_text, name)
            .map_err(|reason| RegistryError::Card { name: name.to_owned(), reason: Box::new(reason) })?;
        let card_error = |reason| RegistryError::Card { name: name.to_owned(), reason: Box::new(reason) };
        let postprocessing = Postprocessing::find(&card).map_err(card_error)?;
        let labels = postprocessing.map(|table| read_text(name, &folder.join(&table.labels))).transpose()?;
        let labels = labels.map(Labels::new);
        Ok(ModelVersion { name: name.to_owned(), version, folder, card, card_text, labels })
    }

    /// Reads the graph, whatever its digest.
    pub(crate) fn read_graph(&self) -> Result<Vec<u8>, RegistryError> {
        let path = self.folder.join(&self.card.graph.file);
        if !path.exists() {
            return Err(RegistryError::NoGraph { name: self.name.clone(), path });
        }
        read(&self.name, &path)
    }

    /// Whether a graph with this SHA-256 is the file that the card means.
    pub(crate) fn check_digest(&self, actual: &str) -> Result<(), RegistryError> {
        let expected = &self.card.graph.sha256;
        if expected.is_empty() || actual == expected {
            return Ok(());
        }
        let (name, path) = (self.name.clone(), self.folder.join(&self.card.graph.file));
        Err(RegistryError::Digest { name, path, expected: expected.clone(), actual: actual.to_owned() })
    }

    /// The model, loaded and warm; `current` itself when its files are still the same.
    pub(super) fn load(
        self,
        engines: &Engines,
        instances: NonZeroUsize,
        current: Option<&Arc<Model>>,
    ) -> Result<Arc<Model>, RegistryError> {
        let backend = backend::find(&engines.backends, self.card.graph.engine).map_err(|e| self.failed(e))?;
        let (digest, graph) = std::thread::scope(|scope| {
            let read = scope.spawn(|| self.read_graph().map(|graph| (sha256_hex(&graph), graph)));
            backend.prepare();
            read.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.check_digest(&digest)?;
        let source = self.source(&digest);
        if let Some(current) = current.filter(|current| current.source.as_ref() == Some(&source)) {
            return Ok(current.clone());
        }
        self.load_new(engines, backend, instances, (&graph, source)).map(Arc::new)
    }

    fn load_new(
        self,
        engines: &Engines,
        backend: &dyn Backend,
        instances: NonZeroUsize,
        (graph, source): (&[u8], ModelSource),
    ) -> Result<Model, RegistryError> {
        let started = Instant::now();
        let ModelVersion { name, version, card, .. } = &self;
        let options = LoadOptions { target: card.graph.target, threads: card.serving.threads };
        let instances = card.serving.instances.unwrap_or(instances).get();
        let mut graph = backend.load(graph, &options).map_err(|e| self.failed(e))?;
        warm(graph.as_mut()).map_err(|reason| RegistryError::WarmUp { name: name.clone(), reason })?;
        let signature = graph.signature().clone();
        let disagreements = card.disagreements(&signature, self.labels.as_ref());
        if !disagreements.is_empty() {
            return Err(RegistryError::Disagree { name: name.clone(), reason: disagreements.join("; ") });
        }
        let limits = Limits {
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

    fn source(&self, graph_digest: &str) -> ModelSource {
        let mut digest = Sha256::new();
        for part in [
            self.card_text.as_bytes(),
            self.labels.as_ref().map_or("", Labels::text).as_bytes(),
            graph_digest.as_bytes(),
        ] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        ModelSource { folder: self.folder.clone(), version: self.version, digest: digest.finalize().into() }
    }
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(|reason| unreadable(name, path, reason))
}

fn read_text(name: &str, path: &Path) -> Result<String, RegistryError> {
    std::fs::read_to_string(path).map_err(|reason| unreadable(name, path, reason))
}

fn unreadable(name: &str, path: &Path, reason: std::io::Error) -> RegistryError {
    RegistryError::Unreadable { name: name.to_owned(), path: path.to_owned(), reason }
}

/// One real computation on zeros, so that no request pays for first-run work.
fn warm(graph: &mut dyn Graph) -> Result<(), String> {
    let inputs = graph.signature().inputs.clone();
    let zeros = inputs
        .iter()
        .map(|spec| {
            Ok((spec.name.clone(), Tensor::zeros(spec.dtype, spec.smallest_shape()).map_err(|e| e.to_string())?))
        })
        .collect::<Result<Tensors, String>>()?;
    graph.compute(&zeros).map(drop).map_err(|e| e.to_string())
}
