//! The `[postprocessing]` table of classifiers: how scores become labels.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The table's name.
pub const TABLE: &str = "postprocessing";

/// The `[postprocessing]` table of a classifier.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postprocessing {
    /// File within the model's folder whose line n is the name of class n.
    pub labels: PathBuf,
    /// What the numbers of the first output are.
    pub scores: Scores,
    /// Classes that a response names when the request does not say how many.
    pub top_k: NonZeroUsize,
}

/// What the numbers of the first output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Unnormalized: softmax is still to be applied.
    Logits,
    /// Taken as they are.
    Probabilities,
}

impl Postprocessing {
    /// What contradicts `classes`, the number of lines of the label file: a sentence.
    pub fn mistake(&self, classes: usize) -> Option<String> {
        let top_k = self.top_k.get();
        (top_k > classes).then(|| format!("postprocessing.top_k = {top_k}, but there are {classes} labels"))
    }
}
