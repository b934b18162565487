//! Inspects a model without serving it: its card, its graph, and all that is wrong with them.

mod graph_file;

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

pub use self::graph_file::{GraphFacts, graph_facts};
use super::registry::{EngineSettings, FoundModel, LenientRead, ModelVersion};
use super::tensor::{Signature, TensorSpec};
use modelfn_card::{CARD_FILE, Card, Engine};

/// What `modelfn model inspect` shows of one model.
#[derive(serde::Serialize)]
pub struct Inspection {
    /// The name by which clients and functions ask for it.
    pub name: String,
    /// Its folder, or its file.
    pub path: PathBuf,
    /// The number of the served version, where that is known.
    pub version: Option<u32>,
    /// The model card; what is wrong in it is left out, and without a card it is empty but for the graph's file.
    pub card: Card,
    /// Whether there is a card.
    pub has_card: bool,
    /// The size of the graph file in bytes.
    pub graph_bytes: Option<u64>,
    /// The graph's signature, as the engine reports it.
    pub signature: Option<Signature>,
    /// Milliseconds until the model would serve: the engine's start, loading the graph, and the warm-up.
    pub load_ms: Option<f64>,
    /// What is wrong: a sentence each. Empty where the model is served as it is.
    pub problems: Vec<String>,
}

/// Loads one model without serving it, computes a warm-up, and compares its card with its graph. What is wrong is part of
/// the result, and keeps nothing from being found that does not depend on it.
pub fn inspect(found: &FoundModel, engines: &EngineSettings) -> Inspection {
    let LenientRead { version: read, problems } = ModelVersion::read_leniently(found);
    let mut inspection = Inspection {
        name: found.name.clone(),
        path: found.path.clone(),
        version: read.as_ref().map(|read| read.version),
        card: read.as_ref().map(|read| read.card.clone()).unwrap_or_default(),
        has_card: read.as_ref().is_some_and(ModelVersion::has_card),
        graph_bytes: None,
        signature: None,
        load_ms: None,
        problems: problems.into_iter().map(without_name).collect(),
    };
    if let Some(version) = read {
        inspection.load(&version, engines);
    }
    inspection
}

impl Inspection {
    fn load(&mut self, version: &ModelVersion, engines: &EngineSettings) {
        match version.open_file() {
            Ok(file) => self.graph_bytes = file.metadata().ok().map(|file| file.len()),
            Err(e) => return self.problems.push(without_name(e.to_string())),
        }
        let started = Instant::now();
        let digest = match version.load_graph(engines, "") {
            Ok(loaded) => {
                self.load_ms = Some(started.elapsed().as_secs_f64() * 1e3);
                self.signature = Some(loaded.graph.signature().clone());
                loaded.digest.to_string()
            }
            Err(e) => {
                self.problems.push(without_name(e.to_string()));
                // A graph that fails to compute has inputs and outputs all the same.
                let path = version.folder.join(&version.card.graph.file);
                let facts = (version.card.graph.engine == Engine::Onnx).then(|| graph_facts(&path, engines));
                let Some(Ok(GraphFacts { signature, sha256, .. })) = facts else { return };
                self.signature = Some(signature);
                sha256
            }
        };
        let (card, labels) = (&version.card, version.labels.as_ref());
        self.problems.extend(self.signature.iter().flat_map(|signature| card.disagreements(signature, labels)));
        let expected = &card.graph.sha256;
        if !expected.is_empty() && digest != *expected {
            self.problems.push(format!("sha256: the card says {expected}, the file has {digest}"));
        }
    }
}

/// A sentence without the model's name, which is shown anyway.
fn without_name(sentence: String) -> String {
    let rest =
        sentence.strip_prefix("model '").and_then(|rest| rest.split_once("': ")).map(|(_, rest)| rest.to_owned());
    rest.unwrap_or(sentence)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { name, path, card, .. } = self;
        let row = |f: &mut fmt::Formatter<'_>, key: &str, value: &dyn fmt::Display| writeln!(f, "{key:<12} {value}");
        match self.version {
            Some(version) => row(f, "model", &format_args!("{name} (version {version})"))?,
            None => row(f, "model", &format_args!("{name} ({})", path.display()))?,
        }
        for (key, text) in [("", &card.description), ("license", &card.license), ("source", &card.source)] {
            if !text.is_empty() {
                row(f, key, text)?;
            }
        }
        if let Some(bytes) = self.graph_bytes {
            let (file, megabytes) = (card.graph.file.display(), bytes as f64 / 1e6);
            let (engine, target) = (word(card.graph.engine), word(card.graph.target));
            row(f, "graph", &format_args!("{file} ({megabytes:.1} MB), {engine} engine, {target}"))?;
        }
        if let Some(Signature { inputs, outputs }) = &self.signature {
            tensors(f, "inputs", inputs)?;
            tensors(f, "outputs", outputs)?;
        }
        if let Ok(Some(p)) = card.image_preprocessing() {
            let (width, height) = p.size;
            row(
                f,
                "picture",
                &format_args!(
                    "{width} x {height} {} {}, {} from the centre {:.3} of the shorter edge",
                    word(p.color),
                    word(p.layout),
                    word(p.filter),
                    p.crop
                ),
            )?;
            row(f, "", &format_args!("(p - {:?}) / {:?}", p.mean, p.std))?;
        }
        if let Ok(Some(p)) = card.classification() {
            row(f, "answer", &format_args!("the top {} of {} by {}", p.top_k, p.labels.display(), word(p.scores)))?;
        }
        if let Some(load_ms) = self.load_ms {
            row(f, "start", &format_args!("loaded, and computed a warm-up, in {load_ms:.0} ms"))?;
        }
        if self.problems.is_empty() {
            let agree = "card and graph agree".to_owned();
            let alone = format!("there is no {CARD_FILE}, and the graph is served as it is");
            return row(f, "check", if self.has_card { &agree } else { &alone });
        }
        self.problems.iter().try_for_each(|sentence| row(f, "WRONG", sentence))
    }
}

fn tensors(f: &mut fmt::Formatter<'_>, key: &str, specs: &[TensorSpec]) -> fmt::Result {
    specs.iter().enumerate().try_for_each(|(n, spec)| writeln!(f, "{:<12} {spec}", if n == 0 { key } else { "" }))
}

/// The value as it is written in a card.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
