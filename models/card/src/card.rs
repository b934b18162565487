//! The card itself, and what is checked in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::classification::{self, Postprocessing};
use crate::error::{CardError, relative_path};
use crate::image::{self, Preprocessing};
use crate::{Labels, Serving, Signature, TensorSpec};

/// The name of the file.
pub const CARD_FILE: &str = "model.toml";

/// The tables that a card may carry for the function of its task.
pub const TASK_TABLES: [&str; 3] = ["preprocessing", "postprocessing", "tokenizer"];

/// A model card, as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The name that functions load the model by; the same as its folder's.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// Where the weights come from.
    pub source: String,
    /// The graph file and its engine.
    pub graph: GraphFile,
    /// The graph's inputs, in its order.
    pub inputs: Vec<TensorSpec>,
    /// The graph's outputs, in its order.
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
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GraphFile {
    /// Path within the model's folder.
    pub file: PathBuf,
    /// The engine that runs it.
    pub engine: Engine,
    /// The device that it runs on.
    #[serde(default)]
    pub target: Target,
    /// Where the engine runs; the host decides where a card doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// SHA-256 of the file in hexadecimal digits; empty where any file is accepted.
    #[serde(default)]
    pub sha256: String,
    /// SHA-256 of files beside it that hold its weights, by the paths that the graph names; any content is accepted of
    /// files that are not listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<String, String>,
}

/// The engines that a card may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime.
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
    /// Parses and checks the text of `model.toml`. The tables of image classifiers are checked as well; those of other
    /// tasks are carried along unread.
    ///
    /// # Errors
    ///
    /// See [`CardError`].
    pub fn parse(text: &str) -> Result<Self, CardError> {
        let card: Self = toml::from_str(text)?;
        card.serving.check()?;
        relative_path(&card.graph.file, "graph.file")?;
        card.image_preprocessing()?;
        card.classification()?;
        Ok(card)
    }

    /// Parses the card in the folder of that name.
    ///
    /// # Errors
    ///
    /// As [`Card::parse`], and [`CardError::Name`].
    pub fn parse_in_folder(text: &str, folder: &str) -> Result<Self, CardError> {
        let card = Self::parse(text)?;
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

    /// The `[preprocessing]` table of an image model; `None` where the card has none, or one of another task, which lacks
    /// `size`.
    ///
    /// # Errors
    ///
    /// [`CardError::Table`] for a key that is missing, unknown or wrong.
    pub fn image_preprocessing(&self) -> Result<Option<Preprocessing>, CardError> {
        if self.has_key(image::TABLE, "size") { self.table(image::TABLE).map(Some) } else { Ok(None) }
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
        relative_path(&table.labels, "postprocessing.labels")?;
        Ok(Some(table))
    }

    /// Whether every input and output leaves axis 0 open, so that one computation may have several rows.
    pub fn takes_batches(&self) -> bool {
        crate::tensor::is_batched(&self.inputs, &self.outputs)
    }

    /// Where card and graph disagree, and what is wrong within the card's tables: a sentence each. `labels` is the
    /// label file, if the card names one. Tables of tasks that this crate does not know are passed over.
    pub fn disagreements(&self, graph: &Signature, labels: Option<&Labels>) -> Vec<String> {
        let preprocessing = self.image_preprocessing().ok().flatten();
        let postprocessing = self.classification().ok().flatten();
        let mut found = compare("input", &self.inputs, &graph.inputs);
        found.extend(compare("output", &self.outputs, &graph.outputs));
        if let (Some(table), Some(input)) = (&preprocessing, self.inputs.first()) {
            found.extend(table.disagreement(input));
        }
        found.extend(labels.and_then(|labels| self.label_disagreement(labels.len())));
        let numbers = preprocessing.as_ref().and_then(Preprocessing::mistake);
        found.extend(numbers.or_else(|| postprocessing?.mistake(labels?.len())));
        found
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
        let classes = *self.outputs.first()?.shape.last()?;
        (classes >= 0 && usize::try_from(classes) != Ok(count))
            .then(|| format!("the label file has {count} lines, but the output has {classes} classes"))
    }
}

fn compare(kind: &str, card: &[TensorSpec], graph: &[TensorSpec]) -> Vec<String> {
    if card.len() != graph.len() {
        return vec![format!("the card has {} {kind}(s), the graph has {}", card.len(), graph.len())];
    }
    let pairs = card.iter().zip(graph).filter(|(card, graph)| card != graph);
    pairs.map(|(card, graph)| format!("{kind}: the card says {card}, the graph has {graph}")).collect()
}

#[cfg(test)]
mod tests;
