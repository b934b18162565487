//! Functions in Python: what `guest/python` offers, as clients see it, and its parts as Python sees them.
//!
//! The function is `tests/python/function/app.py`; each of its paths does one thing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::StreamBody;
use serde_json::{Value, json};

use crate::harness::{Answer, Scratch, Server, Setup, app, modelfn, root, skip};

const MIB: usize = 1 << 20;
const MODELS: &str = "[component.it.tool.modelfn]\nmodels = [\"m\"]";
const FLOATS: &str = "dtype = \"FP32\", shape = [-1, 2]";

/// The component, if `make test-guests` has built it. It is compiled once for all tests, which takes long.
fn component() -> Option<PathBuf> {
    static COMPILED: OnceLock<()> = OnceLock::new();
    let path = root().join("target/guest/python.wasm");
    if skip(!path.exists(), "target/guest/python.wasm is missing; run `make test-guests`") {
        return None;
    }
    COMPILED.get_or_init(|| compile(&path));
    Some(path)
}

/// Leaves the compiled code of a component in the cache.
fn compile(component: &Path) {
    let scratch = Scratch::new();
    let manifest = scratch.write("spin.toml", app(component, ""));
    let output = modelfn().args(["invoke", "/"]).arg("--app").arg(manifest).output().unwrap();
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The function, with further settings of its component.
fn setup(settings: &str) -> Option<Setup> {
    Some(Setup::app(&app(&component()?, settings)))
}

/// The function with a model `m` that echoes its input `x` as `y`, and whose folder is mounted.
fn with_echo(tensor: &str) -> Option<Server> {
    let setup = setup(&format!("files = [{{ source = \"models/m\", destination = \"/model\" }}]\n{MODELS}"))?;
    Some(setup.fake_model("m", tensor, ("compute = \"echo\"", "")).start())
}

async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.post(path, body.to_string()).await
}

fn assert_says(detail: &str, parts: &[&str]) {
    for part in parts {
        assert!(detail.contains(part), "{detail:?} does not say {part:?}");
    }
}

/// A body whose length the client does not announce.
fn unannounced(bytes: usize) -> reqwest::Body {
    let chunks = vec![Bytes::from(vec![b'x'; bytes / 2]), Bytes::from(vec![b'x'; bytes - bytes / 2])];
    let frames = chunks.into_iter().map(|chunk| Ok::<_, std::convert::Infallible>(http_body::Frame::data(chunk)));
    reqwest::Body::wrap(StreamBody::new(futures::stream::iter(frames)))
}

#[test]
fn the_parts_that_need_no_host_pass_their_own_tests() {
    let has_python = Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).status();
    if skip(!has_python.is_ok_and(|status| status.success()), "Python 3.11 is not installed") {
        return;
    }
    let tests = root().join("tests/python");
    let path = std::env::join_paths([root().join("guest/python"), tests.clone()]).unwrap();
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-s"]).arg(tests).env("PYTHONPATH", path);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    let ran = printed.split("Ran ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(ran.parse::<usize>().unwrap() >= 43, "{printed}");
}

#[tokio::test]
async fn a_real_model_answers_as_its_golden_file_says() {
    let Some(setup) = setup("[component.it.tool.modelfn]\nmodels = [\"zipmap-ints\"]") else { return };
    let server = setup.models(root().join("tests/fixtures/tensors")).args(&["--load-model", "zipmap-ints"]).start();
    let answer = post(&server, "/tabular", &json!([[0.25], [0.75]])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let answer_json = answer.json();
    assert_eq!(answer_json["label"], json!([1, 1]));
    let expected = [[0.8, 0.2], [0.3, 0.7]];
    for (row, expected) in expected.iter().enumerate() {
        for (column, expected) in expected.iter().enumerate() {
            let got = answer_json["probabilities"][row][column].as_f64().unwrap();
            assert!((got - expected).abs() < 1e-6, "{answer_json}");
        }
    }
    let laps: Vec<_> = answer.header("server-timing").split(", ").filter(|lap| !lap.is_empty()).collect();
    assert!(laps.iter().any(|lap| lap.starts_with("parse;dur=")), "{laps:?}");
    assert!(laps.iter().any(|lap| lap.starts_with("compute;dur=")), "{laps:?}");
}

#[tokio::test]
async fn the_function_sees_the_request() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    let request = server.client.put(server.url("/echo?a=1%202&b")).header("X-Some", "thing").body("four");
    let seen = server.send(request).await.json();
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["path"], "/echo");
    assert_eq!(seen["query"], json!([["a", "1 2"], ["b", ""]]));
    assert_eq!(seen["headers"]["x-some"], "thing");
    assert_eq!(seen["bytes"], 4);
    let own = reqwest::Method::from_bytes(b"REPORT").unwrap();
    let answer = server.send(server.client.request(own, server.url("/echo"))).await;
    assert_eq!(answer.json()["method"], "REPORT");
    assert_says(&server.get("/nowhere").await.problem(404), &["/tabular"]);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_the_clients_fault() {
    let Some(server) = with_echo(FLOATS) else { return };
    let deep = "[".repeat(MIB);
    for body in ["", "{", "[1,\n]", "NaN", "\u{feff}1", &deep] {
        server.post("/compute", body.to_owned()).await.problem(400);
    }
    server.post("/compute", vec![0xff]).await.problem(400);
    assert_says(&server.post("/compute", "[1,\nx]").await.problem(400), &["line 2, column 1"]);
    assert_says(&server.post("/compute", deep).await.problem(400), &["more than 128 levels"]);
}

#[tokio::test]
async fn bodies_pass_up_to_16_mib_and_not_beyond() {
    let Some(setup) = setup("") else { return };
    let server = setup.args(&["--max-body", "17MiB"]).start();
    let body: Vec<u8> = (0..16 * MIB).map(|n| (n % 251) as u8).collect();
    let answer = server.post("/body", body.clone()).await;
    assert_eq!((answer.status, answer.body == body), (200, true));
    assert_says(&server.post("/body", vec![0; 16 * MIB + 1]).await.problem(413), &["more than 16 MiB"]);
    let counted = server.post("/echo", unannounced(16 * MIB)).await;
    assert_eq!(counted.json()["bytes"], 16 * MIB);
    assert_says(&server.post("/echo", unannounced(16 * MIB + 1)).await.problem(413), &["more than 16 MiB"]);
    assert_eq!(server.get("/echo").await.json()["bytes"], 0);
}

#[tokio::test]
async fn a_body_beyond_the_hosts_limit_is_413() {
    let Some(setup) = setup("") else { return };
    let server = setup.args(&["--max-body", "1KiB"]).start();
    assert_eq!(server.post("/echo", vec![0; 1024]).await.json()["bytes"], 1024);
    server.post("/echo", vec![0; 1025]).await.problem(413);
    server.post("/echo", unannounced(1025)).await.problem(413);
}

/// A body that is dropped before its stream would end the instance with "resource has children".
#[tokio::test]
async fn a_body_that_nobody_reads_costs_nothing() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    for body in [vec![], vec![0; 10], vec![0; 4 * MIB]] {
        let answer = server.post("/unread", body).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "POST"));
    }
    assert_eq!(server.post("/unread", unannounced(MIB)).await.status, 200);
    let log = server.log().join("\n");
    assert!(!log.contains("children") && !log.contains("trap"), "{log}");
}

#[tokio::test]
async fn long_responses_arrive_whole() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    for bytes in [0, 1, 4096, 4097, 65_536, 65_537, 32 * MIB] {
        let answer = server.get(&format!("/long?bytes={bytes}")).await;
        assert_eq!((answer.status, answer.body.len()), (200, bytes));
        assert_eq!(answer.header("content-length"), bytes.to_string());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn head_has_no_body() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    for (path, status) in [("/long?bytes=100000", 200), ("/nowhere", 404), ("/fail", 500)] {
        let answer = server.send(server.client.head(server.url(path))).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
    }
}

#[tokio::test]
async fn lists_take_the_type_of_the_models_input() {
    let Some(server) = with_echo("dtype = \"I32\", shape = [-1, 2]") else { return };
    let answer = post(&server, "/compute?as=list", &json!([[1, 2], [3, 4]])).await;
    assert_eq!(answer.json(), json!({ "dtype": "I32", "shape": [2, 2], "values": [[1, 2], [3, 4]] }));
    let detail = post(&server, "/compute?as=list", &json!([[1, 2.5]])).await.problem(400);
    assert_says(&detail, &["input 'x' of model 'm'", "I32 holds whole numbers, but 2.5 is none"]);
    let detail = post(&server, "/compute?as=list", &json!([[1, 2, 3]])).await.problem(400);
    assert_says(&detail, &["has shape [-1, 2], but was given [1, 3]"]);
    let detail = post(&server, "/compute?as=list", &json!([[1, null]])).await.problem(400);
    assert_says(&detail, &["not of null"]);
    let detail = post(&server, "/compute?as=list", &json!([[1, 2], [3]])).await.problem(400);
    assert_says(&detail, &["different lengths"]);
    let detail = post(&server, "/compute?as=list", &json!([[1, 3_000_000_000_u32]])).await.problem(400);
    assert_says(&detail, &["too large for I32"]);
}

#[tokio::test]
async fn lists_have_their_own_type_where_no_card_is_mounted() {
    let Some(setup) = setup(MODELS) else { return };
    let server = setup.fake_model("m", FLOATS, ("compute = \"echo\"", "")).start();
    let answer = post(&server, "/compute?as=list", &json!([[1.0, 2]])).await;
    assert_eq!(answer.json()["dtype"], "FP32");
    post(&server, "/compute?as=list", &json!([[1, 2]])).await.problem(500);
    server.wait_for_log("INVALID_ARGUMENT");
}

#[tokio::test]
async fn each_type_passes_there_and_back() {
    for dtype in ["FP16", "BF16", "FP32", "FP64", "U8", "I32", "I64"] {
        let Some(server) = with_echo(&format!("dtype = \"{dtype}\", shape = [-1, 2]")) else { return };
        let answer = post(&server, &format!("/compute?as={dtype}"), &json!([[1, 2], [3, 250]])).await;
        let expected = json!({ "dtype": dtype, "shape": [2, 2], "values": [[1, 2], [3, 250]] });
        let as_numbers = |value: &Value| value.to_string().replace(".0", "");
        assert_eq!(as_numbers(&answer.json()), as_numbers(&expected));
    }
    let Some(server) = with_echo("dtype = \"FP32\", shape = [-1]") else { return };
    assert_eq!(post(&server, "/compute?as=array", &json!([1.5, 2])).await.json()["values"], json!([1.5, 2.0]));
    let detail = post(&server, "/compute?as=bytes", &json!([1, 2])).await.problem(500);
    assert_says(&detail, &["input 'x' of model 'm' is of type FP32, but was given U8"]);
}

#[tokio::test]
async fn wrong_names_are_told_beside_the_right_ones() {
    let Some(server) = with_echo(FLOATS) else { return };
    let row = json!([[1, 2]]);
    let detail = post(&server, "/compute?as=list&model=other", &row).await.problem(503);
    assert_says(&detail, &["model 'other' is not loaded by this host"]);
    let detail = post(&server, "/compute?as=list&output=scores", &row).await.problem(500);
    assert_says(&detail, &["model 'm' has no output 'scores'; it has 'y'"]);
    let detail = post(&server, "/compute?as=FP32&input=X", &row).await.problem(500);
    assert_says(&detail, &["model 'm' has the inputs 'x', but was given 'X'"]);
}

#[tokio::test]
async fn large_tensors_pass_up_to_the_hosts_limit() {
    let settings = format!("files = [{{ source = \"models/m\", destination = \"/model\" }}]\n{MODELS}");
    let Some(setup) = setup(&settings) else { return };
    let setup = setup.fake_model("m", "dtype = \"FP32\", shape = [-1, -1]", ("compute = \"echo\"", ""));
    let server = setup.args(&["--max-tensors", "8MiB"]).start();
    let (most, more) = (2 * MIB, 2 * MIB + 1);
    assert_eq!(server.get(&format!("/large?n={most}")).await.json(), json!([1, most]));
    server.get(&format!("/large?n={more}")).await.problem(507);
}

#[tokio::test]
async fn an_engine_that_fails_is_502() {
    let Some(setup) = setup(MODELS) else { return };
    let server = setup.fake_model("m", FLOATS, ("compute = \"fail\"", "")).start();
    let detail = post(&server, "/compute?as=FP32", &json!([[1, 2]])).await.problem(502);
    assert_eq!(detail, "model 'm' failed");
}

#[tokio::test]
async fn forms_have_fields_and_files() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    let (kind, boundary) = ("content-type", "multipart/form-data; boundary=b");
    let body = "--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nZürich\r\n\
                --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n\u{1}\r\n--b--\r\n";
    let answer = server.send(server.client.post(server.url("/form")).header(kind, boundary).body(body)).await;
    let parts = json!([["text", null, "text/plain", 7], ["file", "a.bin", "application/octet-stream", 1]]);
    assert_eq!(answer.json(), json!({ "parts": parts, "text": "Zürich", "file": "a.bin" }));
    let cut = server.client.post(server.url("/form")).header(kind, boundary).body(&body[..body.len() - 8]);
    assert_says(&server.send(cut).await.problem(400), &["cut off"]);
    server.post("/form", body).await.problem(415);
}

#[tokio::test]
async fn failures_are_problems_whose_reason_is_in_the_log_only() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    for kind in ["raise", "exit", "stack", "none"] {
        let detail = server.get(&format!("/fail?kind={kind}")).await.problem(500);
        assert_eq!(detail, "the function failed; its log says why");
    }
    server.wait_for_log("Traceback (most recent call last)");
    server.wait_for_log("RuntimeError: secret");
    server.wait_for_log("SystemExit: secret");
    server.wait_for_log("RecursionError");
    server.wait_for_log("the handler returned NoneType; return a Response");
    assert_says(&server.get("/fail?kind=nan").await.problem(500), &["no JSON"]);
    assert_says(&server.get("/fail?kind=header").await.problem(500), &["header that HTTP does not allow"]);
    server.wait_for_log("bad name");
    server.get("/fail?kind=memory").await.problem(507);
    let answer = server.get("/fail?kind=problem").await;
    assert_eq!(answer.problem(409), "taken; choose another name");
    assert_eq!((&answer.json()["name"], &answer.json()["title"]), (&json!("cat"), &json!("Conflict")));
}

#[tokio::test]
async fn a_function_that_never_ends_is_ended() {
    let Some(setup) = setup("") else { return };
    let server = setup.args(&["--request-timeout", "500ms"]).start();
    server.get("/spin").await.problem(504);
    assert_eq!(server.get("/unread").await.status, 200);
}

#[tokio::test]
async fn each_request_has_an_instance_of_its_own() {
    let Some(setup) = setup("environment = { A = \"b\" }") else { return };
    let server = setup.start();
    let mut numbers = BTreeSet::new();
    for _ in 0..5 {
        let seen = server.get("/state").await.json();
        assert_eq!((&seen["calls"], &seen["variable"]), (&json!(1), &json!("b")));
        numbers.insert(seen["random"].to_string());
    }
    assert_eq!(numbers.len(), 5, "the generator of random numbers is part of the snapshot: {numbers:?}");
}

#[tokio::test]
async fn the_log_has_what_the_function_says_with_the_requests_id() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    let request = server.client.get(server.url("/say")).header("x-request-id", "say-1");
    assert_eq!(server.send(request).await.text(), "said");
    assert_says(&server.wait_for_log("a line of ['the', 'log']"), &["say-1"]);
    assert_says(&server.wait_for_log("a printed line"), &["say-1"]);
}

#[tokio::test]
async fn a_function_of_several_models_finds_the_folder_of_each() {
    let folders = Scratch::new();
    for name in ["one", "two"] {
        folders.write(&format!("{name}/model.toml"), format!("name = \"{name}\"\n"));
        folders.write(&format!("{name}/labels.txt"), "a\nb\n");
    }
    let file = |name: &str, at: &str| {
        format!("{{ source = \"{}/{name}\", destination = \"{at}\" }}", folders.path().display())
    };
    let Some(setup) = setup(&format!("files = [{}, {}]", file("one", "/models/one"), file("two", "/model"))) else {
        return;
    };
    let server = setup.start();
    let one = server.get("/folder?model=one").await.json();
    assert_eq!(one, json!({ "path": "/models/one", "card": "one", "labels": ["a", "b"] }));
    let two = server.get("/folder").await.json();
    assert_eq!(two, json!({ "path": "/model", "card": "two", "labels": ["a", "b"] }));
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_told_with_the_remedy() {
    let Some(setup) = setup("") else { return };
    let server = setup.start();
    let detail = server.get("/folder").await.problem(500);
    assert_says(&detail, &["/model/model.toml cannot be read", "mount the model's folder at /model"]);
}

/// The blocks of `language` in `docs/python.md`.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/python.md")).unwrap();
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn run(command: &str, folder: &Path) -> std::process::Output {
    Command::new("bash").args(["-e", "-c", command]).current_dir(folder).output().unwrap()
}

#[test]
fn the_page_for_beginners_is_true() {
    let [build, try_it] = &blocks("sh")[..] else { panic!("two blocks of commands") };
    let [function] = &blocks("python")[..] else { panic!("one function") };
    let [manifest] = &blocks("toml")[..] else { panic!("one manifest") };
    let (install, compile_command) = build.split_once('\n').unwrap();
    let scratch = Scratch::new();
    scratch.write("app.py", function);
    for part in ["python", "wit"] {
        std::os::unix::fs::symlink(root().join("guest").join(part), scratch.path().join(part)).unwrap();
    }
    let installed = run(install, scratch.path());
    if skip(!installed.status.success(), "componentize-py can't be installed: no pip, or no package index") {
        return;
    }
    let compiled = run(compile_command, scratch.path());
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let component = scratch.path().join("iris.wasm");
    compile(&component);

    let graph = "inputs = [{ name = \"X\", dtype = \"FP32\", shape = [-1, 4] }]\n\
                 outputs = [{ name = \"label\", dtype = \"FP32\", shape = [-1, 4] }]\n";
    let card = "name = \"iris\"\ngraph = { file = \"graph\", engine = \"fake\" }\n";
    scratch.write("models/iris/graph", format!("compute = \"echo\"\n{graph}"));
    scratch.write("models/iris/model.toml", format!("{card}{graph}"));
    let here = |path: &str| scratch.path().join(path).display().to_string();
    let manifest = manifest.replace("iris.wasm", &here("iris.wasm")).replace("models/iris", &here("models/iris"));
    let server = Setup::app(&manifest).models(here("models")).start();
    let (serve, ask) = try_it.trim_end().split_once('\n').unwrap();
    assert_eq!(serve, "modelfn serve");
    let asked = run(&ask.replace("127.0.0.1:8080", &server.address).replace("curl ", "curl -sS "), scratch.path());
    let answer = String::from_utf8(asked.stdout).unwrap();
    assert!(answer.starts_with("{\"label\":[[5.09"), "{answer} {}", String::from_utf8_lossy(&asked.stderr));
}
