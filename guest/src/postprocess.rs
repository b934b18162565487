//! From the output tensor to the labels of an answer. Pure.

use serde::Serialize;

use crate::card::{Card, DataType, Scores};
use crate::problem::Problem;

/// One class and how likely it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Prediction<'a> {
    /// The class' name from the labels file.
    pub(crate) class: &'a str,
    /// Its place in the output tensor.
    pub(crate) index: usize,
    /// 0 to 1.
    pub(crate) probability: f32,
}

/// The `top_k` most likely classes, best first; of equal ones the lower index first.
///
/// Fails with 500 where scores and labels disagree in number, 502 where scores are no numbers.
pub(crate) fn rank<'a>(card: &'a Card, scores: Vec<f32>, top_k: usize) -> Result<Vec<Prediction<'a>>, Problem> {
    let classes = card.labels.len();
    if scores.len() != classes {
        return Err(Problem::internal(format!(
            "model '{}' has {} scores and {} has {classes} lines: they must agree",
            card.name,
            scores.len(),
            card.postprocessing.labels,
        )));
    }
    let probabilities = match card.postprocessing.scores {
        Scores::Logits => softmax(scores),
        Scores::Probabilities => scores,
    };
    if !probabilities.iter().all(|probability| probability.is_finite()) {
        return Err(Problem::bad_gateway(format!("model '{}' computed scores that are not numbers", card.name)));
    }
    let prediction =
        |index: usize| Prediction { class: card.labels.name(index), index, probability: probabilities[index] };
    Ok(top(&probabilities, top_k).into_iter().map(prediction).collect())
}

/// Elements of a tensor as f32, from row-major little-endian `data`; `None` for other types.
pub(crate) fn floats(dtype: DataType, data: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        DataType::Fp32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        DataType::Fp64 => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
        DataType::Fp16 => data.as_chunks().0.iter().map(|&bytes| half(u16::from_le_bytes(bytes))).collect(),
        DataType::U8 => return None,
    })
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

/// IEEE 754 binary16 to f32, exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f32::from(bits & 0x3FF));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests;
