//! The Open Inference Protocol on the models that functions use: with requests written by hand, and with Triton's
//! client.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Answer, Server, Setup, app, guest, read_head, root, skip};
use crate::wasi_nn::{identity, no_engine};

/// A model of each type, by its name, the type's in cards, and the protocol's.
const TYPES: [(&str, &str, &str); 12] = [
    ("booleans", "BOOL", "BOOL"),
    ("bytes", "U8", "UINT8"),
    ("doubles", "FP64", "FP64"),
    ("floats", "FP32", "FP32"),
    ("ints", "I64", "INT64"),
    ("ints16", "I16", "INT16"),
    ("ints32", "I32", "INT32"),
    ("ints8", "I8", "INT8"),
    ("naturals16", "U16", "UINT16"),
    ("naturals32", "U32", "UINT32"),
    ("naturals64", "U64", "UINT64"),
    ("strings", "STRING", "BYTES"),
];

/// FP16 and BF16 have no JSON form.
const HALVES: [(&str, &str, &str); 2] = [("brains", "BF16", "BF16"), ("halves", "FP16", "FP16")];

fn echoes(arguments: &[&str]) -> Server {
    let setup = Setup::app(&app(&guest("probe"), "")).args(arguments);
    let add = |setup: Setup, (name, dtype, _): (&str, &str, &str)| {
        setup.fake_model(name, &format!("dtype = \"{dtype}\", shape = [-1, 4]"), ("compute = \"echo\"", ""))
    };
    TYPES.into_iter().chain(HALVES).fold(setup, add).start()
}

fn one(graph: &str, serving: &str) -> Setup {
    let setup = Setup::app(&app(&guest("probe"), ""));
    let graph = graph.replace("GATE", &setup.path("gate").display().to_string());
    setup.fake_model("m", "dtype = \"U8\", shape = [-1, 4]", (&graph, serving))
}

const FOUR: &str = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"data":[1,2,3,4]}]}"#;

fn error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn json_goes_in_and_comes_out() {
    let server = echoes(&[]);
    for (model, _, datatype) in TYPES {
        let [data, flat] = match datatype {
            "BOOL" => [
                json!([[true, false, true, true], [false, false, true, false]]),
                json!([true, false, true, true, false, false, true, false]),
            ],
            "BYTES" => [
                json!([["", "a", "é\0", "NaN"], ["\"", "1", " ", "\u{1f600}"]]),
                json!(["", "a", "é\0", "NaN", "\"", "1", " ", "\u{1f600}"]),
            ],
            "FP32" | "FP64" => [json!([[1, 2, 3, 4], [5, 6, 7, 8]]), json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])],
            _ => [json!([[1, 2, 3, 4], [5, 6, 7, 8]]), json!([1, 2, 3, 4, 5, 6, 7, 8])],
        };
        let input = json!({ "name": "x", "datatype": datatype, "shape": [2, 4], "data": data });
        let body = json!({ "id": "a", "inputs": [input], "outputs": [{ "name": "y" }] }).to_string();
        let answer = server.post(&format!("/v2/models/{model}/versions/1/infer"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!((&answer["model_name"], &answer["id"]), (&json!(model), &json!("a")));
        let output = &answer["outputs"][0];
        assert_eq!((&output["datatype"], &output["shape"]), (&json!(datatype), &json!([2, 4])));
        assert_eq!(output["data"], flat, "{datatype}");
    }
    server.wait_for_metric("modelfn_requests_total{function=\"(v2)\",outcome=\"Answered\"}", |n| n > 2.5).await;
    server.wait_for_metric("modelfn_computations_total{model=\"ints\",succeeded=\"True\"}", |n| n > 0.5).await;
}

#[tokio::test]
async fn binary_data_goes_in_and_comes_out() {
    let server = echoes(&[]);
    let data = [0, 127, 200, 255];
    let text = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"parameters":{"binary_data_size":4}}]}"#;
    for (length, body) in [(text.len(), [text.as_bytes(), &data].concat()), (0, data.to_vec())] {
        let request = server.client.post(server.url("/v2/models/bytes/infer"));
        let answer = server.send(request.header("Inference-Header-Content-Length", length).body(body)).await;
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{}", answer.text());
        let split: usize = answer.header("inference-header-content-length").parse().unwrap();
        assert_eq!(answer.body[split..], data);
        let document: Value = serde_json::from_slice(&answer.body[..split]).unwrap();
        assert_eq!(document["outputs"][0]["parameters"]["binary_data_size"], 4);
    }
}

#[tokio::test]
async fn errors_name_what_is_wrong() {
    let server = echoes(&["--max-body", "64KiB"]);
    let infer = "/v2/models/bytes/infer";
    let text = error(&server.post(infer, FOUR.replace("UINT8", "INT32")).await, 400);
    assert!(text.contains("'x' is INT32 [1, 4]; the model wants 'x' UINT8 [-1, 4]"), "{text}");
    assert!(error(&server.post(infer, "{").await, 400).contains("JSON"));
    let text = error(&server.post(infer, FOUR.replace("UINT8", "U8")).await, 400);
    assert!(text.contains("datatype U8, which is none of BOOL, FP16"), "{text}");
    let text = error(&server.get("/v2/models/none").await, 404);
    let have: std::collections::BTreeSet<_> = TYPES.iter().chain(&HALVES).map(|(name, ..)| *name).collect();
    let have = have.into_iter().collect::<Vec<_>>().join(", ");
    assert_eq!(text, format!("No model 'none'; have: {have}."));
    let text = error(&server.get("/v2/models/bytes/versions/2").await, 404);
    assert_eq!(text, "Model 'bytes' has no version 2; it has: 1.");
    assert!(error(&server.get("/v2/models/bytes/versions/latest").await, 400).contains("number above zero"));
    assert!(error(&server.get("/v2/models/%ff").await, 400).contains("UTF-8"));
    error(&server.get("/v2/models/bytes/nothing").await, 404);
    let answer = server.get(infer).await;
    assert!(error(&answer, 405).contains("POST") && answer.header("allow") == "POST");
    error(&server.post(infer, " ".repeat(65 << 10)).await, 413);
    let request = server.client.post(server.url(infer)).header("X-Request-Timeout", "soon");
    error(&server.send(request.body(FOUR)).await, 400);
}

#[tokio::test]
async fn a_full_queue_rejects_and_a_slow_model_times_out() {
    let setup = one("compute = \"echo\"\ngate = \"GATE\"", "instances = 1\nqueue_size = 1");
    let gate = setup.path("gate");
    let server = setup.start();
    let late = server.client.post(server.url("/v2/models/m/infer")).header("X-Request-Timeout", "50ms");
    assert!(error(&server.send(late.body(FOUR)).await, 504).contains("in time"));
    let waiting = server.client.post(server.url("/v2/models/m/infer")).body(FOUR).send();
    let waiting = tokio::spawn(waiting);
    server.wait_for_in_flight(|n| n > 0.5).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let shed = server.post("/v2/models/m/infer", FOUR).await;
    error(&shed, 503);
    assert_eq!(shed.header("retry-after"), "1");
    std::fs::write(gate, "").unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

/// A request beyond the limit is refused without asking for its body.
#[tokio::test]
async fn inferences_in_flight_are_limited() {
    let setup = one("compute = \"echo\"\ngate = \"GATE\"", "");
    let gate = setup.path("gate");
    let server = setup.args(&["--max-inferences", "1", "--request-timeout", "1h"]).start();
    let holder = server.client.post(server.url("/v2/models/m/infer")).body(FOUR).send();
    let holder = tokio::spawn(holder);
    server.wait_for_in_flight(|n| n > 0.5).await;
    let mut client = server.connect();
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: it\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    std::io::Write::write_all(&mut client, head.as_bytes()).unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1\r\n"), "{head}");
    let shed = server.post("/v2/models/m/infer", FOUR).await;
    assert!(error(&shed, 503).contains("busy") && shed.header("retry-after") == "1");
    server.expect_metric("modelfn_rejections_total{reason=\"InferencesFull\"}", 2.0).await;
    // Requests that are no inferences are not limited, and functions have a limit of their own.
    assert_eq!(server.get("/v2/models/m").await.status, 200);
    assert_eq!(server.get("/hello").await.status, 200);

    std::fs::write(gate, "").unwrap();
    assert_eq!(Answer::read(holder.await.unwrap().unwrap()).await.unwrap().status, 200);
    assert_eq!(server.post("/v2/models/m/infer", FOUR).await.status, 200);
}

/// The text `1,` has two bytes, and its number in the tensor eight.
#[tokio::test]
async fn tensors_made_of_json_count_against_the_body_budget() {
    let setup = Setup::app(&app(&guest("probe"), "")).args(&["--max-body", "50000", "--max-bodies", "50000"]);
    let any = "dtype = \"I64\", shape = [-1]";
    let setup = setup.fake_model("m", any, ("compute = \"echo\"", "max_batch_size = 100000"));
    let (setup, gate) = setup.gated_model("slow", any, "max_batch_size = 100000");
    let server = setup.args(&["--request-timeout", "1h"]).start();
    let body = |n: usize| {
        let input = json!({ "name": "x", "datatype": "INT64", "shape": [n], "data": vec![1; n] });
        json!({ "inputs": [input] }).to_string()
    };
    // 4,900 elements take 39,200 bytes of tensor and 9,800 of text; 5,000 elements take 40,000 and more than 10,000.
    let infer = "/v2/models/m/infer";
    assert_eq!(server.post(infer, body(4900)).await.status, 200);
    let text = error(&server.post(infer, body(5000)).await, 413);
    assert!(text.starts_with("The body and its tensors take 500") && text.ends_with("may hold 50000."), "{text}");
    // A wrong shape counts as the largest tensor that the text could be.
    assert!(
        error(&server.post(infer, body(4).replace("[4]", "[9000000000000]")).await, 400).contains("its data has 4")
    );
    let wide = format!("{{\"inputs\":[],\"outputs\":[{}]}}", vec!["{\"name\":\"\"}"; 1025].join(","));
    assert!(error(&server.post(infer, wide).await, 400).contains("longer than 1024"));

    let holder = tokio::spawn(server.client.post(server.url("/v2/models/slow/infer")).body(body(3000)).send());
    let held = "modelfn_bodies_in_flight_bytes";
    server.wait_for_metric(held, |n| n > 29_999.0).await;
    assert_eq!(server.post(infer, body(1500)).await.status, 200);
    error(&server.post(infer, body(2500)).await, 503);
    server.expect_metric("modelfn_rejections_total{reason=\"BodiesFull\"}", 1.0).await;
    std::fs::write(gate, "").unwrap();
    assert_eq!(holder.await.unwrap().unwrap().status(), 200);
    server.wait_for_metric(held, |n| n.abs() < 0.5).await;
    assert_eq!(server.post(infer, body(2500)).await.status, 200);
}

#[tokio::test]
async fn the_message_of_an_engine_stays_in_the_log() {
    let server = one("compute = \"fail\"", "").start();
    let text = error(&server.post("/v2/models/m/infer", FOUR).await, 500);
    assert_eq!(text, "The model failed on this request.");
    server.wait_for_log("told to fail");
}

#[tokio::test]
async fn a_real_model_answers_and_its_input_may_be_json_of_a_megabyte() {
    let server = Setup::example().args(&["--load-model", "efficientnet-lite0"]).start();
    for (model, datatype, shape, one, bytes) in [
        ("efficientnet-lite0-int8", "UINT8", [1, 224, 224, 3], json!(159), &[159][..]),
        ("efficientnet-lite0", "FP32", [1, 3, 224, 224], json!(0.25), &0.25_f32.to_le_bytes()),
    ] {
        let infer = format!("/v2/models/{model}/infer");
        let input = json!({ "name": "input", "datatype": datatype, "shape": shape, "data": vec![one; 3 * 224 * 224] });
        let answer = server.post(&infer, json!({ "inputs": [input] }).to_string()).await;
        let text = serde_json::from_slice::<Value>(&answer.body).unwrap();
        let by_json: Vec<f64> =
            text["outputs"][0]["data"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        let request = server.client.post(server.url(&infer)).header("Inference-Header-Content-Length", 0);
        let answer = server.send(request.body(bytes.repeat(3 * 224 * 224))).await;
        let split: usize = answer.header("inference-header-content-length").parse().unwrap();
        let by_bytes = answer.body[split..].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        assert_eq!(by_json.len(), 1000);
        assert!(by_bytes.zip(&by_json).all(|(one, other)| (f64::from(one) - other).abs() < 1e-3), "{model}");
    }
}

#[test]
fn a_route_below_v2_is_refused() {
    let manifest = app(&guest("probe"), "").replace("\"/...\"", "\"/v2/mine\"");
    let scratch = crate::harness::Scratch::new();
    let app = scratch.write("spin.toml", manifest);
    let addresses = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let output = crate::harness::modelfn().args(["serve", "--app"]).arg(app).args(addresses).output();
    let errors = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(errors.contains("/v2 is the Open Inference Protocol's"), "{errors}");
}

#[tokio::test]
async fn names_in_paths_are_decoded() {
    let setup = Setup::app(&app(&guest("probe"), ""));
    let server =
        setup.fake_model("cats & dogs, 50%", "dtype = \"U8\", shape = [-1, 4]", ("compute = \"echo\"", "")).start();
    for path in ["/v2/models/cats%20%26%20dogs%2C%2050%25", "/v2/models/cats%20&%20dogs,%2050%"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, &answer.json()["name"]), (200, &json!("cats & dogs, 50%")), "{path}");
        assert_eq!(server.post(&format!("{path}/versions/1/infer"), FOUR).await.status, 200);
    }
}

#[tokio::test]
async fn half_precision_travels_as_binary_data_only() {
    let server = echoes(&[]);
    let data = [0x00, 0x3c, 0x80, 0x3f, 0xff, 0xff, 0x00, 0x80];
    for (model, _, datatype) in HALVES {
        let infer = format!("/v2/models/{model}/infer");
        let input = |data: Value| json!({ "name": "x", "datatype": datatype, "shape": [1, 4], "data": data });
        let text =
            error(&server.post(&infer, json!({ "inputs": [input(json!([1, 2, 3, 4]))] }).to_string()).await, 400);
        assert!(text.contains(&format!("is {datatype}, which travels as binary data only")), "{text}");
        let mut input = json!({ "name": "x", "datatype": datatype, "shape": [1, 4] });
        input["parameters"]["binary_data_size"] = json!(8);
        let send = async |outputs: Value| {
            let text = json!({ "inputs": [input], "outputs": [outputs] }).to_string();
            let request = server.client.post(server.url(&infer)).header("Inference-Header-Content-Length", text.len());
            server.send(request.body([text.as_bytes(), &data].concat())).await
        };
        let text = error(&send(json!({ "name": "y" })).await, 400);
        assert!(text.contains(&format!("Output 'y' {datatype} [-1, 4] travels as binary data only")), "{text}");
        let answer = send(json!({ "name": "y", "parameters": { "binary_data": true } })).await;
        let split: usize = answer.header("inference-header-content-length").parse().unwrap();
        assert_eq!(answer.body[split..], data, "each bit, those of no number, too");
        assert_eq!(serde_json::from_slice::<Value>(&answer.body[..split]).unwrap()["outputs"][0]["datatype"], datatype);
        let answer = send(json!({ "name": "y", "parameters": { "classification": 1 } })).await.json();
        assert_eq!(
            (&answer["outputs"][0]["datatype"], &answer["outputs"][0]["shape"]),
            (&json!("BYTES"), &json!([1, 1]))
        );
    }
}

/// Tests both types with ONNX Runtime, which knows them.
#[tokio::test]
async fn half_precision_passes_the_real_engine_bit_by_bit() {
    if no_engine() {
        return;
    }
    let add = |setup: Setup, (name, dtype, element): (&str, &str, u8)| {
        setup.model(
            name,
            &format!("dtype = \"{dtype}\", shape = [-1, 2]"),
            ("onnx", &identity(element), "max_batch_size = 1000"),
        )
    };
    let server = [("halves", "FP16", 10), ("brains", "BF16", 16)].into_iter().fold(Setup::probe(""), add).start();
    // Infinities, negative zeros and NaNs are among these.
    let data: Vec<u8> = (0..=255).chain((0..=255).rev()).chain([0xff; 16]).chain([0; 16]).collect();
    for (model, _, datatype) in HALVES {
        let request = server.client.post(server.url(&format!("/v2/models/{model}/infer")));
        let answer = server.send(request.header("Inference-Header-Content-Length", 0).body(data.clone())).await;
        let split: usize = answer.header("inference-header-content-length").parse().unwrap();
        assert_eq!(answer.body[split..], data);
        let head: Value = serde_json::from_slice(&answer.body[..split]).unwrap();
        assert_eq!(
            (&head["outputs"][0]["datatype"], &head["outputs"][0]["shape"]),
            (&json!(datatype), &json!([136, 2]))
        );
    }
}

#[tokio::test]
async fn a_client_can_ask_for_classes() {
    let server = echoes(&[]);
    let input = json!([{ "name": "x", "datatype": "FP32", "shape": [2, 4], "data": [0.5, 4, -1, 2.25, 1, 2, 3, 4] }]);
    let ask = |parameters: Value| json!({ "inputs": input, "outputs": [{ "name": "y", "parameters": parameters }] });
    let answer = server.post("/v2/models/floats/infer", ask(json!({ "classification": 2 })).to_string()).await.json();
    let expected =
        json!({ "name": "y", "datatype": "BYTES", "shape": [2, 2], "data": ["4:1", "2.25:3", "4:3", "3:2"] });
    assert_eq!(answer["outputs"][0], expected);
    let body = ask(json!({ "classification": 1, "binary_data": true })).to_string();
    let answer = server.post("/v2/models/floats/infer", body).await;
    let split: usize = answer.header("inference-header-content-length").parse().unwrap();
    assert_eq!(answer.body[split..], *b"\x03\0\0\x004:1\x03\0\0\x004:3");
    let head: Value = serde_json::from_slice(&answer.body[..split]).unwrap();
    assert_eq!(
        (&head["outputs"][0]["shape"], &head["outputs"][0]["parameters"]),
        (&json!([2, 1]), &json!({ "binary_data_size": 14 }))
    );
    let answer = server.post("/v2/models/floats/infer", ask(json!({ "classification": 0 })).to_string()).await.json();
    assert_eq!(answer["outputs"][0]["datatype"], "FP32");
}

#[tokio::test]
async fn classes_have_the_labels_of_the_card() {
    let server = Setup::example().start();
    let labels = std::fs::read_to_string(root().join("models/efficientnet-lite0-int8/labels.txt")).unwrap();
    let raw = [159].repeat(3 * 224 * 224);
    let text = json!({
        "inputs": [{ "name": "input", "datatype": "UINT8", "shape": [1, 224, 224, 3], "parameters": { "binary_data_size": raw.len() } }],
        "outputs": [{ "name": "logits", "parameters": { "classification": 3 } }],
    });
    let text = text.to_string();
    let request = server.client.post(server.url("/v2/models/efficientnet-lite0-int8/infer"));
    let request = request.header("Inference-Header-Content-Length", text.len());
    let answer = server.send(request.body([text.as_bytes(), &raw].concat())).await.json();
    let classes: Vec<&str> =
        answer["outputs"][0]["data"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!((classes.len(), &answer["outputs"][0]["shape"]), (3, &json!([1, 3])));
    let mut before = f64::INFINITY;
    for class in classes {
        let [score, index, label] = class.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{class}") };
        assert_eq!(labels.lines().nth(index.parse().unwrap()), Some(label));
        let score: f64 = score.parse().unwrap();
        assert!(score <= before, "{class} after {before}");
        before = score;
    }
}

#[test]
fn the_client_of_triton_is_served() {
    let packages = root().join("target/tritonclient");
    if skip(!packages.exists(), "tritonclient is not installed; run `make test-tools`") {
        return;
    }
    let server = echoes(&[]);
    let mut python = Command::new("python3");
    python.arg(root().join("tests/triton_client.py")).arg(&server.address).env("PYTHONPATH", packages);
    let models = TYPES.iter().chain(&HALVES).map(|(name, _, datatype)| format!("{name}={datatype}"));
    python.args(models).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
