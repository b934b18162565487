//! Inspects a model without serving it: its card, its graph, and where they disagree.

mod graph_file;

use std::fmt;

pub use self::graph_file::{GraphFacts, graph_facts};
use super::registry::{EngineSettings, ModelVersion, RegistryError, Source};
use super::tensor::{Signature, TensorSpec};
use super::warm_up::WarmUpOutcome;
use modelfn_card::image::{Preprocessing, Resize};
use modelfn_card::{Card, Labels};

/// What `modelfn model inspect` shows of one model.
#[derive(serde::Serialize)]
pub struct Inspection {
    /// The number of the served version.
    pub version: u32,
    /// The model card.
    pub card: Card,
    /// The size of the graph file in bytes.
    pub graph_bytes: u64,
    /// The graph's signature, as the engine reports it.
    pub signature: Signature,
    /// A sentence for each output of the graph that is not served, with the remedy.
    pub omitted: Vec<String>,
    /// How the warm-up ended; `None` where there was none.
    pub warm_up: Option<WarmUpOutcome>,
    /// A sentence for each disagreement; empty when card and graph agree.
    pub disagreements: Vec<String>,
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

/// Loads the model `name` of `sources` without serving it, computes a warm-up, and compares its card with its graph.
///
/// # Errors
///
/// The card or the graph can't be read at all. Disagreements between them are part of the result.
pub fn inspect(sources: &[Source], name: &str, engines: &EngineSettings) -> Result<Inspection, RegistryError> {
    let model_version = ModelVersion::named(sources, name)?;
    let graph_bytes = model_version.open_file()?.metadata().map_or(0, |file| file.len());
    let loaded = model_version.load_graph(engines, "")?;
    let (signature, omitted) = (loaded.graph.signature().clone(), loaded.graph.metadata().omitted);
    let (actual, expected) = (loaded.digest.to_string(), &model_version.card.graph.sha256);
    let ModelVersion { card, labels, version, .. } = &model_version;
    let mut disagreements = card.disagreements(&signature, labels.as_ref());
    if !expected.is_empty() && actual != *expected {
        disagreements.push(format!("sha256: the card says {expected}, the file has {actual}"));
    }
    Ok(Inspection {
        version: *version,
        card: card.clone(),
        graph_bytes,
        signature,
        omitted,
        warm_up: loaded.warm_up,
        disagreements,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { version, card, graph_bytes, signature, omitted, warm_up, disagreements } = self;
        let row = |f: &mut fmt::Formatter<'_>, key: &str, value: &dyn fmt::Display| writeln!(f, "{key:<12} {value}");
        row(f, "model", &format_args!("{} (version {version})", card.name))?;
        for (key, text) in [("", &card.description), ("license", &card.license), ("source", &card.source)] {
            if !text.is_empty() {
                row(f, key, text)?;
            }
        }
        let megabytes = *graph_bytes as f64 / 1e6;
        row(
            f,
            "graph",
            &format_args!(
                "{} ({megabytes:.1} MB), {} engine, {}",
                card.graph.file.display(),
                word(card.graph.engine),
                word(card.graph.target)
            ),
        )?;
        tensors(f, "inputs", &signature.inputs)?;
        tensors(f, "outputs", &signature.outputs)?;
        for sentence in omitted {
            row(f, "left out", sentence)?;
        }
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
        match warm_up {
            Some(WarmUpOutcome::Computed(shapes)) => row(f, "warm-up", &format_args!("computed {shapes:?}"))?,
            Some(WarmUpOutcome::Unknown(reason)) => row(f, "warm-up", reason)?,
            None => {}
        }
        if disagreements.is_empty() {
            return row(f, "check", &"card and graph agree");
        }
        disagreements.iter().try_for_each(|sentence| row(f, "DISAGREE", sentence))
    }
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
