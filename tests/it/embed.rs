//! The function that makes vectors of texts, with the real model and with small ones.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Answer, Scratch, Server, Setup, app, guest, modelfn, place, root, skip};

const MODEL: &str = "all-minilm-l6-v2";

/// How far a number of a vector may be from the reference (`tests/fixtures/embed/reference.py`), which is stored in units
/// of 1/32768.
const TOLERANCE: f32 = 1e-4;

/// The function with the model of that folder, mounted as it expects it.
fn function(folder: &str, name: &str) -> Setup {
    let card = root().join(folder).join(name);
    let settings = format!(
        "files = [{{ source = \"{}\", destination = \"/model\" }}]\n[component.it.tool.modelfn]\nmodels = [\"{name}\"]",
        card.display()
    );
    Setup::app(&app(&guest("embed"), &settings)).models(root().join(folder)).args(&["--load-model", name])
}

fn real() -> Setup {
    function("models", MODEL)
}

/// A model of `tests/fixtures/embed`, whose card is changed.
fn small_with(name: &str, change: impl FnOnce(&str) -> String) -> (Setup, Scratch) {
    let (scratch, original) = (Scratch::new(), root().join("tests/fixtures/embed").join(name));
    let card = std::fs::read_to_string(original.join("model.toml")).unwrap();
    scratch.write(&format!("{name}/model.toml"), change(&card));
    for file in ["vocab.txt", "model.onnx"] {
        place(&original.join(file), &scratch.path().join(name).join(file));
    }
    (function(scratch.path().to_str().unwrap(), name), scratch)
}

/// The manifest that is shipped, with the paths of this checkout.
fn manifest() -> String {
    let text = std::fs::read_to_string(root().join("guest/embed/spin.toml")).unwrap();
    text.replace("\"../../", &format!("\"{}/", root().display()))
}

fn golden() -> Vec<Value> {
    let text = std::fs::read(root().join("tests/fixtures/embed/golden.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The vector of a golden text.
fn reference(golden: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(golden["vector"].as_str().unwrap()).unwrap();
    bytes.as_chunks().0.iter().map(|&two| f32::from(i16::from_le_bytes(two)) / 32768.0).collect()
}

async fn embed(server: &Server, input: &Value) -> Answer {
    server.post("/embed", json!({ "input": input }).to_string()).await
}

fn vectors(answer: &Answer) -> Vec<Vec<f32>> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_value(answer.json()["embeddings"].clone()).unwrap()
}

fn distance(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Chinese, emoji, nothing at all, 10,000 characters: each as the package has it, whatever it is sent with.
#[tokio::test]
async fn vectors_are_those_of_the_package() {
    let (server, golden) = (real().start(), golden());
    assert_eq!(golden.len(), 200);
    let (mut at, mut worst) = (0, 0.0f32);
    for size in [1, 2, 5, 33, 100, 200].into_iter().cycle() {
        let part = &golden[at..(at + size).min(golden.len())];
        let texts: Value = part.iter().map(|each| each["text"].clone()).collect();
        let answer = embed(&server, &texts).await;
        for (golden, vector) in part.iter().zip(vectors(&answer)) {
            let apart = distance(&vector, &reference(golden));
            assert!(apart <= TOLERANCE, "{apart} for {}", golden["text"]);
            worst = worst.max(apart);
        }
        let tokens: usize = part.iter().map(|each| each["ids"].as_array().unwrap().len()).sum();
        let truncated = part.iter().filter(|each| each["truncated"] == true).count();
        let told = answer.json();
        assert_eq!((&told["tokens"], &told["truncated"]), (&json!(tokens), &json!(truncated)));
        assert_eq!((&told["model"], &told["dimensions"]), (&json!(MODEL), &json!(384)));
        at += part.len();
        if at == golden.len() {
            break;
        }
    }
    eprintln!("{worst} from the reference at most");
}

/// Tokens that a client cut itself give the vector of their text.
#[tokio::test]
async fn each_form_of_input_gives_the_same_vectors() {
    let (server, golden) = (real().start(), golden());
    let chosen = &golden[7];
    let ids = chosen["ids"].as_array().unwrap();
    let inner = json!(ids[1..ids.len() - 1]);
    let text = &chosen["text"];
    for input in [json!(text), json!([text]), inner.clone(), json!([inner]), json!([inner, inner])] {
        let vectors = vectors(&embed(&server, &input).await);
        assert!(distance(&vectors[0], &reference(chosen)) <= TOLERANCE, "{input}");
    }
}

#[tokio::test]
async fn what_can_not_be_embedded_is_refused_with_a_reason() {
    let server = real().start();
    for (status, body, reason) in [
        (400, json!({}), "missing field `input`"),
        (400, json!({ "input": [] }), "send at least one text"),
        (400, json!({ "input": {} }), "must be a text, a list of texts, a list of token ids"),
        (400, json!({ "input": [1, "a"] }), "must be a text"),
        (400, json!({ "input": [40_000] }), "token 40000 is not in the vocabulary, whose ids are 0 to 30521"),
        (400, json!({ "input": "a", "truncate": true }), "unknown field `truncate`"),
        (413, json!({ "input": vec![""; 2049] }), "2049 texts; send at most 2048"),
        (413, json!({ "input": "x".repeat(1_000_001) }), "1000001 characters; send at most 1000000"),
        (413, json!({ "input": vec!["a ".repeat(256); 257] }), "65792 tokens; send at most 65536"),
    ] {
        let said = server.post("/embed", body.to_string()).await.problem(status);
        assert!(said.contains(reason), "{reason}: {said}");
    }
    assert!(server.post("/embed", "").await.problem(400).contains("the body is empty"));
    assert!(server.post("/embed", "{\"input\": \"a").await.problem(400).contains("not the JSON"));
    server.post("/embed", vec![b' '; (16 << 20) + 1]).await.problem(413);
    assert!(server.get("/embed").await.problem(405).contains("POST only"));
    assert!(server.get("/nothing").await.problem(404).contains("POST /embed"));
    assert!(server.post("/model", "").await.problem(405).contains("GET, HEAD only"));
}

/// The bounds themselves are obeyed.
#[tokio::test]
async fn as_much_as_may_be_is_embedded() {
    let server = real().start();
    let answer = embed(&server, &json!(vec![""; 2048])).await;
    let found = vectors(&answer);
    assert_eq!((found.len(), &answer.json()["tokens"]), (2048, &json!(4096)));
    assert!(distance(&found[0], &found[2047]) <= TOLERANCE);
    assert_eq!(vectors(&embed(&server, &json!("x".repeat(1_000_000))).await).len(), 1);
}

/// Requests of different lengths, each from a sandbox of its own, are computed together, and none notices.
#[tokio::test]
async fn requests_are_batched_across_sandboxes() {
    let (server, golden) = (real().start(), golden());
    let short: Vec<_> = golden.iter().filter(|each| each["ids"].as_array().unwrap().len() <= 32).take(48).collect();
    let embedded = async |golden: &Value| vectors(&embed(&server, &golden["text"]).await).remove(0);
    let answers = join_all(short.iter().map(|each| async { (*each, embedded(each).await) }));
    for (golden, vector) in answers.await {
        assert!(distance(&vector, &reference(golden)) <= TOLERANCE, "{}", golden["text"]);
    }
    let (rows, calls) = (
        format!("modelfn_batch_size_sum{{model=\"{MODEL}\"}}"),
        format!("modelfn_batch_size_count{{model=\"{MODEL}\"}}"),
    );
    server.expect_metric(&rows, 48.0).await;
    let calls = server.metric(&calls).await;
    assert!(calls <= 30.0, "48 texts took {calls} calls: hardly anything was stacked");
}

#[tokio::test]
async fn the_form_of_openai_is_spoken() {
    let (server, golden) = (real().start(), golden());
    let texts = json!([golden[0]["text"], golden[1]["text"]]);
    let ask = |more: Value| {
        let mut body = json!({ "model": MODEL, "input": texts });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/embeddings", body.to_string())
    };
    let answer = ask(json!({ "user": "somebody", "dimensions": 384, "encoding_format": "float" })).await;
    let told = answer.json();
    assert_eq!((&told["object"], &told["model"]), (&json!("list"), &json!(MODEL)), "{told}");
    let tokens: usize = golden[..2].iter().map(|each| each["ids"].as_array().unwrap().len()).sum();
    assert_eq!(told["usage"], json!({ "prompt_tokens": tokens, "total_tokens": tokens }));
    let packed = ask(json!({ "encoding_format": "base64" })).await.json();
    for (index, golden) in golden[..2].iter().enumerate() {
        let (plain, packed) = (&told["data"][index], &packed["data"][index]);
        assert_eq!((&plain["object"], &plain["index"]), (&json!("embedding"), &json!(index)));
        let plain: Vec<f32> = serde_json::from_value(plain["embedding"].clone()).unwrap();
        let bytes = STANDARD.decode(packed["embedding"].as_str().unwrap()).unwrap();
        let packed: Vec<f32> = bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
        assert_eq!(plain, packed);
        assert!(distance(&plain, &reference(golden)) <= TOLERANCE);
    }
    let models = server.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], MODEL);
}

#[tokio::test]
async fn the_errors_of_openai_are_spoken() {
    let server = real().start();
    for (status, body, (param, code), reason) in [
        (
            404,
            json!({ "model": "other", "input": "a" }),
            (json!("model"), json!("model_not_found")),
            "is 'all-minilm-l6-v2'",
        ),
        (
            400,
            json!({ "model": MODEL, "input": "a", "dimensions": 64 }),
            (json!("dimensions"), Value::Null),
            "leave `dimensions` out",
        ),
        (400, json!({ "model": MODEL, "input": [] }), (json!("input"), Value::Null), "at least one text"),
        (413, json!({ "model": MODEL, "input": vec!["a"; 2049] }), (json!("input"), Value::Null), "2049 texts"),
        (400, json!({ "model": MODEL, "input": "a", "encoding_format": "int8" }), (Value::Null, Value::Null), "int8"),
        (400, json!({ "input": "a" }), (Value::Null, Value::Null), "missing field `model`"),
    ] {
        let answer = server.post("/v1/embeddings", body.to_string()).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(
            (&error["type"], &error["param"], &error["code"]),
            (&json!("invalid_request_error"), &param, &code),
            "{error}"
        );
        assert!(error["message"].as_str().unwrap().contains(reason), "{reason}: {error}");
    }
    let wrong = server.get("/v1/embeddings").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    let nothing = server.get("/v1/chat/completions").await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.json()["error"]["message"].as_str().unwrap().contains("POST /v1/embeddings"));
}

/// OpenAI's own client gets the vectors, in the form that it asks for by itself, and its errors.
#[tokio::test]
async fn the_client_of_openai_is_served() {
    let packages = root().join("target/openai");
    if skip(!packages.exists(), "openai is not installed; run `make test-tools`") {
        return;
    }
    let server = real().start();
    let mut python = Command::new("python3");
    python.arg(root().join("tests/openai_client.py")).arg(server.url("/v1")).env("PYTHONPATH", packages);
    let output = python.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
}

/// Models whose graph gives a vector for each token are pooled by the function, as their card says.
#[tokio::test]
async fn tokens_are_pooled_as_the_card_says() {
    // [CLS] The fox ##es [SEP] are 2 5 6 7 3; "The" alone is shorter, so it is filled up.
    let input = json!(["The foxes", "The"]);
    let mean = vectors(&embed(&function("tests/fixtures/embed", "tokens").start(), &input).await);
    assert_eq!(mean, [[4.6, -9.2, 1.0], [10.0 / 3.0, -20.0 / 3.0, 1.0]]);
    let (setup, _models) = small_with("tokens", |card| card.replace("\"mean\"", "\"cls\""));
    assert_eq!(vectors(&embed(&setup.start(), &input).await), [[2.0, -4.0, 1.0], [2.0, -4.0, 1.0]]);
    let (setup, _models) = small_with("tokens", |card| card.replace("normalize = false", "normalize = true"));
    let unit = vectors(&embed(&setup.start(), &input).await);
    let length = |vector: &[f32]| vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    assert!(unit.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-6), "{unit:?}");
    // [PAD] is 0, and adds 1 to the last number of each of the 11 places that fill up to 16.
    let pooled = vectors(&embed(&function("tests/fixtures/embed", "pooled").start(), &input).await);
    assert_eq!(pooled, [[23.0, -46.0, 16.0], [10.0, -20.0, 16.0]]);
}

/// The rest of a long text is left out, and told.
#[tokio::test]
async fn a_long_text_is_cut_off() {
    let server = function("tests/fixtures/embed", "tokens").start();
    let answer = embed(&server, &json!(["The The The", "The The The fox"])).await;
    assert_eq!((&answer.json()["truncated"], &answer.json()["tokens"]), (&json!(1), &json!(10)));
    let vectors = vectors(&answer);
    assert_eq!(vectors[0], vectors[1]);
}

#[tokio::test]
async fn a_card_that_does_not_fit_is_named() {
    for (name, from, to, reason) in [
        ("tokens", "pooling = \"mean\"\n", "", "must have a vector for each text"),
        ("tokens", "vocab.txt", "none.txt", "none.txt cannot be read"),
        ("tokens", "lowercase = false\n", "", "lowercase"),
        ("tokens", "max_tokens = 5", "max_tokens = 2", "must be 3 or more"),
        (
            "pooled",
            "max_tokens = 5",
            "max_tokens = 5\n[postprocessing]\npooling = \"mean\"\nnormalize = false",
            "a vector for each token",
        ),
    ] {
        let (setup, _models) = small_with(name, |card| {
            assert!(card.contains(from), "{card}");
            card.replacen(from, to, 1)
        });
        let said = embed(&setup.start(), &json!("The")).await.problem(500);
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[tokio::test]
async fn the_model_is_described() {
    let server = real().start();
    let model = server.get("/model").await.json();
    assert_eq!((&model["name"], &model["dimensions"], &model["max_tokens"]), (&json!(MODEL), &json!(384), &json!(256)));
    assert_eq!(model["license"], "Apache-2.0");
    let head = server.send(server.client.head(server.url("/"))).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn the_page_compares_two_texts() {
    let server = real().start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("#model:not([hidden])").await;
    assert_eq!(browser.text("#model-name").await, MODEL);
    let similarity = async |pair: usize| -> f64 {
        browser.look(&format!("[data-pair='{pair}']"), "$.click()").await;
        browser.wait_for("#result[data-state=done]").await;
        let text = browser.text("#similarity").await;
        browser.look("#result", "$.dataset.state = 'idle'").await;
        text.parse().unwrap()
    };
    let (agree, nothing) = (similarity(0).await, similarity(2).await);
    assert!(agree > 0.6 && nothing < 0.2, "{agree} {nothing}");
    browser.look("#form .button", "$.click()").await;
    browser.wait_for("#result[data-state=done]").await;
    let timing = browser.text("#timing").await;
    for part in ["tokens", "tokenize", "compute", "round trip"] {
        assert!(timing.contains(part), "{part:?} is not in {timing:?}");
    }
    browser.screenshot("embed.png").await;
    assert!(browser.console().await.is_empty());
}

#[tokio::test]
async fn the_page_asks_for_a_key_where_one_is_needed() {
    let keys = Scratch::new();
    let file = keys.path().join("keys");
    let made = modelfn().args(["key", "visitor", "--file"]).arg(&file).output().unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    let server = Setup::app(&manifest());
    let server =
        server.models(root().join("models")).args(&["--load-model", MODEL, "--api-keys", file.to_str().unwrap()]);
    let server = server.start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.look("#form .button", "$.click()").await;
    browser.wait_for("#key-form:not([hidden])").await;
    assert!(browser.text("#error").await.contains("This server wants a key"));
    browser.enter("#key", "mfn_wrong\n").await;
    browser.wait_for_text("#error", "That key is not valid here").await;
    browser.enter("#key", &key).await;
    browser.wait_for("#result[data-state=done]").await;
    assert!(browser.text("#curl").await.contains("X-API-Key: $KEY"));
}
