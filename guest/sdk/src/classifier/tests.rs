use super::*;

/// A card that is right, for tests of every module.
const CARD: &str = r#"
name = "m"
description = "d"
license = "MIT"
source = "s"
[graph]
file = "m.onnx"
engine = "onnx"
[[inputs]]
name = "x"
dtype = "FP32"
shape = [-1, 3, 2, 4]
[[outputs]]
name = "y"
dtype = "FP32"
shape = [-1, 3]
[preprocessing]
size = [4, 2]
crop = 1.0
filter = "bilinear"
layout = "NCHW"
color = "RGB"
mean = [0.0, 10.0, 20.0]
std = [1.0, 2.0, 4.0]
[postprocessing]
labels = "labels.txt"
scores = "logits"
top_k = 2
"#;

/// The model of that card with one text replaced by another.
pub(super) fn classifier(from: &str, to: &str) -> Result<Classifier, Problem> {
    assert!(CARD.contains(from));
    Classifier::new(Card::parse(&CARD.replacen(from, to, 1))?, |_| Ok(Labels::new("a\nb\r\nc\n".to_owned())))
}

#[test]
fn a_right_card_is_read() {
    let model = classifier("", "").unwrap();
    assert_eq!(model.preprocessing.input_shape(), [1, 3, 2, 4]);
    let labels = model.labels.as_ref().unwrap();
    assert_eq!((labels.len(), labels.name(1), labels.name(2), labels.name(3)), (3, "b", "c", ""));
}

#[test]
fn a_broken_card_is_a_500_that_names_the_key() {
    for (from, to, named) in [
        ("name = \"m\"", "", "`name`"),
        ("crop = 1.0", "crop = 0.0", "preprocessing.crop"),
        ("crop = 1.0", "crop = nan", "preprocessing.crop"),
        ("size = [4, 2]", "size = [4, 0]", "preprocessing.size"),
        ("size = [4, 2]", "size = [2, 4]", "makes FP32, FP16 or U8 [1, 3, 4, 2]"),
        ("\"NCHW\"", "\"NHWC\"", "(NHWC, RGB)"),
        ("\"RGB\"", "\"GRAY\"", "GRAY"),
        ("\"NCHW\"", "\"NCWH\"", "layout"),
        ("\"FP32\"", "\"FP33\"", "dtype"),
        ("\"FP32\"", "\"INT8\"", "'x' I8"),
        ("\"FP32\"", "\"FP64\"", "'x' FP64"),
        ("std = [1.0", "std = [0.0", ".std"),
        ("mean = [0.0", "mean = [inf", ".mean"),
        ("[[outputs]]", "[[inputs]]", "[[inputs]] must be one"),
        ("top_k = 2", "top_k = 0", "top_k"),
        ("top_k = 2", "top_k = 4", "postprocessing.top_k"),
        ("scores = \"logits\"", "scores = 3", "scores"),
        ("scores = \"logits\"", "scores = \"logits\"\nthreshold = 0.5", "postprocessing.threshold"),
        ("[preprocessing]", "[preprocessing", "TOML"),
    ] {
        let problem = classifier(from, to).unwrap_err();
        assert_eq!(problem.status, 500);
        assert!(problem.detail.contains(named), "{to}: {}", problem.detail);
    }
}
