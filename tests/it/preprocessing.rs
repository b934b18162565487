//! The function makes of a picture what Pillow and numpy make of it, in every way that a card may ask for.
//!
//! The model returns its input as scores, so that the response of the function is the tensor that it made.

use std::process::Command;

use half::f16;
use modelfn_card::{Card, DType};
use modelfn_imaging::{Preprocessing, Window};
use serde_json::{Value, json};

use crate::harness::{Scratch, Server, Setup, root, skip};

/// One way to make an input: a picture of `preprocess.py`, the element type and shape of the input, the rest of the table
/// `[preprocessing]`, and the table `[postprocessing]`.
struct Case {
    picture: &'static str,
    dtype: &'static str,
    shape: [i64; 4],
    preprocessing: &'static str,
    postprocessing: &'static str,
}

/// What `preprocess.py` made of a case: elements of the input, and what the card makes of them as scores.
struct Expected {
    elements: Vec<u8>,
    scores: Vec<f32>,
}

const RGB: [i64; 4] = [1, 3, 24, 16];
const GRAY: [i64; 4] = [1, 1, 24, 16];
const RAW: &str = "scores = \"probabilities\"";

const fn case(picture: &'static str, shape: [i64; 4], preprocessing: &'static str) -> Case {
    Case { picture, dtype: "FP32", shape, preprocessing, postprocessing: RAW }
}

/// All that a table can say, and what it leaves out by default.
const CASES: [Case; 22] = [
    case("wide", RGB, ""),
    case("tall", RGB, "crop = 0.875\nfilter = \"bicubic\""),
    case("turned", RGB, "resize = \"squash\""),
    case("wide", RGB, "resize = \"squash\"\ncrop = 0.7\nfilter = \"bicubic\"\nlayout = \"NCHW\""),
    case("wide", RGB, "resize = \"pad\""),
    case("tall", RGB, "resize = \"pad\"\npad_color = [114, 10, 255]\nfilter = \"bicubic\""),
    case("turned", RGB, "resize = \"pad\"\npad_color = [1, 2, 3]\nsize = [16, 24]"),
    case("line", RGB, "resize = \"pad\"\npad_color = [200, 100, 50]"),
    case("line", RGB, "resize = \"squash\""),
    case("wide", [-1, 20, 28, 3], "resize = \"pad\"\ncolor = \"BGR\"\npad_color = [114, 10, 255]"),
    case("wide", RGB, "color = \"BGR\"\nmean = [103.53, 116.28, 123.675]\nstd = [57.375, 57.12, 58.395]"),
    case("wide", RGB, "scale = 1\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"),
    case("small", RGB, "scale = 1\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"),
    case("wide", RGB, "scale = 1"),
    case("wide", GRAY, "scale = 1\nmean = [0.1307]\nstd = [0.3081]"),
    case("small", GRAY, ""),
    case("turned", [-1, 24, 16, 1], "color = \"GRAY\"\nresize = \"pad\"\npad_color = [255, 0, 0]"),
    Case { dtype: "FP16", ..case("wide", RGB, "scale = 1\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]") },
    Case { dtype: "FP16", ..case("small", [-1, 24, 16, 3], "mean = [127.5]\nstd = [3.7]") },
    Case { dtype: "FP16", ..case("small", GRAY, "scale = 1\nmean = [0.1307]\nstd = [0.3081]") },
    Case { dtype: "U8", ..case("wide", [-1, 24, 16, 3], "resize = \"pad\"") },
    Case { dtype: "U8", ..case("small", GRAY, "mean = [-30]\nstd = [1.5]") },
];

impl Case {
    fn inputs(&self) -> String {
        format!("dtype = \"{}\", shape = {:?}", self.dtype, self.shape)
    }

    fn tables(&self) -> String {
        format!("[preprocessing]\n{}\n[postprocessing]\n{}\n", self.preprocessing, self.postprocessing)
    }

    fn card(&self) -> String {
        let spec = |name| format!("[{{ name = \"{name}\", {} }}]", self.inputs());
        format!(
            "name = \"pixels\"\ndescription = \"\"\nlicense = \"MIT\"\nsource = \"\"\n\
             graph = {{ file = \"graph\", engine = \"fake\" }}\ninputs = {}\noutputs = {}\n{}",
            spec("x"),
            spec("y"),
            self.tables()
        )
    }
}

/// The pictures, and what Pillow and numpy make of each case; `None` where they are missing.
fn expected(cases: &[Case]) -> Option<(Scratch, Vec<Expected>)> {
    let packages = ["target/pillow", "target/tritonclient"].map(|folder| root().join(folder));
    let missing = !packages[0].join("PIL").exists() || !packages[1].join("numpy").exists();
    if skip(missing, "Pillow or numpy is missing; run `make test-tools`") {
        return None;
    }
    let folder = Scratch::new();
    let listed: Vec<Value> = cases.iter().map(|case| json!({ "card": case.card(), "picture": case.picture })).collect();
    folder.write("cases.json", serde_json::to_vec(&listed).unwrap());
    let output = Command::new("python3")
        .arg(root().join("tests/differential/preprocess.py"))
        .arg(folder.path())
        .env("PYTHONPATH", std::env::join_paths(packages).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |n: usize, what: &str| std::fs::read(folder.path().join(format!("{n}.{what}"))).unwrap();
    let of = |n| Expected { elements: read(n, "tensor"), scores: floats(&read(n, "scores"), DType::Fp32) };
    let expected = (0..cases.len()).map(of).collect();
    Some((folder, expected))
}

fn floats(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::Fp32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        DType::Fp16 => bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        _ => bytes.iter().copied().map(f32::from).collect(),
    }
}

/// How far elements may be apart: scaling rounds to whole pixels twice, and Pillow once. Gray is made of three of them. The
/// elements of a picture that is not scaled are equal.
fn tolerance(case: &Case, preprocessing: &Preprocessing) -> f32 {
    let step = |channel| (preprocessing.normalize(channel, 1) - preprocessing.normalize(channel, 0)).abs();
    if case.picture == "small" { 0.0 } else { 1.02 * step(0).max(step(1)).max(step(2)) }
}

fn farthest(have: &[f32], want: &[f32]) -> f32 {
    assert_eq!(have.len(), want.len());
    have.iter().zip(want).map(|(have, want)| (have - want).abs()).fold(0.0, f32::max)
}

#[test]
fn inputs_are_what_pillow_and_numpy_make() {
    let Some((folder, expected)) = expected(&CASES) else { return };
    for (case, Expected { elements, .. }) in CASES.iter().zip(&expected) {
        let card = Card::parse(&case.card()).unwrap();
        let preprocessing = card.image_preprocessing().unwrap().expect("a table of an image model");
        assert_eq!(preprocessing.disagreement(&card.inputs[0]), None);
        let file = std::fs::read(folder.path().join(format!("{}.png", case.picture))).unwrap();
        let picture = modelfn_imaging::decode(&file, Window::of(&preprocessing)).unwrap();
        let dtype = card.inputs[0].dtype;
        let tensor = modelfn_imaging::tensor(&picture, &preprocessing, dtype).unwrap();
        let apart = farthest(&floats(&tensor, dtype), &floats(elements, dtype));
        let most = tolerance(case, &preprocessing);
        assert!(apart <= most, "{} {} {}: {apart}, not {most}", case.picture, case.inputs(), case.preprocessing);
    }
}

fn start(case: &Case) -> Server {
    Setup::classify_pixels(&case.inputs(), &case.tables()).start()
}

/// The same code as WebAssembly, with SIMD, behind the whole path of a request.
#[tokio::test]
async fn the_function_gives_the_model_what_pillow_and_numpy_make() {
    let Some((folder, expected)) = expected(&CASES) else { return };
    // Scores must be floating-point numbers.
    for (case, Expected { scores, .. }) in CASES.iter().zip(&expected).filter(|(case, _)| case.dtype != "U8").step_by(2)
    {
        let server = start(case);
        let file = std::fs::read(folder.path().join(format!("{}.png", case.picture))).unwrap();
        let answer = server.post(&format!("/classify?top_k={}", scores.len()), file).await;
        assert_eq!(answer.status, 200, "{}: {}", case.preprocessing, answer.text());
        let mut have = vec![f32::NAN; scores.len()];
        for prediction in answer.json()["predictions"].as_array().unwrap() {
            let index = prediction["index"].as_u64().unwrap();
            assert_eq!(prediction["class"], format!("class {index}"));
            have[index as usize] = prediction["probability"].as_f64().unwrap() as f32;
        }
        let card = Card::parse(&case.card()).unwrap();
        let most = tolerance(case, &card.image_preprocessing().unwrap().unwrap());
        let apart = farthest(&have, scores);
        assert!(apart <= most, "{} {} {}: {apart}, not {most}", case.picture, case.inputs(), case.preprocessing);
    }
}

/// Several classes may be right, or none: those that reach the threshold are named, the most likely first.
#[tokio::test]
async fn all_classes_that_reach_the_threshold_are_named() {
    let logits = |postprocessing| Case { postprocessing, ..case("small", GRAY, "mean = [100]\nstd = [50]") };
    let cases =
        [logits("scores = \"sigmoid\"\nthreshold = 0.8\ntop_k = 9"), logits("scores = \"sigmoid\"\nthreshold = 1")];
    let Some((folder, expected)) = expected(&cases) else { return };
    let file = std::fs::read(folder.path().join("small.png")).unwrap();

    let server = start(&cases[0]);
    let mut want: Vec<(usize, f32)> =
        expected[0].scores.iter().copied().enumerate().filter(|(_, p)| *p >= 0.8).collect();
    want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    assert!(want.len() > 20 && want.len() < 300, "{} reach the threshold", want.len());
    for (query, count) in [("?top_k=384", want.len()), ("", 9), ("?top_k=2", 2)] {
        let json = server.post(&format!("/classify{query}"), file.clone()).await.json();
        let predictions = json["predictions"].as_array().unwrap();
        assert_eq!((predictions.len(), &json["class"]), (count, &predictions[0]["class"]), "{query}");
        assert!((json["threshold"].as_f64().unwrap() - 0.8).abs() < 1e-6);
        for (prediction, (index, probability)) in predictions.iter().zip(&want) {
            assert_eq!(prediction["index"], *index);
            assert!((prediction["probability"].as_f64().unwrap() - f64::from(*probability)).abs() < 1e-6);
        }
    }
    assert_eq!(server.get("/model").await.json()["classes"], 384);

    let none = start(&cases[1]).post("/classify", file).await;
    assert_eq!(none.status, 200, "{}", none.text());
    assert_eq!((&none.json()["class"], &none.json()["predictions"]), (&Value::Null, &json!([])));
}

/// What contradicts itself is found at the start.
#[test]
fn a_contradiction_is_told_at_the_start() {
    let wrong = case("small", RGB, "color = \"GRAY\"\nmean = [1, 2, 3]\npad_color = [0, 0, 0]");
    let setup = Setup::models_only().fake_model("pixels", &wrong.inputs(), ("compute = \"echo\"", &wrong.tables()));
    let output = crate::harness::modelfn()
        .args(["model", "inspect", "pixels", "--models"])
        .arg(setup.path("models"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["mean has 3 values, but color = \"GRAY\"", "pad_color has no meaning"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}
