//! The card itself, and what is checked in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::classification::{self, Postprocessing};
use crate::error::{CardError, relative_path};
use crate::image::{self, Preprocessing, PreprocessingTable};
use crate::{Labels, Serving, Signature, TensorSpec, refine};

/// The name of the file.
pub const CARD_FILE: &str = "model.toml";

/// The environment variable by which a host gives functions the card that is served, where the file does not say
/// everything: its text, completed by the model's name and its graph's inputs and outputs.
pub const CARD_VARIABLE: &str = "MODELFN_CARD";

/// The tables that a card may carry for the function of its task.
pub const TASK_TABLES: [&str; 3] = ["preprocessing", "postprocessing", "tokenizer"];

/// A model card, as written. Each field may be absent there, and is empty here then: a model without a card has
/// [`Card::default`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The name that functions load the model by; the same as its folder's, or that of its file without `.onnx`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// SPDX expression of the weights' licence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// Where the weights come from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The graph file and its engine.
    #[serde(default)]
    pub graph: GraphFile,
    /// The graph's inputs, in its order. Empty where the graph alone says what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TensorSpec>,
    /// The graph's outputs, in its order. Empty where the graph alone says what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<TensorSpec>,
    /// How the host runs it.
    #[serde(default)]
    pub serving: Serving,
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessing: Option<toml::Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postprocessing: Option<toml::Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<toml::Table>,
}

/// The `[graph]` table.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GraphFile {
    /// Path within the model's folder. Empty where the card does not say: then it is the folder's only `*.onnx`, or
    /// `model.onnx` among several.
    #[serde(default, skip_serializing_if = "is_empty_path")]
    pub file: PathBuf,
    /// The engine that runs it.
    #[serde(default)]
    pub engine: Engine,
    /// The device that it runs on.
    #[serde(default)]
    pub target: Target,
    /// Where the engine runs; the host decides where a card doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// SHA-256 of the file in hexadecimal digits; empty where any file is accepted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// SHA-256 of files beside it that hold its weights, by the paths that the graph names; any content is accepted of
    /// files that are not listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<String, String>,
}

fn is_empty_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// The engines that a card may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime.
    #[default]
    Onnx,
    /// No engine at all: it sums its input, and waits or fails on command. For tests.
    Fake,
}

/// The device that a graph runs on, by wasi-nn's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The processor.
    #[default]
    Cpu,
    /// A graphics processor.
    Gpu,
    /// A tensor processor.
    Tpu,
}

/// Where the engine of a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// On threads of the server. A graph that crashes the engine ends the server.
    Thread,
    /// In a process of its own, without network and files. A crash fails only the computations that were in it.
    Process,
}

impl Card {
    /// The card of a model without one.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Parses and checks the text of `model.toml`. The tables of image classifiers are checked as well; those of other
    /// tasks are carried along unread.
    ///
    /// # Errors
    ///
    /// See [`CardError`].
    pub fn parse(text: &str) -> Result<Self, CardError> {
        toml::from_str::<Self>(text)?.checked()
    }

    /// Checks a card that was parsed to a table already.
    pub(crate) fn of_table(table: toml::Table) -> Result<Self, CardError> {
        table.try_into::<Self>()?.checked()
    }

    fn checked(self) -> Result<Self, CardError> {
        self.serving.check()?;
        if !is_empty_path(&self.graph.file) {
            relative_path(&self.graph.file, "graph.file")?;
        }
        self.image_table()?;
        self.classification()?;
        Ok(self)
    }

    /// Parses the card in the folder of that name, which becomes the model's name where the card says none.
    ///
    /// # Errors
    ///
    /// As [`Card::parse`], and [`CardError::Name`].
    pub fn parse_in_folder(text: &str, folder: &str) -> Result<Self, CardError> {
        let card = Self::parse(text)?;
        if card.name.is_empty() {
            return Ok(Self { name: folder.to_owned(), ..card });
        }
        if card.name == folder { Ok(card) } else { Err(CardError::Name { name: card.name, folder: folder.to_owned() }) }
    }

    /// Deserializes one of the [`TASK_TABLES`] into a type of the caller.
    ///
    /// # Errors
    ///
    /// [`CardError::NoTable`], or [`CardError::Table`] with the key that is missing, unknown or of the wrong type.
    pub fn table<T: DeserializeOwned>(&self, name: &str) -> Result<T, CardError> {
        let table = self.raw_table(name).ok_or_else(|| CardError::NoTable(name.to_owned()))?;
        table.clone().try_into().map_err(|reason| CardError::Table { table: name.to_owned(), reason })
    }

    /// What the `[preprocessing]` table of an image model means for the first input; `None` where the card has no such
    /// table, or one of another task.
    ///
    /// # Errors
    ///
    /// [`CardError::Table`] for a key that is unknown or of the wrong type, [`CardError::Mistakes`] for what is missing, out
    /// of range or contradicts something else.
    pub fn image_preprocessing(&self) -> Result<Option<Preprocessing>, CardError> {
        let table = self.image_table()?;
        table.map(|table| table.resolve(self.inputs.first()).map_err(CardError::Mistakes)).transpose()
    }

    /// The `[preprocessing]` table of an image model, as it is written. It is one if it has a key that only tables of image
    /// models have, or if it has none but theirs and the first input has the shape of pictures.
    fn image_table(&self) -> Result<Option<PreprocessingTable>, CardError> {
        let Some(table) = self.raw_table(image::TABLE) else { return Ok(None) };
        let is_told = PreprocessingTable::TELLING_KEYS.iter().any(|key| table.contains_key(*key));
        let is_plain = table.keys().all(|key| PreprocessingTable::OTHER_KEYS.contains(&key.as_str()));
        let takes_pictures = || self.inputs.first().is_some_and(PreprocessingTable::takes_pictures);
        if is_told || is_plain && takes_pictures() { self.table(image::TABLE).map(Some) } else { Ok(None) }
    }

    /// The `[postprocessing]` table of a classifier; `None` where the card has none, or one of another task, which lacks
    /// `scores`.
    ///
    /// # Errors
    ///
    /// [`CardError::Table`] for a key that is missing, unknown or wrong, [`CardError::Path`] for a label file outside of
    /// the model's folder.
    pub fn classification(&self) -> Result<Option<Postprocessing>, CardError> {
        if !self.has_key(classification::TABLE, "scores") {
            return Ok(None);
        }
        let table: Postprocessing = self.table(classification::TABLE)?;
        table.labels.as_deref().map_or(Ok(()), |labels| relative_path(labels, "postprocessing.labels"))?;
        Ok(Some(table))
    }

    /// Whether the card says how a picture becomes the only input, and how scores become labels.
    pub fn is_image_classifier(&self) -> bool {
        let has = |table: Result<bool, CardError>| table.unwrap_or(false);
        self.inputs.len() == 1
            && has(self.image_preprocessing().map(|table| table.is_some()))
            && has(self.classification().map(|table| table.is_some()))
    }

    /// Whether every input and output leaves axis 0 open, so that one computation may have several rows. Of a card
    /// without inputs and outputs nothing is known.
    pub fn takes_batches(&self) -> bool {
        crate::tensor::is_batched(&self.inputs, &self.outputs)
    }

    /// The signature that is served: the graph's, with the sizes that the card fixes where the graph leaves them open.
    /// Where card and graph [disagree](Card::disagreements), it is the graph's.
    pub fn refine(&self, graph: &Signature) -> Signature {
        Signature { inputs: refine(&self.inputs, &graph.inputs), outputs: refine(&self.outputs, &graph.outputs) }
    }

    /// The card of this model with all that was not written in it: its name and its graph's signature, refined by what
    /// was.
    #[must_use]
    pub fn completed(&self, name: &str, graph: &Signature) -> Self {
        let Signature { inputs, outputs } = self.refine(graph);
        Self { name: name.to_owned(), inputs, outputs, ..self.clone() }
    }

    /// Where card and graph disagree, and what is wrong within the card's tables: a sentence each. A size that the card
    /// fixes and the graph leaves open is no disagreement. `labels` is the label file, if the card names one. Tables of
    /// tasks that this crate does not know are passed over.
    pub fn disagreements(&self, graph: &Signature, labels: Option<&Labels>) -> Vec<String> {
        let mut found = compare("input", &self.inputs, &graph.inputs);
        found.extend(compare("output", &self.outputs, &graph.outputs));
        let served = self.completed(&self.name, graph);
        match (served.image_preprocessing(), served.inputs.first()) {
            (Ok(Some(table)), Some(input)) => found.extend(table.disagreement(input)),
            (Err(CardError::Mistakes(mistakes)), _) => found.extend(mistakes),
            _ => {}
        }
        found.extend(labels.and_then(|labels| served.label_disagreement(labels.len())));
        if let Ok(Some(table)) = served.classification() {
            found.extend(table.mistakes(labels.map(Labels::len).or_else(|| served.classes())));
        }
        found
    }

    /// The number of classes of a classifier: the elements that a row of its first output has, if its axes are fixed.
    pub fn classes(&self) -> Option<usize> {
        let shape: &[i64] = &self.outputs.first()?.shape;
        let row = if shape.len() > 1 { &shape[1..] } else { shape };
        let mut sizes = row.iter().map(|&axis| usize::try_from(axis).ok());
        let first = sizes.next()??;
        sizes.try_fold(first, |product, axis| product.checked_mul(axis?))
    }

    fn has_key(&self, table: &str, key: &str) -> bool {
        self.raw_table(table).is_some_and(|table| table.contains_key(key))
    }

    fn raw_table(&self, name: &str) -> Option<&toml::Table> {
        match name {
            "preprocessing" => self.preprocessing.as_ref(),
            "postprocessing" => self.postprocessing.as_ref(),
            "tokenizer" => self.tokenizer.as_ref(),
            _ => None,
        }
    }

    fn label_disagreement(&self, count: usize) -> Option<String> {
        let classes = self.classes()?;
        (classes != count).then(|| format!("the label file has {count} lines, but the output has {classes} classes"))
    }
}

/// Where the tensors of the card are not those of the graph. A card without any accepts those of the graph.
fn compare(kind: &str, card: &[TensorSpec], graph: &[TensorSpec]) -> Vec<String> {
    if card.is_empty() {
        return Vec::new();
    }
    if card.len() != graph.len() {
        return vec![format!("the card has {} {kind}(s), the graph has {}", card.len(), graph.len())];
    }
    let pairs = card.iter().zip(graph).filter(|(card, graph)| !card.refines(graph));
    pairs.map(|(card, graph)| format!("{kind}: the card says {card}, the graph has {graph}")).collect()
}

#[cfg(test)]
mod tests;
