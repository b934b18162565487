//! From the scores of all classes to the labels of a response.

use std::borrow::Cow;

use modelfn_card::classification::Scores;
use serde::Serialize;

use super::Classifier;
use crate::problem::Problem;

/// One class and how likely it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction<'a> {
    /// The class's name from the label file, or `class N` where there is none.
    pub class: Cow<'a, str>,
    /// Its index in the output tensor.
    pub index: usize,
    /// 0 to 1.
    pub probability: f32,
}

impl Classifier {
    /// The `top_k` most likely classes, best first; of equal ones the lower index first. Of a model for which several
    /// classes may be right, only those that reach the threshold.
    ///
    /// # Errors
    ///
    /// 500 where scores and labels disagree in number, 502 where scores are no numbers.
    pub fn rank(&self, scores: Vec<f32>, top_k: usize) -> Result<Vec<Prediction<'_>>, Problem> {
        self.check_count(&scores)?;
        let probabilities = match self.postprocessing.scores {
            Scores::Logits => softmax(scores),
            Scores::Probabilities => scores,
            Scores::Sigmoid => scores.into_iter().map(sigmoid).collect(),
        };
        if !probabilities.iter().all(|probability| probability.is_finite()) {
            let name = &self.card.name;
            return Err(Problem::bad_gateway(format!("model '{name}' computed scores that are not numbers")));
        }
        let least = self.postprocessing.threshold().unwrap_or(f32::NEG_INFINITY);
        let prediction =
            |index: usize| Prediction { class: self.class(index), index, probability: probabilities[index] };
        let best = top(&probabilities, top_k).into_iter();
        Ok(best.take_while(|&index| probabilities[index] >= least).map(prediction).collect())
    }

    fn check_count(&self, scores: &[f32]) -> Result<(), Problem> {
        match (&self.labels, &self.postprocessing.labels) {
            (Some(labels), Some(file)) if scores.len() != labels.len() => Err(Problem::internal(format!(
                "model '{}' has {} scores and {} has {} lines: they must agree",
                self.card.name,
                scores.len(),
                file.display(),
                labels.len(),
            ))),
            _ => Ok(()),
        }
    }
}

/// The logistic function, computed so that neither side overflows.
fn sigmoid(score: f32) -> f32 {
    let small = (-f64::from(score).abs()).exp();
    let upper = 1.0 / (1.0 + small);
    (if score < 0.0 { small * upper } else { upper }) as f32
}

/// Shifted by the maximum, so that no logit is too large for `exp`.
fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut scores {
        *score = (*score - max).exp();
        sum += f64::from(*score);
    }
    for score in &mut scores {
        *score = (f64::from(*score) / sum) as f32;
    }
    scores
}

/// Indices of the `k` greatest values, sorted.
fn top(values: &[f32], k: usize) -> Vec<usize> {
    let better = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    let mut indices: Vec<usize> = (0..values.len()).collect();
    if k < indices.len() {
        indices.select_nth_unstable_by(k, better);
        indices.truncate(k);
    }
    indices.sort_unstable_by(better);
    indices
}

#[cfg(test)]
mod tests;
