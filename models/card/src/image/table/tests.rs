use super::*;

fn input(shape: &[i64]) -> TensorSpec {
    TensorSpec { name: "x".to_owned(), dtype: DType::Fp32, shape: shape.into() }
}

fn table(text: &str) -> PreprocessingTable {
    toml::from_str(text).unwrap()
}

fn resolve(text: &str, shape: &[i64]) -> Preprocessing {
    table(text).resolve(Some(&input(shape))).unwrap()
}

fn mistakes(text: &str, shape: &[i64]) -> Vec<String> {
    table(text).resolve(Some(&input(shape))).unwrap_err()
}

#[test]
fn what_a_card_leaves_out_is_taken_from_the_input() {
    let all = resolve("", &[-1, 3, 224, 192]);
    assert_eq!(all, Preprocessing::new((192, 224), Layout::Nchw));
    assert_eq!(resolve("", &[-1, 224, 192, 3]), Preprocessing::new((192, 224), Layout::Nhwc));
    let gray = resolve("", &[1, 1, 28, 28]);
    assert_eq!((gray.color, gray.layout, gray.size), (Color::Gray, Layout::Nchw, (28, 28)));
    assert_eq!(resolve("", &[1, 28, 28, 1]).layout, Layout::Nhwc);
    assert_eq!(resolve("size = [8, 4]", &[-1, 3, -1, -1]).size, (8, 4));
    // Three rows of three channels, or three columns: the color tells nothing, but one channel would.
    assert_eq!(resolve("color = \"GRAY\"", &[-1, 3, 5, 1]).layout, Layout::Nhwc);
    let open = table("size = [8, 4]\nlayout = \"NHWC\"").resolve(None).unwrap();
    assert_eq!(open, Preprocessing::new((8, 4), Layout::Nhwc));
}

#[test]
fn what_the_input_does_not_tell_must_be_written() {
    for shape in [&[-1, -1, -1, -1][..], &[-1, 3, 3, 3], &[-1, 3, 32, 1], &[-1, 300], &[]] {
        let said = mistakes("size = [4, 4]", shape);
        assert!(said.len() == 1 && said[0].contains("layout = \"NCHW\" or \"NHWC\""), "{shape:?}: {said:?}");
    }
    let said = mistakes("", &[-1, 3, -1, 224]);
    assert_eq!(said, ["preprocessing.size is missing, and the input does not tell it: write size = [width, height]"]);
    assert!(table("").resolve(None).unwrap_err()[0].contains("the card names no input"));
}

#[test]
fn values_are_meant_for_the_scale_that_is_said() {
    let of = |text, sample| resolve(text, &[1, 3, 4, 4]).normalize(1, sample);
    assert_eq!(of("", 200), 200.0);
    assert_eq!(of("scale = 255\nmean = [0, 100, 0]\nstd = [1, 2, 1]", 200), 50.0);
    assert_eq!(of("scale = 1", 255), 1.0);
    assert_eq!(of("scale = 1.0\nmean = [0.5]\nstd = [0.25]", 255), 2.0);
    // numpy: (numpy.float32(200) / 255 - numpy.float32(0.456)) / numpy.float32(0.224)
    assert_eq!(of("scale = 1\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]", 200), 1.465_686_3);
}

#[test]
fn contradictions_are_named() {
    let rgb = [-1, 3, 8, 8];
    for (text, says) in [
        ("color = \"GRAY\"\nmean = [1, 2, 3]", "mean has 3 values, but color = \"GRAY\" has one channel"),
        ("std = [1, 2]", "std must have one value, or one for each channel, not 2"),
        ("mean = []", "not 0"),
        ("std = [0]", ".std not 0"),
        ("std = [1, inf, 1]", "must be finite"),
        ("mean = [nan]", "must be finite"),
        ("pad_color = [1, 2, 3]", "pad_color has no meaning without resize = \"pad\""),
        ("resize = \"squash\"\npad_color = [1, 2, 3]", "pad_color has no meaning"),
        ("resize = \"pad\"\ncrop = 0.9", "crop = 0.9 contradicts resize = \"pad\""),
        ("crop = 0", "crop = 0 must be above 0"),
        ("crop = 1.01", "crop = 1.01 must be above 0 and at most 1"),
        ("size = [0, 8]", "1 to 4096"),
        ("size = [8, 4097]", "1 to 4096"),
    ] {
        let said = mistakes(text, &rgb);
        assert!(said.iter().any(|sentence| sentence.contains(says)), "{text}: {said:?}");
    }
    let bytes = TensorSpec { dtype: DType::U8, ..input(&rgb) };
    assert!(table("scale = 1").resolve(Some(&bytes)).unwrap_err()[0].contains("scale = 1"));
    assert!(table("scale = 255").resolve(Some(&bytes)).is_ok());
    assert_eq!(mistakes("crop = 2\nsize = [0, 0]\nstd = [0]", &rgb).len(), 3, "all are told at once");
    assert_eq!(resolve("size = [4096, 1]\nresize = \"pad\"\npad_color = [1, 2, 3]", &rgb).pad_color, [1, 2, 3]);
}

#[test]
fn values_of_the_wrong_type_are_refused_by_their_key() {
    for (text, says) in [
        ("scale = 2", "scale = 2 must be 255"),
        ("scale = \"1\"", "scale"),
        ("resize = \"stretch\"", "stretch"),
        ("color = \"L\"", "GRAY"),
        ("pad_color = [256, 0, 0]", "256"),
        ("pad_color = [0, 0]", "pad_color"),
        ("size = 224", "size"),
        ("colour = \"RGB\"", "colour"),
    ] {
        let error = toml::from_str::<PreprocessingTable>(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_picture_must_fit_the_input() {
    let gray = resolve("color = \"GRAY\"", &[-1, 3, 8, 8]);
    let said = gray.disagreement(&input(&[-1, 3, 8, 8])).unwrap();
    assert!(said.contains("[1, 1, 8, 8] (NCHW, GRAY), but the input is 'x' FP32 [-1, 3, 8, 8]"), "{said}");
    for dtype in [DType::Fp32, DType::Fp16, DType::U8] {
        assert_eq!(gray.disagreement(&TensorSpec { dtype, ..input(&[-1, 1, 8, 8]) }), None);
    }
    assert!(gray.disagreement(&TensorSpec { dtype: DType::Fp64, ..input(&[-1, 1, 8, 8]) }).is_some());
}
