use super::*;
use crate::classifier::tests::classifier;

fn ranked(scores: &[f32], top_k: usize) -> Vec<(usize, f32)> {
    let model = classifier("", "").unwrap();
    let predictions = model.rank(scores.to_vec(), top_k).unwrap();
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
    let predictions = model.rank(vec![0.25, 0.5, 0.125], 1).unwrap();
    assert_eq!(predictions, [Prediction { class: "b".into(), index: 1, probability: 0.5 }]);
}

/// The logistic function by numpy: 1 / (1 + numpy.exp(-numpy.float64(x))).
#[test]
fn classes_that_reach_the_threshold_are_named() {
    let model = classifier("\"logits\"", "\"sigmoid\"").unwrap();
    let named = |scores: &[f32], top_k| {
        let predictions = model.rank(scores.to_vec(), top_k).unwrap();
        predictions.iter().map(|prediction| (prediction.index, prediction.probability)).collect::<Vec<_>>()
    };
    assert_eq!(named(&[-0.5, 2.0, 0.25], 3), [(1, 0.880_797_1), (2, 0.562_176_5)]);
    assert_eq!(named(&[-0.5, 2.0, 0.25], 1), [(1, 0.880_797_1)]);
    assert_eq!(named(&[0.0, -1e-6, -90.0], 3), [(0, 0.5)], "the threshold itself is reached");
    assert_eq!(named(&[-1.0; 3], 3), []);
    assert_eq!(named(&[3e38, -3e38, 800.0], 3), [(0, 1.0), (2, 1.0)]);
    let low = classifier("\"logits\"", "\"sigmoid\"\nthreshold = 0.3").unwrap();
    assert_eq!(low.rank(vec![-0.5, -2.0, -9.0], 3).unwrap()[0].probability, 0.377_540_68);
    assert_eq!(model.rank(vec![f32::NAN, 0.0, 0.0], 1).unwrap_err().status, 502);
}

#[test]
fn classes_without_labels_are_called_by_their_index() {
    let model = classifier("labels = \"labels.txt\"", "").unwrap();
    let predictions = model.rank(vec![1.0, 9.0, 3.0], 2).unwrap();
    assert_eq!(predictions.iter().map(|p| &*p.class).collect::<Vec<_>>(), ["class 1", "class 2"]);
    assert_eq!(model.classes(), Some(3), "the card's output says so");
}

#[test]
fn nonsense_is_refused() {
    let model = classifier("", "").unwrap();
    assert_eq!(model.rank(vec![0.0; 4], 1).unwrap_err().status, 500);
    assert_eq!(model.rank(vec![0.0, f32::NAN, 0.0], 1).unwrap_err().status, 502);
    assert_eq!(model.rank(vec![0.0, f32::INFINITY, 0.0], 1).unwrap_err().status, 502);
}
