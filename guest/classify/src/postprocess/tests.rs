use super::*;
use crate::model::tests::classifier;

fn ranked(scores: &[f32], top_k: usize) -> Vec<(usize, f32)> {
    let model = classifier("", "").unwrap();
    let predictions = rank(&model, scores.to_vec(), top_k).unwrap();
    predictions.iter().map(|prediction| (prediction.index, prediction.probability)).collect()
}

#[test]
fn huge_logits_do_not_overflow() {
    assert_eq!(ranked(&[3e38, -3e38, 3e38], 3), [(0, 0.5), (2, 0.5), (1, 0.0)]);
    assert_eq!(ranked(&[f32::NEG_INFINITY, -1e30, -2e30], 1), [(1, 1.0)]);
    let sum: f32 = ranked(&[1.0, 2.0, 3.0], 3).iter().map(|(_, probability)| probability).sum();
    assert!((sum - 1.0).abs() < 1e-6);
}

#[test]
fn equal_scores_keep_the_order_of_the_classes() {
    assert_eq!(ranked(&[1.0; 3], 2).iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    let values: Vec<f32> = (0..1000).map(|n| (n % 7) as f32).collect();
    assert_eq!(top(&values, 3), [6, 13, 20]);
    assert_eq!(top(&values, 1000).len(), 1000);
}

#[test]
fn probabilities_are_taken_as_they_are() {
    let model = classifier("\"logits\"", "\"probabilities\"").unwrap();
    let predictions = rank(&model, vec![0.25, 0.5, 0.125], 1).unwrap();
    assert_eq!(predictions, [Prediction { class: "b", index: 1, probability: 0.5 }]);
}

#[test]
fn nonsense_is_refused() {
    let model = classifier("", "").unwrap();
    assert_eq!(rank(&model, vec![0.0; 4], 1).unwrap_err().status, 500);
    assert_eq!(rank(&model, vec![0.0, f32::NAN, 0.0], 1).unwrap_err().status, 502);
    assert_eq!(rank(&model, vec![0.0, f32::INFINITY, 0.0], 1).unwrap_err().status, 502);
}
