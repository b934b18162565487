//! wasi-nn as a guest sees it: computations, and the error code of each failure.
//!
//! The guest is `tests/guests`. The engine is the fake one, except for `load`, which is tested with real graphs.

use std::path::PathBuf;

use futures::future::select_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, Setup, root, skip};

const MODEL: &str = "[component.it.tool.modelfn]\nmodels = [\"m\"]";
const MAY_LOAD: &str = "[component.it.tool.modelfn]\nallow_load = true";
const TENSOR: &str = "dtype = \"FP32\", shape = [-1, 4]";

/// A server with one model, which does what `graph` says.
fn with_model(graph: &str, serving: &str) -> Server {
    Setup::probe(MODEL).fake_model("m", TENSOR, (graph, serving)).start()
}

/// One engine thread that waits for the returned file.
fn with_gated_model(serving: &str, arguments: &[&str]) -> (Server, PathBuf) {
    let (setup, gate) = Setup::probe(MODEL).gated_model("m", TENSOR, &format!("instances = 1\n{serving}"));
    (setup.args(arguments).start(), gate)
}

fn open(gate: &PathBuf) {
    std::fs::write(gate, "").unwrap();
}

/// The error that the guest got, as code and text.
fn error(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let part = |name: &str| json["error"][name].as_str().unwrap_or_else(|| panic!("no error: {json}")).to_owned();
    (part("code"), part("data"))
}

fn assert_error(answer: &Answer, code: &str, says: &[&str]) {
    let (got, text) = error(answer);
    assert_eq!(got, code, "{text}");
    for part in says {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

fn computed(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert!(json["ok"].is_array(), "{json}");
    json["ok"].clone()
}

const COMPUTE: &str = "/nn/compute?model=m&shape=2,4";

#[tokio::test]
async fn outputs_have_the_names_types_and_shapes_of_the_graph() {
    let server = with_model("compute = \"echo\"", "");
    let expected = json!([{ "name": "y", "dtype": "FP32", "shape": [2, 4], "bytes": 32 }]);
    assert_eq!(computed(&server.get(COMPUTE).await), expected);
}

/// The types of wasi-nn, with their sizes and their numbers in ONNX (TensorProto.DataType).
const DTYPES: [(&str, usize, u8); 7] =
    [("FP16", 2, 10), ("BF16", 2, 16), ("FP32", 4, 1), ("FP64", 8, 11), ("U8", 1, 2), ("I32", 4, 6), ("I64", 8, 7)];

/// A tensor passes from guest to host to engine and back, with the fake engine and with the real one.
#[tokio::test]
async fn each_type_passes_bit_by_bit() {
    for engine in ["fake", "onnx"] {
        if engine == "onnx" && no_engine() {
            continue;
        }
        let names: Vec<_> = DTYPES.iter().map(|(dtype, ..)| format!("\"{}\"", dtype.to_lowercase())).collect();
        let mut setup = Setup::probe(&format!("[component.it.tool.modelfn]\nmodels = [{}]", names.join(", ")));
        for (dtype, _, number) in DTYPES {
            let (name, tensor) = (dtype.to_lowercase(), format!("dtype = \"{dtype}\", shape = [-1, 2]"));
            let serving = "max_batch_size = 1000";
            setup = match engine {
                "fake" => setup.fake_model(&name, &tensor, ("compute = \"echo\"", serving)),
                _ => setup.model(&name, &tensor, (engine, &identity(number), serving)),
            };
        }
        let server = setup.start();
        // Signalling NaNs, infinities, negative zeros and the like are among these.
        let data: Vec<u8> = (0..=255).chain((0..=255).rev()).chain([0xff; 16]).chain([0; 16]).collect();
        for (dtype, size, _) in DTYPES {
            let rows = data.len() / size / 2;
            let path = format!("/nn/echo?model={}&dtype={dtype}&shape={rows},2", dtype.to_lowercase());
            let answer = server.post(&path, data.clone()).await;
            assert_eq!(answer.header("x-tensor"), format!("y {dtype} [{rows}, 2]"), "{engine}: {}", answer.text());
            assert_eq!(answer.body, data, "{engine} {dtype}");
        }
    }
}

/// wasi-nn has seven types. A model of others is refused when the guest asks for it, by name or with its bytes.
#[tokio::test]
async fn a_model_of_types_that_wasi_nn_lacks_is_an_error_and_no_trap() {
    for (dtype, number) in [("BOOL", 9), ("I8", 3), ("I16", 5), ("U16", 4), ("U32", 12), ("U64", 13), ("STRING", 8)] {
        let tensor = format!("dtype = \"{dtype}\", shape = [-1, 2]");
        let settings = format!("{MODEL}\nallow_load = true");
        let server = Setup::probe(&settings).fake_model("m", &tensor, ("compute = \"echo\"", "")).start();
        let says = ["model 'm' has 'x'", dtype, "the types of wasi-nn are FP16, FP32", "/v2"];
        assert_error(&server.get("/nn/compute?model=m&shape=1,2").await, "unsupported-operation", &says);
        if !no_engine() {
            let answer = server.post("/nn/load?shape=1,2", identity(number)).await;
            assert_error(&answer, "unsupported-operation", &[dtype, "the types of wasi-nn are"]);
        }
        let (datatype, data) = match dtype {
            "BOOL" => ("BOOL".to_owned(), json!([true, false])),
            "STRING" => ("BYTES".to_owned(), json!(["a", ""])),
            number => (number.replace('I', "INT").replace('U', "UINT"), json!([1, 0])),
        };
        let input = json!({ "name": "x", "datatype": datatype, "shape": [1, 2], "data": data });
        let answer = server.post("/v2/models/m/infer", json!({ "inputs": [input] }).to_string()).await;
        assert_eq!(answer.json()["outputs"][0]["data"], data, "below /v2 it works");
    }
}

/// A guest gets no model that the manifest does not grant, and none by a name that looks like a path.
#[tokio::test]
async fn a_model_is_found_only_by_a_name_that_was_granted() {
    let setup = Setup::probe(MODEL).fake_model("m", TENSOR, ("compute = \"echo\"", ""));
    let server = setup.fake_model("other", TENSOR, ("compute = \"echo\"", "")).start();
    for name in ["x", "other", "", "../m", "./m", "m/", "m/fake.toml", "/etc/passwd", "M", "m%00"] {
        let answer = server.get(&format!("/nn/compute?model={name}&shape=1,4")).await;
        assert_error(&answer, "not-found", &[&format!("'{name}'"), "granted: m", "[component.it.tool.modelfn]"]);
    }
    computed(&server.get(COMPUTE).await);
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_refused_by_name() {
    let server = with_model("compute = \"echo\"", "");
    let wants = "'x' FP32 [-1, 4]";
    for (query, says) in [
        ("dtype=U8&shape=1,4", ["input 'x'", "U8 [1, 4]", wants]),
        ("dtype=I32&shape=1,4", ["input 'x'", "I32 [1, 4]", wants]),
        ("shape=1,5", ["input 'x'", "FP32 [1, 5]", wants]),
        ("shape=4", ["input 'x'", "FP32 [4]", wants]),
        ("shape=1,4,1", ["input 'x'", "FP32 [1, 4, 1]", wants]),
        ("shape=&bytes=4", ["input 'x'", "FP32 []", wants]),
        ("shape=0,5", ["input 'x'", "FP32 [0, 5]", wants]),
        ("shape=1,4&bytes=15", ["input 'x'", "16 bytes", "15 bytes"]),
        ("shape=1,4&bytes=17", ["input 'x'", "16 bytes", "17 bytes"]),
        ("shape=1,4&bytes=0", ["input 'x'", "16 bytes", "0 bytes"]),
        (
            "shape=4294967295,4294967295,4294967295&bytes=4",
            ["input 'x'", "more bytes than can be addressed", "4 bytes"],
        ),
        ("shape=1,4&input=z", ["'m'", "given: z", wants]),
        ("shape=1,4&input=", ["'m'", "given: ", wants]),
        ("shape=1,4&input=x,x", ["'m'", "given: x, x", wants]),
        ("shape=1,4&input=x,z", ["'m'", "no input 'z'", wants]),
    ] {
        let answer = server.get(&format!("/nn/compute?model=m&{query}")).await;
        assert_error(&answer, "invalid-argument", &says);
    }
    computed(&server.get(COMPUTE).await);
}

#[tokio::test]
async fn a_batch_may_be_as_large_as_the_card_says_and_no_larger() {
    let server = with_model("compute = \"echo\"", "max_batch_size = 3");
    computed(&server.get("/nn/compute?model=m&shape=3,4").await);
    let answer = server.get("/nn/compute?model=m&shape=4,4").await;
    assert_error(&answer, "too-large", &["input 'x'", "batch of 4", "is 3"]);
}

#[tokio::test]
async fn a_guest_is_told_of_its_deadline_and_may_answer_by_itself() {
    let (server, gate) = with_gated_model("", &["--request-timeout", "400ms"]);
    assert_error(&server.get(COMPUTE).await, "timeout", &["deadline"]);
    // The engine thread was busy until now.
    open(&gate);
    computed(&server.get(COMPUTE).await);
}

/// A failure of the engine ends one computation. The engine thread serves the next one.
#[tokio::test]
async fn an_engine_that_fails_is_a_runtime_error_of_one_request() {
    for (compute, says) in [("fail", "told to fail"), ("panic", "the engine panicked")] {
        let server = with_model(&format!("compute = \"{compute}\""), "instances = 1");
        for _ in 0..3 {
            assert_error(&server.get(COMPUTE).await, "runtime-error", &[says]);
        }
        assert_eq!(server.get("/hello").await.text(), "hello");
        server.expect_metric("modelfn_computations_total{model=\"m\",succeeded=\"False\"}", 3.0).await;
    }
}

/// At most one request computes and one waits, so that at least one of three is refused. Which one is random.
#[tokio::test]
async fn a_full_queue_sheds_the_request() {
    let (server, gate) = with_gated_model("queue_size = 1", &[]);
    let (shed, _, rest) = select_all((0..3).map(|_| server.start_get(COMPUTE))).await;
    let shed = shed.unwrap();
    assert_eq!(shed.problem(503), "The server is busy; try again in a moment.");
    assert_eq!(shed.header("retry-after"), "1");

    open(&gate);
    let mut answered = 0;
    for request in rest {
        let answer = request.await.unwrap();
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.text());
        answered += usize::from(answer.status == 200);
    }
    assert!(answered >= 1, "who was there first must be answered");
    computed(&server.get(COMPUTE).await);
}

/// More computations wait than the server has threads.
#[tokio::test]
async fn a_computation_occupies_no_thread_of_the_server() {
    let (server, gate) = with_gated_model("", &[]);
    let threads = std::thread::available_parallelism().unwrap().get();
    let computing: Vec<_> = (0..threads + 8).map(|_| server.start_get(COMPUTE)).collect();
    let all = |n: f64| n >= (threads + 8) as f64;
    server.wait_for_in_flight(all).await;
    for _ in 0..10 {
        assert_eq!(server.get("/hello").await.text(), "hello");
        assert_eq!(server.get("/count").await.text(), "1");
    }
    assert_eq!(server.admin("/livez").await.status, 200);
    assert!(all(server.metric("modelfn_requests_in_flight").await), "the computations ended too early to tell");
    open(&gate);
    for request in computing {
        computed(&request.await.unwrap());
    }
}

#[tokio::test]
async fn a_graph_from_a_guest_is_refused_unless_the_manifest_allows_it() {
    let server = Setup::probe(MODEL).fake_model("m", TENSOR, ("compute = \"echo\"", "")).start();
    let answer = server.post("/nn/load", "a graph").await;
    assert_error(&answer, "security", &["'it' may not load graphs", "allow_load"]);
}

/// The engine's library, which `make runtime` brings.
pub fn no_engine() -> bool {
    skip(!root().join("target/lib").is_dir(), "no ONNX Runtime in target/lib; run `make runtime`")
}

#[tokio::test]
async fn a_device_that_is_not_there_is_not_replaced_by_another() {
    if no_engine() {
        return;
    }
    let server = Setup::probe(MAY_LOAD).start();
    for target in ["gpu", "tpu"] {
        let answer = server.post(&format!("/nn/load?target={target}"), quadruple()).await;
        assert_error(&answer, "unsupported-operation", &["is not available"]);
    }
    computed(&server.post("/nn/load?target=cpu", quadruple()).await);
}

#[tokio::test]
async fn an_encoding_that_has_no_engine_is_refused() {
    if no_engine() {
        return;
    }
    let server = Setup::probe(MAY_LOAD).start();
    for encoding in ["openvino", "tensorflow", "pytorch", "tensorflowlite", "ggml"] {
        let answer = server.post(&format!("/nn/load?encoding={encoding}"), quadruple()).await;
        assert_error(&answer, "invalid-encoding", &["onnx"]);
    }
    for encoding in ["onnx", "autodetect"] {
        computed(&server.post(&format!("/nn/load?encoding={encoding}"), quadruple()).await);
    }
}

#[tokio::test]
async fn bytes_that_are_no_graph_are_an_error_and_no_crash() {
    if no_engine() {
        return;
    }
    let server = Setup::probe(MAY_LOAD).start();
    let whole = quadruple();
    let half = whole[..whole.len() / 2].to_vec();
    for bytes in [b"not a graph".to_vec(), Vec::new(), half, vec![0xff; 1 << 20], vec![0; 100]] {
        let answer = server.post("/nn/load", bytes).await;
        assert_error(&answer, "invalid-argument", &["not a graph"]);
    }
    for builders in [0, 2] {
        let answer = server.post(&format!("/nn/load?builders={builders}"), quadruple()).await;
        assert_error(&answer, "invalid-argument", &["one builder", &builders.to_string()]);
    }
    computed(&server.post("/nn/load", quadruple()).await);
}

#[tokio::test]
async fn a_graph_from_a_guest_computes_what_the_same_model_by_name_does() {
    let models = root().join("tests/fixtures/models");
    let graph = models.join("cifar10/model.onnx");
    if no_engine() || skip(!graph.exists(), "no tests/fixtures/models/cifar10/model.onnx; run `make models`") {
        return;
    }
    let settings = format!("{MAY_LOAD}\nmodels = [\"cifar10\"]");
    let server = Setup::probe(&settings).models(models).start();
    let query = "input=input&shape=2,32,32,3";
    let loaded = computed(&server.post(&format!("/nn/load?{query}"), std::fs::read(graph).unwrap()).await);
    let named = computed(&server.get(&format!("/nn/compute?model=cifar10&{query}")).await);
    assert_eq!(loaded, json!([{ "name": "logits", "dtype": "FP32", "shape": [2, 10], "bytes": 80 }]));
    assert_eq!(loaded, named);
    let answer = server.get("/nn/compute?model=cifar10&input=input&shape=33,32,32,3").await;
    assert_error(&answer, "too-large", &["batch of 33", "'cifar10'"]);
}

/// The inputs fit and the outputs do not. The host makes the outputs, so that the guest gets an error and is not ended.
#[tokio::test]
async fn outputs_that_are_too_large_are_an_error() {
    if no_engine() {
        return;
    }
    // The graph itself counts, too.
    let most = ((1 << 20) + quadruple().len()).to_string();
    let server = Setup::probe(MAY_LOAD).args(&["--max-tensors", &most]).start();
    let load = async |elements: usize| server.post(&format!("/nn/load?shape={elements}"), quadruple()).await;
    let fits = (1 << 20) / 4 / 4;
    assert_eq!(computed(&load(fits).await)[0]["bytes"], 1 << 20);
    assert_error(&load(fits + 1).await, "too-large", &["the outputs are 1048592 bytes", &most]);
}

#[tokio::test]
async fn a_graph_from_a_guest_ends_with_its_request() {
    if no_engine() {
        return;
    }
    let server = Setup::probe(MAY_LOAD).start();
    for _ in 0..10 {
        computed(&server.post("/nn/load?shape=4", quadruple()).await);
    }
    server.wait_for_in_flight(|n| n < 0.5).await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while threads_named(server.pid(), "nn-guest") > 0 {
        assert!(std::time::Instant::now() < until, "engine threads of guests that have ended are still there");
        std::thread::yield_now();
    }
}

fn threads_named(pid: i32, prefix: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// An ONNX graph, byte by byte: `y` is `x`, both of this element type and of two columns.
pub fn identity(element: u8) -> Vec<u8> {
    let text = |number, text: &str| field(number, text.as_bytes());
    identity_of(element, &field(2, &[field(1, &text(2, "rows")), field(1, &number(1, 2))].concat()))
}

/// The same of scalars.
pub fn identity_of_scalars(element: u8) -> Vec<u8> {
    identity_of(element, &field(2, &[]))
}

/// The same of tensors of which the graph does not even say how many axes they have.
pub fn identity_of_any_rank(element: u8) -> Vec<u8> {
    identity_of(element, &[])
}

fn identity_of(element: u8, shape: &[u8]) -> Vec<u8> {
    let text = |number, text: &str| field(number, text.as_bytes());
    let node = [text(1, "x"), text(2, "y"), text(4, "Identity")].concat();
    let value = |name: &str| {
        let tensor = [number(1, element), shape.to_vec()].concat();
        [text(1, name), field(2, &field(1, &tensor))].concat()
    };
    let graph = [field(1, &node), text(2, "identity"), field(11, &value("x")), field(12, &value("y"))].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 13))].concat()
}

/// An ONNX graph, byte by byte: `y` is four times `x` in a row, both FP32 and of any length.
fn quadruple() -> Vec<u8> {
    let text = |number, text: &str| field(number, text.as_bytes());
    let axis = [text(1, "axis"), number(3, 0), number(20, 2)].concat();
    let inputs = text(1, "x").repeat(4);
    let node = [inputs, text(2, "y"), text(4, "Concat"), field(5, &axis)].concat();
    let value = |name: &str| {
        let shape = field(1, &text(2, name));
        let tensor = [number(1, 1), field(2, &shape)].concat();
        [text(1, name), field(2, &field(1, &tensor))].concat()
    };
    let graph = [field(1, &node), text(2, "quadruple"), field(11, &value("x")), field(12, &value("y"))].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 13))].concat()
}

/// A protobuf field of bytes, fewer than 128 of them or at least 128 and fewer than 16384.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = match u8::try_from(bytes.len()) {
        Ok(length @ 0..=127) => vec![length],
        _ => vec![u8::try_from(bytes.len() & 0x7f).unwrap() | 0x80, u8::try_from(bytes.len() >> 7).unwrap()],
    };
    [vec![number << 3 | 2], length, bytes.to_vec()].concat()
}

/// A protobuf field of a number below 128. Field numbers from 16 on take two bytes.
fn number(number: u8, value: u8) -> Vec<u8> {
    match number {
        0..=15 => vec![number << 3, value],
        _ => vec![number << 3 | 0x80, number >> 4, value],
    }
}
