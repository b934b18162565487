//! Inspects a model without serving it: its card, its graph, and all that is wrong with them.

mod graph_file;

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

pub use self::graph_file::{GraphFacts, graph_at, graph_facts};
use super::registry::{EngineSettings, FoundModel, LenientRead, ModelVersion, RegistryError, Source, without_name};
use super::tensor::{Signature, TensorSpec};
use super::warm_up::WarmUpOutcome;
use modelfn_card::image::{Preprocessing, Resize};
use modelfn_card::{CARD_FILE, Card, Engine, Labels};

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
    /// A sentence for each output of the graph that is not served, with the remedy.
    pub omitted: Vec<String>,
    /// How the warm-up ended; `None` where there was none.
    pub warm_up: Option<WarmUpOutcome>,
    /// Milliseconds until the model would serve: the engine's start, loading the graph, and the warm-up.
    pub load_ms: Option<f64>,
    /// What is wrong: a sentence each. Empty where the model is served as it is.
    pub problems: Vec<String>,
    /// What is likely to be wrong, and keeps the model from nothing: a sentence each.
    pub doubts: Vec<String>,
}

/// What is known of a model without its graph.
pub struct ModelFiles {
    /// The number of the served version.
    pub version: u32,
    /// The model card.
    pub card: Card,
    /// The label file, if the card names one.
    pub labels: Option<Labels>,
}

/// Reads card and labels of the model `name` of `sources`.
///
/// # Errors
///
/// They can't be read, or the card is broken.
pub fn model_files(sources: &[Source], name: &str) -> Result<ModelFiles, RegistryError> {
    let ModelVersion { version, card, labels, .. } = ModelVersion::named(sources, name)?;
    Ok(ModelFiles { version, card, labels })
}

/// What a model is known to compute.
pub struct Trial {
    /// The graph's signature, as the engine reports it.
    pub signature: Signature,
    /// How the warm-up ended; `None` where there was none.
    pub warm_up: Option<WarmUpOutcome>,
}

/// Loads the model `name` of `sources` without serving it, and computes its warm-up.
///
/// # Errors
///
/// Card or graph can't be read, or the graph can't be loaded. That they agree is not looked at.
pub fn try_out(sources: &[Source], name: &str, engines: &EngineSettings) -> Result<Trial, RegistryError> {
    let loaded = ModelVersion::named(sources, name)?.load_graph(engines, "")?;
    Ok(Trial { signature: loaded.graph.signature().clone(), warm_up: loaded.warm_up })
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
        omitted: Vec::new(),
        warm_up: None,
        load_ms: None,
        problems: problems.iter().map(|problem| without_name(problem).to_owned()).collect(),
        doubts: Vec::new(),
    };
    if let Some(version) = read {
        inspection.load(&version, engines);
    }
    let preprocessing = inspection.whole_card().image_preprocessing();
    inspection.doubts.extend(preprocessing.ok().flatten().and_then(|preprocessing| preprocessing.doubt()));
    inspection
}

impl Inspection {
    fn load(&mut self, version: &ModelVersion, engines: &EngineSettings) {
        match version.open_file() {
            Ok(file) => self.graph_bytes = file.metadata().ok().map(|file| file.len()),
            Err(e) => return self.problems.push(without_name(&e.to_string()).to_owned()),
        }
        let mut card = version.card.clone();
        let started = Instant::now();
        let digest = match version.load_graph(engines, "") {
            Ok(loaded) => {
                self.load_ms = Some(started.elapsed().as_secs_f64() * 1e3);
                self.signature = Some(loaded.graph.signature().clone());
                let metadata = loaded.graph.metadata();
                card = metadata.reading(&version.card);
                self.omitted = metadata.omitted;
                self.warm_up = loaded.warm_up;
                loaded.digest.to_string()
            }
            Err(e) => {
                self.problems.push(without_name(&e.to_string()).to_owned());
                // A graph that fails to compute has inputs and outputs all the same.
                let path = version.folder.join(&version.card.graph.file);
                let facts = (version.card.graph.engine == Engine::Onnx).then(|| graph_facts(&path, engines));
                let Some(Ok(GraphFacts { signature, omitted, sha256, .. })) = facts else { return };
                (self.signature, self.omitted) = (Some(signature), omitted);
                sha256
            }
        };
        let labels = version.labels.as_ref();
        self.problems.extend(self.signature.iter().flat_map(|signature| card.disagreements(signature, labels)));
        let expected = &card.graph.sha256;
        if !expected.is_empty() && digest != *expected {
            self.problems.push(format!("sha256: the card says {expected}, the file has {digest}"));
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { name, path, card, .. } = self;
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
        for sentence in &self.omitted {
            row(f, "left out", sentence)?;
        }
        self.task(f)?;
        self.doubts.iter().try_for_each(|sentence| row(f, "DOUBTFUL", sentence))?;
        match &self.warm_up {
            Some(WarmUpOutcome::Computed(shapes)) => row(f, "warm-up", &format_args!("computed {shapes:?}"))?,
            Some(WarmUpOutcome::Unknown(reason)) => row(f, "warm-up", reason)?,
            None => {}
        }
        if let Some(load_ms) = self.load_ms {
            row(f, "start", &format_args!("{load_ms:.0} ms to load it and to warm it up"))?;
        }
        if self.problems.is_empty() {
            let agree = "card and graph agree".to_owned();
            let alone = format!("there is no {CARD_FILE}, and the graph is served as it is");
            return row(f, "check", if self.has_card { &agree } else { &alone });
        }
        self.problems.iter().try_for_each(|sentence| row(f, "WRONG", sentence))
    }
}

impl Inspection {
    /// The card, with what it leaves out taken from the graph.
    fn whole_card(&self) -> Card {
        self.signature.as_ref().map_or_else(|| self.card.clone(), |graph| self.card.completed("", graph))
    }

    /// The rows of what a function makes of pictures and scores.
    fn task(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let card = self.whole_card();
        if let Ok(Some(preprocessing)) = card.image_preprocessing() {
            row(f, "picture", &picture(&preprocessing))?;
            let scale = u8::from(preprocessing.scale);
            let (mean, std) = (preprocessing.mean, preprocessing.std);
            row(f, "", &format_args!("(p - {mean:?}) / {std:?}, where p is 0 to {scale}"))?;
        }
        if let Ok(Some(table)) = card.classification() {
            let labels = table.labels.as_ref().map_or("the classes".into(), |file| file.to_string_lossy());
            let top_k = table.top_k(card.classes().unwrap_or(usize::MAX));
            match table.threshold() {
                Some(least) => {
                    row(f, "answer", &format_args!("at most {top_k} of {labels} by sigmoid, from {least} on"))?
                }
                None => row(f, "answer", &format_args!("the top {top_k} of {labels} by {}", word(table.scores)))?,
            }
        }
        Ok(())
    }
}

/// Writes a row: a key, and what it is.
fn row(f: &mut fmt::Formatter<'_>, key: &str, value: &dyn fmt::Display) -> fmt::Result {
    // Descriptions and names come from files: they must not write to a terminal as they like.
    writeln!(f, "{key:<12} {}", value.to_string().replace(char::is_control, "\u{FFFD}"))
}

/// How a picture becomes the network's, in words.
fn picture(preprocessing: &Preprocessing) -> String {
    let Preprocessing { size: (width, height), crop, pad_color, .. } = preprocessing;
    let (color, layout) = (preprocessing.color.name(), preprocessing.layout.name());
    let shown = match preprocessing.resize {
        Resize::Crop => format!("from the centre {crop:.3} of the shorter edge"),
        Resize::Squash => format!("squashed from the centre {crop:.3} of both edges"),
        Resize::Pad => format!("padded with {pad_color:?}"),
    };
    format!("{width} x {height} {color} {layout}, {} {shown}", word(preprocessing.filter))
}

fn tensors(f: &mut fmt::Formatter<'_>, key: &str, specs: &[TensorSpec]) -> fmt::Result {
    specs.iter().enumerate().try_for_each(|(n, spec)| writeln!(f, "{:<12} {spec}", if n == 0 { key } else { "" }))
}

/// The value as it is written in a card.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
