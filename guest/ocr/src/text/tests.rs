use super::*;

fn floats(values: &[f32], shape: [u32; 2]) -> Tensor {
    let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dtype: DType::Fp32, shape: shape.to_vec(), data }
}

fn classes(values: &[i64], shape: [u32; 2]) -> Tensor {
    let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dtype: DType::I64, shape: shape.to_vec(), data }
}

fn outputs(values: &[i64], probabilities: &[f32], shape: [u32; 2]) -> Vec<(String, Tensor)> {
    vec![("classes".to_owned(), classes(values, shape)), ("probabilities".to_owned(), floats(probabilities, shape))]
}

fn characters() -> Labels {
    Labels::new("a\nb\n的\n".to_owned())
}

#[test]
fn repeated_classes_are_one_character_unless_blank_is_between() {
    let outputs = outputs(&[0, 1, 1, 0, 1, 2, 4, 3], &[0.1, 0.9, 0.2, 0.3, 0.7, 0.8, 0.6, 1.0], [1, 8]);
    let texts = decode(&outputs, 1, &characters()).unwrap();
    assert_eq!(texts[0].text, "aab 的");
    assert!((texts[0].score - (0.9 + 0.7 + 0.8 + 0.6 + 1.0) / 5.0).abs() < 1e-6);
}

#[test]
fn each_line_has_its_own_text() {
    let outputs = outputs(&[1, 0, 0, 0, 0, 2], &[0.5, 1.0, 1.0, 1.0, 1.0, 0.25], [3, 2]);
    let texts = decode(&outputs, 3, &characters()).unwrap();
    let want = [("a", 0.5), ("", 0.0), ("b", 0.25)].map(|(text, score)| Text { text: text.to_owned(), score });
    assert_eq!(texts, want);
}

#[test]
fn classes_that_are_not_in_the_list_say_nothing() {
    let outputs = outputs(&[99, -5, 1, i64::MIN, i64::MAX], &[0.5; 5], [1, 5]);
    assert_eq!(decode(&outputs, 1, &characters()).unwrap()[0].text, "a");
}

#[test]
fn other_outputs_are_nonsense() {
    let good = outputs(&[1, 0], &[0.5, 0.5], [1, 2]);
    for wrong in [
        vec![],
        good[..1].to_vec(),
        vec![good[1].clone(), good[0].clone()],
        outputs(&[1, 0], &[0.5], [1, 2]),
        outputs(&[], &[], [1, 0]),
    ] {
        assert_eq!(decode(&wrong, 1, &characters()).unwrap_err().status, 502, "{wrong:?}");
    }
    assert_eq!(decode(&good, 3, &characters()).unwrap_err().status, 502, "two places for three lines");
}
