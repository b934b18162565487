//! What the SDK for Rust promises, seen from outside: `tests/guests/sample` is a function on it.

use serde_json::{Value, json};

use crate::harness::{Answer, Server, Setup, app, guest, unannounced};

/// Tensors of the two models.
const TENSOR: &str = "dtype = \"FP32\", shape = [-1, 2]";

fn sample() -> Server {
    let settings = "files = [{ source = \"models/one\", destination = \"/models/one\" }, \
        { source = \"models/two\", destination = \"/models/two\" }]\n[component.it.tool.modelfn]\nmodels = [\"one\", \"two\"]";
    Setup::app(&app(&guest("sample"), settings))
        .fake_model("one", TENSOR, ("compute = \"echo\"", ""))
        .fake_model("two", TENSOR, ("compute = \"echo\"", ""))
        .args(&["--load-model", "one", "--load-model", "two", "--max-body", "20MiB"])
        .start()
}

/// Asserts that it is a problem document of that status, whose detail has those words.
fn refused(answer: &Answer, status: u16, words: &str) -> Value {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &problem["status"]), (status, &json!(status)), "{problem}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    problem
}

fn json_of(answer: &Answer) -> Value {
    assert!(answer.status < 300, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn the_head_of_a_request_is_decoded() {
    let server = sample();
    let url = server.url("/head?q=a%20b%26c+%C3%A9&q=second&empty");
    let answer = server.send(server.client.get(url).header("x-one", "1")).await;
    let head = json_of(&answer);
    assert_eq!((&head["q"], &head["x-one"]), (&json!("a b&c é"), &json!("1")));
    assert!(head["names"].as_array().unwrap().contains(&json!("x-one")));
    assert_eq!(json_of(&server.get("/head").await)["q"], Value::Null);
}

#[tokio::test]
async fn json_of_the_right_type_is_taken_and_other_refused_with_the_place() {
    let server = sample();
    let answer = server.post("/person", r#"{"name": "Ada", "age": 36}"#).await;
    assert_eq!((answer.status, json_of(&answer)), (201, json!({ "greeting": "hello, Ada" })));
    refused(&server.post("/person", "").await, 400, "the body is empty; send JSON");
    refused(&server.post("/person", "{").await, 400, "EOF");
    refused(&server.post("/person", r#"{"name": "Ada"}"#).await, 400, "missing field `age` at line 1 column 15");
    refused(&server.post("/person", r#"{"name": "Ada", "age": 256}"#).await, 400, "integer `256`");
    let long = format!(r#"{{"name": "Ada", "age": "{}"}}"#, "x".repeat(10_000));
    let problem = refused(&server.post("/person", long).await, 400, "invalid type: string");
    assert!(problem["detail"].as_str().unwrap().len() < 300, "what a parser quotes is cut");
}

#[tokio::test]
async fn bodies_are_bounded_and_read_once() {
    let server = sample();
    let bytes = vec![7; 16 << 20];
    assert_eq!(server.post("/bytes", bytes.clone()).await.body, bytes);
    refused(&server.post("/bytes", unannounced((16 << 20) + 1)).await, 413, "16 MiB");
    refused(&server.post("/text", vec![0xFF]).await, 400, "not UTF-8");
    refused(&server.post("/twice", "x").await, 500, "only once");
    let coded = server.client.post(server.url("/text")).header("content-encoding", "br").body("x");
    refused(&server.send(coded).await, 415, "Content-Encoding");
    assert_eq!(server.post("/text", "é").await.text(), "é");
}

#[tokio::test]
async fn a_form_has_texts_and_files() {
    let server = sample();
    let form = |body: &'static str| {
        let request = server.client.post(server.url("/form")).header("content-type", "multipart/form-data; boundary=B");
        server.send(request.body(body))
    };
    let whole = "--B\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\n\
        content-disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\ncontent-type: text/plain\r\n\r\nabc\r\n--B--\r\n";
    let parts = json!([["a", null, null, 1], ["f", "x.txt", "text/plain", 3]]);
    assert_eq!(json_of(&form(whole).await), json!({ "parts": parts, "a": "1", "f": 3 }));
    refused(&form("--B\r\n\r\nx").await, 400, "cut off");
    refused(&form("--B--\r\n").await, 400, "no field 'f'");
    refused(&server.post("/form", "x").await, 415, "multipart/form-data");
}

#[tokio::test]
async fn statuses_and_headers_are_sent_as_they_are() {
    let server = sample();
    let answer = server.get("/status?status=418&name=X-B&value=1").await;
    assert_eq!((answer.status, answer.headers["x-b"].to_str().unwrap(), answer.text()), (418, "1", "body".to_owned()));
    assert!(answer.headers["server-timing"].to_str().unwrap().contains("first;dur="));
    let empty = server.get("/status?status=204").await;
    assert_eq!((empty.status, empty.body.len(), empty.headers.get("content-length")), (204, 0, None));
    assert_eq!(server.get("/status?status=99").await.status, 500, "which is no status");
    let left_out = server.get("/status?status=200&name=connection&value=close").await;
    assert_eq!((left_out.status, left_out.text()), (200, "body".to_owned()));
    let head = server.send(server.client.head(server.url("/hello"))).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let other = server.post("/hello", "").await;
    refused(&other, 405, "answers GET, HEAD only");
    assert_eq!(other.headers["allow"], "GET, HEAD");
}

#[tokio::test]
async fn failures_become_problems_and_their_reasons_are_logged_with_the_request() {
    let server = sample();
    let answer = server.get("/failure").await;
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    refused(&answer, 500, "the function failed; its log says why");
    assert!(!answer.text().contains("secret"));
    let line = server.wait_for_log("the function failed: the secret reason");
    assert!(line.contains(&id), "{line}");
    assert_eq!(refused(&server.get("/problem").await, 422, "row 3")["row"], 3);
    refused(&server.get("/unwritable").await, 500, "its log says why");
    refused(&server.get("/nothing").await, 404, "nothing is at /nothing");
}

#[tokio::test]
async fn one_function_runs_several_models() {
    let server = sample();
    let answer = json_of(&server.get("/models").await);
    assert_eq!((&answer["shape"], &answer["y"]), (&json!([2, 2]), &json!([[1.0, 2.0], [3.0, 4.0]])));
    assert_eq!(answer["descriptions"].as_array().unwrap().len(), 2);
    assert_eq!(json_of(&server.get("/outputs?name=y").await), json!([1.0, 2.0]));
    let there = "model 'one' has no output 'z' of FP32; its outputs are 'y' of FP32 [1, 2]";
    refused(&server.get("/outputs?name=z").await, 500, there);
    refused(&server.get("/outputs?name=y&type=i64").await, 500, "no output 'y' of I64; its outputs are 'y' of FP32");
    refused(&server.get("/outputs?name=y&input=w").await, 500, "refused model 'one'");
    refused(&server.get("/outputs?name=y&model=three").await, 503, "model 'three' is not loaded");
    assert!(server.get("/file?name=model.toml").await.text().contains("name = \"one\""));
    refused(&server.get("/file?name=none.txt").await, 500, "/models/one/none.txt cannot be read");
}
