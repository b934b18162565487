use modelfn_card::{Card, DType};

use super::super::picture::LabelFile;
use super::super::preset::Preset;
use super::*;

fn spec(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.into() }
}

fn classifier(shape: &[i64]) -> Signature {
    Signature { inputs: vec![spec("input", DType::Fp32, shape)], outputs: vec![spec("logits", DType::Fp32, &[-1, 10])] }
}

fn text(signature: &Signature, axis_names: AxisNames, task: Option<PictureTask>) -> String {
    let naming = Naming { name: Some("m".to_owned()), file: "model.onnx".to_owned(), sha256: "00".repeat(32) };
    Draft { naming, signature, axis_names: &axis_names, omitted: &["a\nname = \"d\"".to_owned()], task }.text()
}

fn labels() -> Option<LabelFile> {
    Some(LabelFile { path: "labels.txt".to_owned(), count: 10 })
}

#[test]
fn the_card_of_each_preset_parses_and_agrees_with_the_graph() {
    use clap::ValueEnum as _;
    for shape in [[-1, 3, 32, 48], [1, 32, 48, 3], [-1, 3, -1, -1], [-1, -1, -1, 3]] {
        let signature = classifier(&shape);
        for preset in Preset::value_variants().iter().copied().map(Some).chain([None]) {
            for labels in [labels(), None] {
                let has_labels = labels.is_some();
                let task = PictureTask::of(&signature, preset, labels).unwrap();
                let card = Card::parse(&text(&signature, AxisNames::default(), Some(task))).unwrap();
                assert_eq!(card.disagreements(&signature, None), Vec::<String>::new(), "{shape:?} {preset:?}");
                let table = card.image_preprocessing().unwrap().unwrap();
                let size = if shape.contains(&32) { (48, 32) } else { (224, 224) };
                assert_eq!(table.size, size, "{shape:?}");
                assert_eq!(card.classification().unwrap().unwrap().labels.is_some(), has_labels);
            }
        }
    }
}

/// The same pixels by the numbers that the exporters document.
#[test]
fn presets_are_what_they_are_called() {
    let signature = classifier(&[-1, 3, 8, 8]);
    // A sample of 100 in the first channel becomes this.
    for (preset, expected) in [
        (Preset::Imagenet, (100.0 / 255.0 - 0.485) / 0.229),
        (Preset::Raw, 100.0),
        (Preset::ZeroOne, 100.0 / 255.0),
        (Preset::Keras, 100.0 / 127.5 - 1.0),
        (Preset::Caffe, 100.0 - 103.939),
        (Preset::Inception, 100.0 / 127.5 - 1.0),
        (Preset::OpenaiClip, (100.0 / 255.0 - 0.481_454_66) / 0.268_629_54),
    ] {
        let task = PictureTask::of(&signature, Some(preset), None).unwrap();
        let card = Card::parse(&text(&signature, AxisNames::default(), Some(task))).unwrap();
        let found = card.image_preprocessing().unwrap().unwrap().normalize(0, 100);
        assert!((found - expected).abs() < 1e-4, "{preset:?}: {found} instead of {expected}");
    }
}

#[test]
fn gray_pictures_and_bytes_have_presets_of_their_own() {
    let gray = classifier(&[-1, 1, 28, 28]);
    let task = PictureTask::of(&gray, None, None).unwrap();
    let card = Card::parse(&text(&gray, AxisNames::default(), Some(task))).unwrap();
    assert_eq!(card.disagreements(&gray, None), Vec::<String>::new());
    let refused =
        |signature: &Signature, preset| PictureTask::of(signature, Some(preset), None).err().unwrap().to_string();
    assert!(refused(&gray, Preset::Imagenet).contains("has numbers for three colors"));
    let mut bytes = classifier(&[-1, 8, 8, 3]);
    bytes.inputs[0].dtype = DType::U8;
    assert!(refused(&bytes, Preset::Keras).contains("--preset raw"));
    let task = PictureTask::of(&bytes, None, None).unwrap();
    let card = Card::parse(&text(&bytes, AxisNames::default(), Some(task))).unwrap();
    assert_eq!(card.disagreements(&bytes, None), Vec::<String>::new());
}

/// The example of a warm-up is one that the card may have.
#[test]
fn what_is_commented_out_is_right_as_well() {
    let mut signature = classifier(&[-1, 3, -1, -1]);
    signature.inputs.push(spec("ids", DType::I64, &[-1, -1]));
    let text = text(&signature, AxisNames::default(), None);
    let warm_up = text.lines().find(|line| line.starts_with("# warmup = ")).unwrap();
    let card = Card::parse(&text.replace(warm_up, &warm_up[2..])).unwrap();
    let shapes: Vec<_> = card.serving.warmup.into_iter().collect();
    assert_eq!(shapes, [("ids".to_owned(), vec![1, 16]), ("input".to_owned(), vec![1, 3, 224, 224])]);
}

#[test]
fn what_is_no_picture_is_refused_with_the_reason() {
    let refused = |signature: &Signature, labels| {
        PictureTask::of(signature, None, labels).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refused(&classifier(&[-1, 4]), None).contains("'input' FP32 [-1, 4], which is no picture"));
    assert!(refused(&classifier(&[-1, 5, 32, 32]), None).contains("which is no picture"));
    let mut two = classifier(&[-1, 3, 32, 32]);
    two.inputs.push(spec("mask", DType::I64, &[-1]));
    assert!(refused(&two, None).contains("takes 2 inputs"));
    let file = LabelFile { path: "labels.txt".to_owned(), count: 9 };
    assert!(refused(&classifier(&[-1, 3, 32, 32]), Some(file)).contains("names 9 classes"));
}

/// Names come from the graph, which nobody trusts.
#[test]
fn no_name_of_a_graph_changes_the_card() {
    let name = "a\"]\nname = \"b\"\t\u{7f}\\ # \u{1}é";
    let signature =
        Signature { inputs: vec![spec(name, DType::I64, &[-1, -1])], outputs: vec![spec(name, DType::Fp32, &[])] };
    let axes = AxisNames(vec![vec!["batch\nname = \"c\"".to_owned(), String::new()]]);
    let text = text(&signature, axes, None);
    let card = Card::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(card.name, "m");
    assert_eq!(card.disagreements(&signature, None), Vec::<String>::new());
}
