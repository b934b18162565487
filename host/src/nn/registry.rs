//! The model registry: a folder of model folders, loaded once and shared by every request.
//!
//! A model here is a card, the graph's real signature, and the threads that compute it. A model counts as
//! loaded only when each instance has computed a warm-up. Names are looked up in a table and never become
//! paths.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

use super::backend::{self, Backend, Engine, Graph, LoadError, LoadOptions, Target};
use super::batcher::{Batcher, Limits, OnBatch};
use super::card::{CARD_FILE, Card};
use super::model::Model;
use super::tensor::{Tensor, Tensors};

/// Every model of this host, by name, and the engines that can load more.
pub struct Registry {
    models: BTreeMap<String, Arc<Model>>,
    backends: Vec<Box<dyn Backend>>,
    metrics: Arc<Metrics>,
    guest_graphs: Arc<Semaphore>,
}

/// Graphs that guests may have loaded from their own bytes, all together: each has a thread.
const MAX_GUEST_GRAPHS: usize = 8;

/// What to load, and with what.
pub struct Source<'a> {
    /// The folder of model folders.
    pub folder: &'a Path,
    /// Load these and no others; every model that can be loaded when empty.
    pub only: &'a [String],
    /// Models that must be there, beyond `only`.
    pub required: &'a [String],
    /// Instances of a model whose card does not say.
    pub instances: NonZeroUsize,
    /// Where loads and computations are recorded.
    pub metrics: Arc<Metrics>,
}

/// Why the registry, or a model of it, could not be loaded. Every message tells the remedy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant is")]
pub enum RegistryError {
    #[error("the model folder {} can't be read: {source}; name another with --models", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("no model '{name}' in {}; have: {have}", folder.display())]
    Unknown { name: String, folder: PathBuf, have: String },
    #[error("model '{name}': {} can't be read: {source}", path.display())]
    Unreadable { name: String, path: PathBuf, source: io::Error },
    #[error("model '{name}': {} is missing; weights are produced, not committed: run `make models` or see the card's source", path.display())]
    NoGraph { name: String, path: PathBuf },
    #[error("model '{name}': {CARD_FILE}: {reason}")]
    Card { name: String, reason: String },
    #[error("model '{name}': {} has sha256 {actual}, the card says {expected}; delete the file and run `make models` again", path.display())]
    Digest { name: String, path: PathBuf, expected: String, actual: String },
    #[error("model '{name}': card and graph disagree: {reason}; `modelfn model inspect {name}` shows both")]
    Disagree { name: String, reason: String },
    #[error("model '{name}': {source}")]
    Load { name: String, source: LoadError },
    #[error("model '{name}': the warm-up failed: {reason}")]
    WarmUp { name: String, reason: String },
}

impl Registry {
    /// Loads the models of `source`. A model that can't be loaded is left out with a warning, unless it is asked
    /// for by name.
    ///
    /// # Errors
    ///
    /// The first model that was asked for and can't be loaded.
    pub fn load(source: &Source<'_>, backends: Vec<Box<dyn Backend>>) -> Result<Registry, RegistryError> {
        let guest_graphs = Arc::new(Semaphore::new(MAX_GUEST_GRAPHS));
        let mut registry =
            Registry { models: BTreeMap::new(), backends, metrics: source.metrics.clone(), guest_graphs };
        let present = model_names(source.folder)?;
        for name in source.only.iter().chain(source.required) {
            if !present.contains(name) {
                return Err(RegistryError::Unknown {
                    name: name.clone(),
                    folder: source.folder.to_owned(),
                    have: present.join(", "),
                });
            }
        }
        for name in present {
            let named = source.only.contains(&name) || source.required.contains(&name);
            if !named && !source.only.is_empty() {
                continue;
            }
            match registry.load_model(source, &name) {
                Err(e) if !named => tracing::warn!("left out: {e}"),
                loaded => {
                    registry.models.insert(name, Arc::new(loaded?));
                }
            }
        }
        Ok(registry)
    }

    /// The model of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// All models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// Loads a graph that is in no folder, with one instance of one thread. Blocks for as long as the engine
    /// takes.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load_graph(&self, engine: Engine, target: Target, graph: &[u8]) -> Result<Model, LoadError> {
        let permit = self.guest_graphs.clone().try_acquire_owned();
        let permit = permit.map_err(|_| LoadError::Busy(MAX_GUEST_GRAPHS))?;
        let options = LoadOptions { target, threads: NonZeroUsize::MIN };
        let graph = backend::find(&self.backends, engine)?.load(graph, &options)?;
        let signature = graph.signature().clone();
        // A guest's own graph has one caller: there's nothing to stack, and nobody to wait for.
        let limits = Limits { queue_size: 1, max_batch_size: 1, max_queue_delay: Duration::ZERO };
        let batcher = Batcher::start("guest", vec![graph], limits, Arc::new(|_, _| {}));
        let batcher = batcher.map_err(|e| LoadError::NoEngine(e.to_string()))?;
        let metrics = self.metrics.clone();
        Ok(Model {
            name: "(loaded by the guest)".to_owned(),
            engine,
            signature,
            max_batch_size: usize::MAX,
            batcher,
            metrics,
            _permit: Some(permit),
        })
    }

    fn load_model(&self, source: &Source<'_>, name: &str) -> Result<Model, RegistryError> {
        let started = Instant::now();
        let folder = source.folder.join(name);
        let card = read_card(&folder, name)?;
        let graph = read_graph(&folder, name, &card)?;
        let options = LoadOptions { target: card.graph.target, threads: card.serving.threads };
        let instances = card.serving.instances.unwrap_or(source.instances).get();
        let backend = backend::find(&self.backends, card.graph.engine)
            .map_err(|source| RegistryError::Load { name: name.to_owned(), source })?;
        let graphs = load_instances(name, instances, || backend.load(&graph, &options))?;
        let signature = graphs[0].signature().clone();
        let labels = read_labels(&folder, name, &card)?;
        let disagreements = card.disagreements(&signature, labels.as_deref());
        if !disagreements.is_empty() {
            return Err(RegistryError::Disagree { name: name.to_owned(), reason: disagreements.join("; ") });
        }
        let limits = Limits {
            queue_size: card.serving.queue_size.get(),
            max_batch_size: if card.serving.dynamic_batching { card.serving.max_batch_size.get() } else { 1 },
            max_queue_delay: Duration::from_secs_f64(card.serving.max_queue_delay_ms / 1e3),
        };
        let batcher = Batcher::start(name, graphs, limits, self.on_batch(name))
            .map_err(|e| RegistryError::WarmUp { name: name.to_owned(), reason: e.to_string() })?;
        let load_time = started.elapsed();
        tracing::info!(model = name, instances, engine = ?card.graph.engine, load_ms = load_time.as_millis(), "model loaded");
        self.metrics.model_loaded(name, load_time);
        let (engine, max_batch_size, metrics) =
            (card.graph.engine, card.serving.max_batch_size.get(), self.metrics.clone());
        Ok(Model { name: name.to_owned(), engine, signature, max_batch_size, batcher, metrics, _permit: None })
    }

    fn on_batch(&self, name: &str) -> Arc<OnBatch> {
        let (metrics, name) = (self.metrics.clone(), name.to_owned());
        Arc::new(move |rows, release| metrics.batch_ran(&name, (rows, release)))
    }
}

/// The names of the folders in `folder` that have a card, sorted.
///
/// # Errors
///
/// The folder can't be listed.
pub fn model_names(folder: &Path) -> Result<Vec<String>, RegistryError> {
    let unreadable = |source| RegistryError::Folder { folder: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().join(CARD_FILE).is_file() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn read_card(folder: &Path, name: &str) -> Result<Card, RegistryError> {
    let text = read_text(name, &folder.join(CARD_FILE))?;
    Card::parse(name, &text).map_err(|reason| RegistryError::Card { name: name.to_owned(), reason })
}

pub(super) fn read_labels(folder: &Path, name: &str, card: &Card) -> Result<Option<String>, RegistryError> {
    card.postprocessing.as_ref().map(|post| read_text(name, &folder.join(&post.labels))).transpose()
}

pub(super) fn read_graph(folder: &Path, name: &str, card: &Card) -> Result<Vec<u8>, RegistryError> {
    let path = folder.join(&card.graph.file);
    if !path.exists() {
        return Err(RegistryError::NoGraph { name: name.to_owned(), path });
    }
    let graph = read(name, &path)?;
    let expected = card.graph.sha256.clone();
    let actual = if expected.is_empty() { String::new() } else { hex_sha256(&graph) };
    if actual != expected {
        return Err(RegistryError::Digest { name: name.to_owned(), path, expected, actual });
    }
    Ok(graph)
}

pub(super) fn read(name: &str, path: &Path) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(|source| RegistryError::Unreadable {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    })
}

fn read_text(name: &str, path: &Path) -> Result<String, RegistryError> {
    std::fs::read_to_string(path).map_err(|source| RegistryError::Unreadable {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    })
}

/// Lower-case hex SHA-256 of `bytes`.
pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Loads and warms `count` independent graphs side by side: start-up waits for one, not for their sum.
fn load_instances(
    name: &str,
    count: usize,
    load: impl Fn() -> Result<Box<dyn Graph>, LoadError> + Sync,
) -> Result<Vec<Box<dyn Graph>>, RegistryError> {
    let load_one = || {
        let mut graph = load().map_err(|source| RegistryError::Load { name: name.to_owned(), source })?;
        warm(graph.as_mut()).map_err(|reason| RegistryError::WarmUp { name: name.to_owned(), reason })?;
        Ok(graph)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(load_one)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
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
