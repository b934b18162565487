//! Engines in processes of their own: what a graph does ends at most its process, which is back at once, and nothing
//! else notices.
//!
//! The graphs are those of `tests/fixtures/hostile`, by ONNX Runtime, and of the fake engine where a test needs one that
//! ignores everything.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Server, Setup, place, root};
use crate::plan::children_of;

const BYTES: &str = "dtype = \"U8\", shape = [-1, 4]";

/// The time within which tests on a busy machine see what takes milliseconds on an idle one.
const SOON: Duration = Duration::from_secs(5);

/// A server with the models `names` of `tests/fixtures/hostile`.
fn hostile(names: &[&str]) -> Setup {
    names.iter().fold(Setup::models_only(), |setup, name| {
        let folder = setup.path("models").join(name);
        std::fs::create_dir(&folder).unwrap();
        for file in ["model.onnx", "model.toml"] {
            place(&root().join("tests/fixtures/hostile").join(name).join(file), &folder.join(file));
        }
        setup
    })
}

/// A model of the fake engine, in a process.
fn fake(setup: Setup, name: &str, compute: &str) -> Setup {
    let setup = setup.fake_model(name, BYTES, (&format!("compute = \"{compute}\""), ""));
    let card = setup.path("models").join(name).join("model.toml");
    let text = std::fs::read_to_string(&card).unwrap();
    let changed = text.replace("engine = \"fake\"", "engine = \"fake\", isolation = \"process\"");
    assert_ne!(text, changed);
    std::fs::write(&card, changed).unwrap();
    setup
}

async fn infer(server: &Server, model: &str, inputs: Value) -> Answer {
    let body = json!({ "inputs": inputs }).to_string();
    server.post(&format!("/v2/models/{model}/infer"), body).await
}

async fn bytes(server: &Server, model: &str, data: [u8; 4]) -> Answer {
    infer(server, model, json!([{ "name": "x", "shape": [1, 4], "datatype": "UINT8", "data": data }])).await
}

/// The data of the first output.
async fn output(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["outputs"][0]["data"].clone()
}

/// Asks until the response is 200, and returns how long that took.
async fn until_served(server: &Server, model: &str) -> Duration {
    let started = Instant::now();
    while bytes(server, model, [1, 2, 3, 4]).await.status != 200 {
        assert!(started.elapsed() < SOON, "the model is not back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

async fn divide(server: &Server, x: i32, divisor: i32) -> Answer {
    let tensor = |name: &str, n: i32| json!({ "name": name, "shape": [1], "datatype": "INT32", "data": [n] });
    infer(server, "integer-division", json!([tensor("x", x), tensor("y", divisor.wrapping_sub(1))])).await
}

#[tokio::test]
async fn data_that_ends_the_engine_fails_its_own_request_and_nothing_else() {
    let server = hostile(&["integer-division", "add"]).start();
    let pid = server.pid();
    assert_eq!(output(divide(&server, 42, 6).await).await, json!([7]));
    for (x, divisor) in [(1, 0), (i32::MIN, -1)] {
        assert_eq!(divide(&server, x, divisor).await.status, 500, "{x} / {divisor}");
        let started = Instant::now();
        assert_eq!(output(divide(&server, 42, 6).await).await, json!([7]), "the model is back");
        assert!(started.elapsed() < SOON);
    }
    server.wait_for_log("SIGFPE");
    // Each of them ends the engine twice: with others, and then alone.
    let restarts = server.metric("modelfn_engine_restarts_total{model=\"integer-division\"}").await;
    assert!(restarts >= 4.0, "{restarts}");
    assert_eq!(server.pid(), pid);
    assert_eq!(server.get("/v2/models/add/ready").await.status, 200);
    assert_eq!(server.admin("/readyz").await.status, 200);
}

/// Many clients send right data while one sends data that end the engine: only that one fails.
#[tokio::test]
async fn clients_beside_a_guilty_one_get_their_responses() {
    let server = fake(Setup::models_only(), "m", "crash").start();
    for _ in 0..3 {
        let right = (1..=16_u8).map(|n| bytes(&server, "m", [n; 4]));
        let (guilty, right) =
            futures::future::join(bytes(&server, "m", [0; 4]), futures::future::join_all(right)).await;
        assert_eq!(guilty.status, 500);
        for (n, answer) in (1..=16_u8).zip(right) {
            assert_eq!(output(answer).await, json!([n, n, n, n]));
        }
    }
}

/// An engine that crashes at every request makes its model unready for a while, and only that.
#[tokio::test]
async fn crashes_in_a_row_make_the_model_unready_and_not_the_server() {
    let server = fake(fake(Setup::models_only(), "m", "crash"), "sound", "echo").start();
    let mut refused = None;
    for _ in 0..20 {
        let answer = bytes(&server, "m", [0; 4]).await;
        if answer.status == 503 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 500);
    }
    let refused = refused.expect("it never became unready");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.text().contains("several times in a row"), "{}", refused.text());
    assert_eq!(server.admin("/readyz").await.status, 200, "the server is ready");
    assert_eq!(output(bytes(&server, "sound", [1; 4]).await).await, json!([1, 1, 1, 1]));
    until_served(&server, "m").await;
}

/// A client that gave up costs the engine nothing more, whether the engine listens or not.
#[tokio::test]
async fn a_computation_that_nobody_waits_for_is_ended() {
    for compute in ["spin", "hang"] {
        let server = fake(Setup::models_only(), "m", compute).args(&["--model-instances", "1"]).start();
        bytes(&server, "m", [1; 4]).await;
        let body = json!({ "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "UINT8", "data": [0, 0, 0, 0] }] });
        let request = server.client.post(server.url("/v2/models/m/infer")).header("x-request-timeout", "100ms");
        assert_eq!(server.send(request.body(body.to_string())).await.status, 504, "{compute}");
        let back = until_served(&server, "m").await;
        assert!(back < SOON, "{compute}: back after {back:?}");
    }
}

#[tokio::test]
async fn an_endless_loop_of_a_graph_is_ended() {
    let server = hostile(&["endless-loop"]).args(&["--model-instances", "1"]).start();
    let x = |n: i64| json!([{ "name": "x", "shape": [1], "datatype": "INT64", "data": [n] }]);
    assert_eq!(output(infer(&server, "endless-loop", x(0)).await).await, json!([0]));
    let body = json!({ "inputs": x(1) }).to_string();
    let request = server.client.post(server.url("/v2/models/endless-loop/infer")).header("x-request-timeout", "200ms");
    assert_eq!(server.send(request.body(body)).await.status, 504);
    let started = Instant::now();
    assert_eq!(output(infer(&server, "endless-loop", x(0)).await).await, json!([0]));
    assert!(started.elapsed() < SOON, "the engine was still busy");
}

/// Graphs that would end or hang the engine, or read other files, are left out with a sentence; others serve.
#[tokio::test]
async fn graphs_that_can_not_be_loaded_are_left_out() {
    let names = ["add", "division-at-start", "external", "external-sparse", "huge-input", "recursive", "twice"];
    let setup = fake(fake(hostile(&names), "hangs", "hang-at-start"), "crashes", "crash-at-start");
    let server = setup.args(&["--model-load-timeout", "1s"]).start();
    for (model, says) in [
        ("division-at-start", "SIGFPE"),
        ("external", "not a file below the model's own folder"),
        ("external-sparse", "'w' is external"),
        ("huge-input", "is larger than"),
        ("recursive", "calls itself"),
        ("twice", "are called 'y'"),
        ("hangs", "was not loaded after 1s"),
        ("crashes", "SIGABRT"),
    ] {
        let line = server.wait_for_log(&format!("left out: model '{model}'"));
        assert!(line.contains(says), "{model}: {line}");
        assert_eq!(server.get(&format!("/v2/models/{model}/ready")).await.status, 503, "{model}");
    }
    assert_eq!(server.get("/v2/models/add/ready").await.status, 200);
}

/// A version that can't be loaded changes nothing, whatever it does while it is tried.
#[tokio::test]
async fn a_reload_survives_whatever_a_graph_does() {
    for (compute, says) in [("crash-at-start", "SIGABRT"), ("hang-at-start", "was not loaded after")] {
        let setup = fake(Setup::models_only(), "m", "echo").args(&["--model-load-timeout", "1s"]);
        let graph = setup.path("models/m/graph");
        let server = setup.start();
        let text = std::fs::read_to_string(&graph).unwrap().replace("echo", compute);
        std::fs::write(&graph, text).unwrap();
        server.signal("HUP");
        server.wait_for_log(says);
        assert_eq!(output(bytes(&server, "m", [1; 4]).await).await, json!([1, 1, 1, 1]), "{compute}");
    }
}

/// An engine process opens no file, makes no socket, starts no program and signals nobody. On threads it could.
#[tokio::test]
async fn an_engine_process_can_only_compute() {
    let server = fake(Setup::models_only(), "m", "reach").start();
    assert_eq!(output(bytes(&server, "m", [1; 4]).await).await, json!([0, 0, 0, 0]));
    let engines = children_of(server.pid().cast_unsigned());
    assert_eq!(engines.len(), 1, "{engines:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", engines[0])).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    assert!(std::fs::read(format!("/proc/{}/environ", engines[0])).unwrap().len() < 500, "no secrets are passed on");

    let threads = Setup::models_only().fake_model("m", BYTES, ("compute = \"reach\"", "")).start();
    assert_eq!(output(bytes(&threads, "m", [1; 4]).await).await, json!([1, 1, 1, 1]), "the attempts are real ones");
}

/// A computation may take the memory that the setting names, and no more.
#[tokio::test]
async fn an_engine_process_has_bounded_memory() {
    let setup = fake(hostile(&["huge"]), "m", "allocate").args(&["--max-model-memory", "1GiB"]);
    let server = setup.start();
    assert_eq!(output(bytes(&server, "m", [64, 1, 1, 1]).await).await, json!([64, 1, 1, 1]));
    let x = |n: i64| json!([{ "name": "x", "shape": [1], "datatype": "INT64", "data": [n] }]);
    assert_eq!(infer(&server, "huge", x(1)).await.status, 500);
    assert_eq!(output(infer(&server, "huge", x(0)).await).await, json!([0.0]), "the model is still there");
    let small = fake(Setup::models_only(), "m", "allocate").args(&["--max-model-memory", "192MiB"]).start();
    assert_eq!(bytes(&small, "m", [255, 1, 1, 1]).await.status, 500);
    until_served(&small, "m").await;
}

/// What does not stay in the memory between server and engine is read whole before it goes back to the system, whoever is
/// faster.
#[tokio::test]
async fn outputs_are_whole_however_large_they_are() {
    const BYTES: usize = 12 << 20;
    let model = ("compute = \"echo\"", "max_batch_size = 100000000");
    let setup = Setup::models_only().fake_model("m", "dtype = \"U8\", shape = [-1]", model);
    let card = setup.path("models/m/model.toml");
    let text = std::fs::read_to_string(&card).unwrap();
    std::fs::write(&card, text.replace("engine = \"fake\"", "engine = \"fake\", isolation = \"process\"")).unwrap();
    let server = setup.start();
    let json = json!({
        "inputs": [{ "name": "x", "shape": [BYTES], "datatype": "UINT8", "parameters": { "binary_data_size": BYTES } }],
        "parameters": { "binary_data_output": true },
    });
    let json = json.to_string();
    let clients = (0..4).map(|client| {
        let (server, json) = (&server, &json);
        async move {
            for round in 0..4 {
                let data: Vec<u8> = (0..BYTES).map(|n| (n / 4096 + client * 7 + round) as u8 | 1).collect();
                let body = [json.as_bytes(), &data].concat();
                let request = server.client.post(server.url("/v2/models/m/infer")).body(body);
                let answer = server.send(request.header("inference-header-content-length", json.len())).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let head: usize = answer.header("inference-header-content-length").parse().unwrap();
                let wrong = answer.body[head..].iter().zip(&data).filter(|(got, sent)| got != sent).count();
                assert_eq!((answer.body.len() - head, wrong), (BYTES, 0), "client {client}, round {round}");
            }
        }
    });
    futures::future::join_all(clients).await;
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let shared = files.filter(|file| {
        std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().contains("modelfn-tensors"))
    });
    let kept: u64 =
        shared.map(|file| std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(file.path()).unwrap()) * 512).sum();
    assert!(kept > 0 && kept <= 2 * 2 * (4 << 20), "{kept} bytes stay");
}

/// What a large computation needed goes back to the system once only small ones come.
#[tokio::test]
async fn memory_of_a_large_computation_is_given_back() {
    let server = hostile(&["large"]).args(&["--model-instances", "1"]).start();
    let resident = || {
        let engine = children_of(server.pid().cast_unsigned())[0];
        let status = std::fs::read_to_string(format!("/proc/{engine}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let x = |n: i64| json!([{ "name": "x", "shape": [1], "datatype": "INT64", "data": [n] }]);
    let before = resident();
    assert_eq!(output(infer(&server, "large", x(64)).await).await, json!([0.0]));
    assert!(resident() > before + (200 << 10), "it needed no memory");
    for _ in 0..70 {
        infer(&server, "large", x(0)).await;
    }
    assert!(resident() < before + (40 << 10), "{before} kB before, {} kB now", resident());
}

/// Outputs that don't fit a message, for the length of their names, fail their own computation.
#[tokio::test]
async fn outputs_with_endless_names_fail_their_own_computation() {
    let setup = Setup::models_only().fake_model("m", "dtype = \"U8\", shape = [-1]", ("compute = \"echo\"", ""));
    for (file, from, to) in [
        ("graph", "name = \"y\"", format!("name = \"{}\"", "y".repeat(70_000))),
        ("model.toml", "name = \"y\"", format!("name = \"{}\"", "y".repeat(70_000))),
        ("model.toml", "engine = \"fake\"", "engine = \"fake\", isolation = \"process\"".to_owned()),
        ("model.toml", "[serving]", "[serving]\nmax_batch_size = 40000".to_owned()),
    ] {
        let path = setup.path("models/m").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, &to)).unwrap();
    }
    let server = setup.start();
    let x = |length: usize| json!([{ "name": "x", "shape": [length], "datatype": "UINT8", "data": vec![1; length] }]);
    let small = infer(&server, "m", x(4)).await;
    assert_eq!(output(small).await, json!([1, 1, 1, 1]));
    assert_eq!(infer(&server, "m", x(30_000)).await.status, 500);
    server.wait_for_log("the names and shapes of the outputs are too long");
    assert_eq!(output(infer(&server, "m", x(4)).await).await, json!([1, 1, 1, 1]));
}

/// The engine's processes end with the server, however that ends.
#[tokio::test]
async fn no_engine_process_outlives_its_server() {
    for signal in ["TERM", "KILL"] {
        let mut server = fake(Setup::models_only(), "m", "hang").start();
        let engines = children_of(server.pid().cast_unsigned());
        assert_eq!(engines.len(), 1);
        server.signal(signal);
        server.wait(SOON);
        let started = Instant::now();
        while std::fs::read_to_string(format!("/proc/{}/stat", engines[0])).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(started.elapsed() < SOON, "{signal}: the engine is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// An engine that still loads, and listens to nobody, ends with its server, too.
#[tokio::test]
async fn no_engine_process_outlives_a_server_that_ends_while_it_loads() {
    for signal in ["TERM", "KILL"] {
        let setup = fake(Setup::models_only(), "m", "hang-at-start");
        let mut command = crate::harness::modelfn();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.arg("--app").arg(setup.path("spin.toml")).arg("--models").arg(setup.path("models"));
        let mut server = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        let engine = loop {
            if let [engine] = children_of(server.id())[..] {
                break engine;
            }
            assert!(started.elapsed() < SOON, "there is no engine");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let kill = std::process::Command::new("kill").args(["-s", signal, &server.id().to_string()]).status();
        assert!(kill.unwrap().success());
        server.wait().unwrap();
        let ended = Instant::now();
        while std::fs::read_to_string(format!("/proc/{engine}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(ended.elapsed() < SOON, "{signal}: the engine is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Inputs whose axes have one name in the graph must have one size: the engine is not asked.
#[tokio::test]
async fn inputs_whose_axes_disagree_are_refused() {
    let tensor = |name: &str, rows: usize| json!({ "name": name, "shape": [rows, 2], "datatype": "FP32", "data": vec![1.0; rows * 2] });
    for isolation in ["process", "thread"] {
        let server = hostile(&["add"]).args(&["--model-isolation", isolation]).start();
        let sum = infer(&server, "add", json!([tensor("a", 2), tensor("b", 2)])).await;
        assert_eq!(output(sum).await, json!([2.0, 2.0, 2.0, 2.0]));
        let refused = infer(&server, "add", json!([tensor("a", 2), tensor("b", 3)])).await;
        assert_eq!(refused.status, 400);
        let text = refused.text();
        assert!(text.contains("the same size on the axis 'n', but have 2 and 3"), "{text}");
    }
}

/// Files of a model that are no regular files of its folder are errors, and nothing waits for them.
#[tokio::test]
async fn files_of_a_model_are_regular_files_of_its_folder() {
    for file in ["model.onnx", "model.toml"] {
        for kind in ["pipe", "device", "link"] {
            let setup = hostile(&["add"]);
            let path = setup.path("models/add").join(file);
            std::fs::remove_file(&path).unwrap();
            match kind {
                "pipe" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => {
                    let outside = root().join("tests/fixtures/hostile/add").join(file);
                    std::os::unix::fs::symlink(outside, &path).unwrap();
                }
            }
            let server = setup.start();
            let line = server.wait_for_log("left out: model 'add'");
            let says = if kind == "pipe" { "not a regular file" } else { "is not below" };
            assert!(line.contains(says), "{file} as {kind}: {line}");
        }
    }
}
