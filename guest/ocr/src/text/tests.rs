use super::*;

fn text(classes: &[i64], probabilities: &[f32]) -> Option<Text> {
    decode(classes, probabilities, &Labels::new("a\nb\n的\n".to_owned()))
}

#[test]
fn repeated_classes_are_one_character_unless_blank_is_between() {
    let text = text(&[0, 1, 1, 0, 1, 2, 4, 3], &[0.1, 0.9, 0.2, 0.3, 0.7, 0.8, 0.6, 1.0]).unwrap();
    assert_eq!(text.text, "aab 的");
    assert!((text.score - (0.9 + 0.7 + 0.8 + 0.6 + 1.0) / 5.0).abs() < 1e-6);
}

#[test]
fn blanks_say_nothing() {
    for classes in [&[][..], &[0, 0, 0]] {
        let nothing = Text { text: String::new(), score: 0.0 };
        assert_eq!(text(classes, &vec![1.0; classes.len()]), Some(nothing));
    }
}

#[test]
fn classes_that_are_not_in_the_list_say_nothing() {
    assert_eq!(text(&[99, -5, 1, i64::MIN, i64::MAX], &[0.5; 5]).unwrap().text, "a");
}

#[test]
fn each_class_has_its_probability() {
    assert_eq!(text(&[1, 0], &[0.5]), None);
    assert_eq!(text(&[1], &[0.5, 0.5]), None);
}
