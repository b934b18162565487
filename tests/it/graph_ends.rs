//! Graphs whose inputs and outputs are out of the ordinary: strings, maps, sequences, and types that the protocol lacks.
//! They and the right values are made by `tests/fixtures/tensors/make.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Scratch, Server, Setup, modelfn, root, skip};
use crate::wasi_nn::no_engine;

fn graphs() -> PathBuf {
    root().join("tests/fixtures/tensors")
}

/// A folder of models, each with a graph of the fixtures and a card of its own.
fn with_cards(cards: &[(&str, &str)]) -> Scratch {
    let models = Scratch::new();
    for (graph, card) in cards {
        models.write(&format!("{graph}/model.onnx"), std::fs::read(graphs().join(graph).join("model.onnx")).unwrap());
        models.write(&format!("{graph}/model.toml"), card);
    }
    models
}

fn serve(models: &Path) -> Server {
    Setup::models_only().models(models).start()
}

/// Every element type, shape and map goes through Triton's client in JSON and in binary, one row and three.
#[test]
fn every_bit_is_that_of_onnxruntime() {
    let packages = root().join("target/tritonclient");
    if no_engine() || skip(!packages.exists(), "tritonclient is not installed; run `make test-tools`") {
        return;
    }
    let server = serve(&graphs());
    let mut python = Command::new("python3");
    python.arg(root().join("tests/golden_client.py")).arg(&server.address);
    let output = python.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.ends_with(b" outputs are equal\n"), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn outputs_that_are_no_tensors_are_left_out_and_named() {
    if no_engine() {
        return;
    }
    let server = serve(&graphs());
    for (model, output, kind, remedy) in [
        ("sequence-beside", "pieces", "seq(tensor(f32))", "end the graph with ConcatFromSequence"),
        ("optional-beside", "maybe", "optional(tensor(f32))", "end the graph with OptionalGetElement"),
        ("float8-beside", "eight", "tensor(f8_e4m3fn)", "end the graph with a Cast to a type that is carried"),
    ] {
        let line = server
            .wait_for_log(&format!("an output is left out: the output '{output}' is {kind}, which modelfn can't"));
        assert!(line.contains(remedy) && line.contains(model), "{line}");
        let metadata = server.get(&format!("/v2/models/{model}")).await.json();
        assert_eq!(metadata["outputs"], json!([{ "name": "y", "datatype": "FP32", "shape": [-1, 2] }]), "{model}");
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, -2.0] });
        let body = |outputs: Value| json!({ "inputs": [input], "outputs": outputs }).to_string();
        let path = format!("/v2/models/{model}/infer");
        let answer = server.post(&path, body(json!([]))).await.json();
        assert_eq!(answer["outputs"][0]["data"], json!([-1.0, 2.0]));
        let answer = server.post(&path, body(json!([{ "name": output }]))).await;
        assert!(answer.status == 400 && answer.text().contains("has no output"), "{}", answer.text());
    }
}

/// Without another output, or as an input, it is a reason to refuse the model, and the sentence says what to do.
#[tokio::test]
async fn graphs_that_can_not_be_served_are_refused_with_the_remedy() {
    if no_engine() {
        return;
    }
    let server = serve(&graphs());
    for (model, what, remedy) in [
        ("sequence-alone", "the output 'pieces' is seq(tensor(f32))", "end the graph with ConcatFromSequence"),
        ("sequence-in", "the input 'x' is seq(tensor(f32))", "begin the graph with SequenceConstruct"),
        ("optional-in", "the input 'x' is optional(tensor(f32))", "let the graph take a tensor that is always given"),
        ("boolean-of-2", "output 'y'", "an element of BOOL is the byte 0 or 1, not 2"),
        ("text-of-bytes", "output 'y'", "utf-8"),
    ] {
        let line = server.wait_for_log(&format!("left out: model '{model}'"));
        assert!(line.contains(what) && line.contains(remedy), "{line}");
        let status = server.get(&format!("/v2/models/{model}")).await.status;
        assert!([404, 503].contains(&status), "{model}: {status}");
    }
}

/// The warm-up has no strings but empty ones. That a graph wants others says nothing against it.
#[tokio::test]
async fn a_graph_that_takes_no_empty_strings_is_served() {
    if no_engine() {
        return;
    }
    let server = serve(&graphs());
    for model in ["text-to-number", "text-to-numbers"] {
        let infer = async |text: &str| {
            let input = json!({ "name": "x", "datatype": "BYTES", "shape": [1], "data": [text] });
            server.post(&format!("/v2/models/{model}/infer"), json!({ "inputs": [input] }).to_string()).await
        };
        assert_eq!(infer("42").await.json()["outputs"][0]["data"], json!([42]), "{model}");
        assert!(infer("").await.status >= 400);
        assert_eq!(infer("-1").await.json()["outputs"][0]["data"], json!([-1]), "{model} lives on");
    }
    server.wait_for_log("no warm-up: it computed no empty strings");
}

#[tokio::test]
async fn maps_of_classes_are_tensors_with_the_keys_as_labels() {
    if no_engine() {
        return;
    }
    let server = serve(&graphs());
    let specs = |of: &Value, name: &str| of[name].as_array().unwrap().clone();
    for (model, shape, input, probabilities, keys) in [
        ("skl-zipmap", [1, 4], "X", "output_probability", &["setosa", "versicolor", "virginica"][..]),
        ("zipmap-strings", [1, 1], "x", "probabilities", &["no", "yes"]),
        ("zipmap-ints", [1, 1], "x", "probabilities", &["-1", "7"]),
    ] {
        let metadata = server.get(&format!("/v2/models/{model}")).await.json();
        let expected = json!({ "name": probabilities, "datatype": "FP32", "shape": [-1, keys.len()] });
        assert_eq!(specs(&metadata, "outputs")[1], expected, "{model}");
        let input = json!({ "name": input, "datatype": "FP32", "shape": shape, "data": vec![0.25; shape[1]] });
        let infer = async |parameters: Value| {
            let outputs = json!([{ "name": probabilities, "parameters": parameters }]);
            let body = json!({ "inputs": [input], "outputs": outputs }).to_string();
            server.post(&format!("/v2/models/{model}/infer"), body).await.json()["outputs"][0]["data"].clone()
        };
        let scores: Vec<f64> = infer(json!({})).await.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{scores:?}");
        for class in infer(json!({ "classification": keys.len() })).await.as_array().unwrap() {
            let [score, index, label] = class.as_str().unwrap().splitn(3, ':').collect::<Vec<_>>()[..] else {
                panic!("{class} has no label");
            };
            let index: usize = index.parse().unwrap();
            assert_eq!((label, score.parse::<f64>().unwrap() as f32), (keys[index], scores[index] as f32));
        }
    }
}

/// A map with a name for one of two classes: nothing says which is whose.
#[tokio::test]
async fn a_map_with_too_few_names_is_an_error_with_a_remedy() {
    if no_engine() {
        return;
    }
    let server = serve(&graphs());
    let line = server.wait_for_log("left out: model 'zipmap-short'");
    assert!(
        line.contains("does not have the 1 scores a row that its ZipMap has names for; export the model again"),
        "{line}"
    );
    assert_eq!(server.get("/v2/models/zipmap-short/ready").await.status, 503);
}

/// The engine is asked only for the outputs that the card names.
#[tokio::test]
async fn a_card_chooses_the_outputs() {
    if no_engine() {
        return;
    }
    let output = |name: &str, dtype: &str| format!("[[outputs]]\nname = \"{name}\"\ndtype = \"{dtype}\"\n");
    let models = with_cards(&[
        ("zipmap-strings", &output("label", "BYTES")),
        ("sequence-beside", &output("y", "FP32")),
        ("optional-beside", &output("maybe", "FP32")),
        ("float8-beside", &output("z", "FP32")),
    ]);
    let server = serve(models.path());
    let metadata = server.get("/v2/models/zipmap-strings").await.json();
    assert_eq!(metadata["outputs"], json!([{ "name": "label", "datatype": "BYTES", "shape": [-1] }]));
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.75] });
    let answer = server.post("/v2/models/zipmap-strings/infer", json!({ "inputs": [input] }).to_string()).await.json();
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v2/models/sequence-beside").await.status, 200);
    let log = server.log().join("\n");
    assert!(!log.contains("an output is left out"), "nobody asked for it: {log}");
    let line = server.wait_for_log("left out: model 'optional-beside'");
    assert!(line.contains("'maybe' is optional(tensor(f32))") && line.contains("OptionalGetElement"), "{line}");
    let line = server.wait_for_log("left out: model 'float8-beside'");
    assert!(line.contains("the card says 'z' FP32") && line.contains("the graph has 'y' FP32 [-1, 2]"), "{line}");
}

#[test]
fn inspect_names_the_outputs_that_are_left_out() {
    if no_engine() {
        return;
    }
    let inspect = |name: &str, more: &[&str]| {
        let output = modelfn().args(["model", "inspect", name, "--models"]).arg(graphs()).args(more).output().unwrap();
        (output.status.success(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()))
    };
    let (succeeds, [out, error]) = inspect("sequence-beside", &[]);
    assert!(succeeds && out.contains("left out     the output 'pieces' is seq(tensor(f32))"), "{out}{error}");
    let (_, [json, _]) = inspect("sequence-beside", &["--json"]);
    let inspection: Value = serde_json::from_str(&json).unwrap();
    assert!(inspection["omitted"][0].as_str().unwrap().contains("ConcatFromSequence"), "{json}");
    let (_, [out, _]) = inspect("any-rank", &[]);
    assert!(out.contains("'x' FP32 of any shape") && !out.contains("left out"), "{out}");
    let (succeeds, [out, error]) = inspect("sequence-alone", &[]);
    assert!(!succeeds && out.contains("ConcatFromSequence"), "{out}{error}");
}

/// Cards of the time when maps were refused call them as the graph does: one for each row.
#[tokio::test]
async fn a_card_may_call_a_map_one_for_each_row() {
    if no_engine() {
        return;
    }
    let outputs = |names: [(&str, &str, &str); 2]| {
        let table =
            |(name, dtype, shape)| format!("[[outputs]]\nname = \"{name}\"\ndtype = \"{dtype}\"\nshape = {shape}\n");
        names.map(table).concat()
    };
    let label = ("output_label", "STRING", "[-1]");
    let right = outputs([label, ("output_probability", "FP32", "[-1]")]);
    let models = with_cards(&[("skl-zipmap", &right)]);
    let server = serve(models.path());
    let signature = server.get("/v2/models/skl-zipmap").await.json();
    assert_eq!(signature["outputs"][1]["shape"].as_array().map(Vec::len), Some(2), "{signature}");
    let wrong = outputs([label, ("output_probability", "FP32", "[-1, 7]")]);
    models.write("skl-zipmap/model.toml", &wrong);
    let refused = server.admin_post("/reload").await;
    assert!(refused.status == 400 && refused.text().contains("disagree"), "{}", refused.text());
}
