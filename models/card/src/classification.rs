//! The `[postprocessing]` table of classifiers: how scores become labels.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The table's name.
pub const TABLE: &str = "postprocessing";

/// Classes that a response names where neither request nor card says how many.
const DEFAULT_TOP_K: usize = 5;

/// The probability from which on a class of several is said to be there.
const DEFAULT_THRESHOLD: f32 = 0.5;

/// The `[postprocessing]` table of a classifier.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postprocessing {
    /// File within the model's folder whose line n is the name of class n; absent: classes are called by their index.
    pub labels: Option<PathBuf>,
    /// What the numbers of the first output are.
    pub scores: Scores,
    /// The least probability of a class that a response names, for [`Scores::Sigmoid`] alone; absent: 0.5.
    pub threshold: Option<f32>,
    /// Classes that a response names, at most, when the request does not say how many; absent: 5.
    pub top_k: Option<NonZeroUsize>,
}

/// What the numbers of the first output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Unnormalized, of classes of which one is right: softmax is still to be applied.
    Logits,
    /// Taken as they are.
    Probabilities,
    /// Unnormalized, of classes of which several may be right (multi-label): the logistic function is still to be applied
    /// to each.
    Sigmoid,
}

impl Postprocessing {
    /// Classes that a response names, at most, when the request does not say how many, of so many.
    pub fn top_k(&self, classes: usize) -> usize {
        self.top_k.map_or(DEFAULT_TOP_K.min(classes), NonZeroUsize::get)
    }

    /// The least probability of a class that a response names; `None` where one class is right, whatever its probability.
    pub fn threshold(&self) -> Option<f32> {
        (self.scores == Scores::Sigmoid).then(|| self.threshold.unwrap_or(DEFAULT_THRESHOLD))
    }

    /// What is out of range or contradicts something else: a sentence each. `classes` is the number of classes, if it is
    /// known.
    pub fn mistakes(&self, classes: Option<usize>) -> Vec<String> {
        let mut found = Vec::new();
        if let (Some(top_k), Some(classes)) = (self.top_k, classes)
            && top_k.get() > classes
        {
            found.push(format!("postprocessing.top_k = {top_k}, but there are {classes} classes"));
        }
        match self.threshold {
            Some(_) if self.scores != Scores::Sigmoid => {
                found.push("postprocessing.threshold has no meaning without scores = \"sigmoid\"".to_owned());
            }
            Some(threshold) if !(0.0..=1.0).contains(&threshold) => {
                found.push(format!("postprocessing.threshold = {threshold} must be 0 to 1"));
            }
            _ => {}
        }
        found
    }
}
