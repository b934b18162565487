//! Versions, reloads, and models that break: what works goes on working, and each error is reported.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Scratch, Server, Setup, app, guest, picture, place, root};

/// Version `number` of EfficientNet-Lite0, which tests recognise by its labels.
fn add_version(models: &Path, number: u32) {
    let original = root().join("models/efficientnet-lite0");
    let folder = models.join(format!("efficientnet-lite0/{number}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(original.join("model.toml"), folder.join("model.toml")).unwrap();
    place(&original.join("model.onnx"), &folder.join("model.onnx"));
    let labels = std::fs::read_to_string(original.join("labels.txt")).unwrap();
    let labels: String = labels.lines().map(|label| format!("v{number} {label}\n")).collect();
    std::fs::write(folder.join("labels.txt"), labels).unwrap();
}

fn classify(models: &Path) -> String {
    let folder = models.join("efficientnet-lite0");
    let files = format!("files = [{{ source = \"{}\", destination = \"/model\" }}]", folder.display());
    app(&guest("classify"), &format!("{files}\n[component.it.tool.modelfn]\nmodels = [\"efficientnet-lite0\"]"))
}

async fn first_label(server: &Server) -> String {
    let answer = server.post("/classify", picture("coffee.png")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["class"].as_str().unwrap().to_owned()
}

async fn load(server: &Server, model: &str) -> crate::harness::Answer {
    server.admin_post(&format!("/v2/repository/models/{model}/load")).await
}

async fn hang_up(server: &Server, succeeded: &str) {
    let metric = format!("modelfn_reloads_total{{succeeded=\"{succeeded}\"}}");
    let before = server.metric(&metric).await;
    server.signal("HUP");
    server.wait_for_metric(&metric, |n| n > before).await;
}

#[tokio::test]
async fn the_newest_version_serves_until_another_is_pinned_or_added() {
    let models = Scratch::new();
    add_version(models.path(), 1);
    add_version(models.path(), 2);
    let server = Setup::app(&classify(models.path())).models(models.path()).start();
    assert!(first_label(&server).await.starts_with("v2 "));
    let metadata = server.get("/v2/models/efficientnet-lite0").await.json();
    assert_eq!(metadata["versions"], json!(["2"]));
    assert_eq!(server.get("/v2/models/efficientnet-lite0/versions/2/ready").await.status, 200);
    assert_eq!(server.get("/v2/models/efficientnet-lite0/versions/1/ready").await.status, 404);

    // A new version serves only after a reload.
    add_version(models.path(), 10);
    assert!(first_label(&server).await.starts_with("v2 "));
    let answer = load(&server, "efficientnet-lite0").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "done": "efficientnet-lite0 version 10" })));
    assert!(first_label(&server).await.starts_with("v10 "));

    // Pinning the old version rolls back.
    models.write("efficientnet-lite0/versions.toml", "serve = 1\n");
    hang_up(&server, "True").await;
    assert!(first_label(&server).await.starts_with("v1 "));
    server.expect_metric("modelfn_model_version{model=\"efficientnet-lite0\"}", 1.0).await;
}

/// Card, labels and graph change together between two requests. Only the response shows it.
#[tokio::test]
async fn no_request_is_lost_or_mixed_while_models_change() {
    let models = Scratch::new();
    add_version(models.path(), 1);
    let server = Setup::app(&classify(models.path())).models(models.path()).start();
    let loads = async {
        for number in 2..=5 {
            add_version(models.path(), number);
            assert_eq!(load(&server, "efficientnet-lite0").await.status, 200);
        }
    };
    let body = picture("coffee.png");
    let client = async {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last: &String| last != "v5") {
            let answer = server.post("/classify", body.clone()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let classes = answer.json()["predictions"].as_array().unwrap().clone();
            let versions = classes.iter().map(|class| class["class"].as_str().unwrap().split(' ').next().unwrap());
            let mut versions: Vec<_> = versions.map(str::to_owned).collect();
            versions.dedup();
            assert_eq!(versions.len(), 1, "an answer of two versions: {versions:?}");
            seen.append(&mut versions);
        }
        seen
    };
    let (_, seen, also_seen) = tokio::join!(loads, client, async {
        for _ in 0..5 {
            first_label(&server).await;
        }
    });
    let () = also_seen;
    assert!(seen.first().unwrap() == "v1" && seen.is_sorted(), "{seen:?}");
}

/// A request in flight ends with the version that it started with, and then the threads of the old model end.
#[tokio::test]
async fn a_request_in_flight_ends_on_the_old_version() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    let (setup, gate) = setup.gated_model("slow", "dtype = \"U8\", shape = [-1]", "instances = 1");
    let folder = setup.path("models/slow");
    let server = setup.start();
    let path = "/nn/compute?model=slow&input=x&dtype=U8&shape=4&bytes=4";
    let in_flight = server.start_get(path);
    server.wait_for_in_flight(|n| n >= 1.0).await;

    std::fs::create_dir(folder.join("2")).unwrap();
    std::fs::copy(folder.join("model.toml"), folder.join("2/model.toml")).unwrap();
    let ungated = std::fs::read_to_string(folder.join("graph")).unwrap().replace("gate =", "# gate =");
    std::fs::write(folder.join("2/graph"), ungated).unwrap();
    assert_eq!(load(&server, "slow").await.status, 200);
    assert!(server.get(path).await.text().contains("\"ok\""), "the new version waits for nothing");
    assert!(!in_flight.is_finished());
    assert_eq!(threads(&server, "nn-slow-0"), 2);

    std::fs::write(&gate, "").unwrap();
    assert!(in_flight.await.unwrap().text().contains("\"ok\""));
    let mut old = threads(&server, "nn-slow-0");
    for _ in 0..1000 {
        if old == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        old = threads(&server, "nn-slow-0");
    }
    assert_eq!(old, 1, "the old version's thread is still there");
}

fn threads(server: &Server, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
    tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)).count()
}

#[tokio::test]
async fn a_broken_new_version_is_refused_and_the_old_one_stays() {
    let models = Scratch::new();
    add_version(models.path(), 1);
    let server = Setup::app(&classify(models.path())).models(models.path()).start();
    let card = std::fs::read_to_string(root().join("models/efficientnet-lite0/model.toml")).unwrap();
    let undigested = card.replace("sha256 = \"514c42", "sha256 = \"\" # \"514c42");
    assert_ne!(card, undigested);
    for (card, graph, says) in [
        (card.as_str(), "not a graph", "has sha256"),
        (undigested.as_str(), "not a graph", "not a graph that the engine can run"),
        ("name = ", "", "model.toml"),
    ] {
        models.write("efficientnet-lite0/2/model.toml", card);
        models.write("efficientnet-lite0/2/model.onnx", graph);
        models.write("efficientnet-lite0/2/labels.txt", "");
        let answer = load(&server, "efficientnet-lite0").await;
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 && error.contains("'efficientnet-lite0'") && error.contains(says), "{error}");
        hang_up(&server, "False").await;
        assert!(first_label(&server).await.starts_with("v1 "));
        assert_eq!(server.admin("/readyz").await.status, 200);
    }
    assert_eq!(load(&server, "%ff").await.status, 400);
    let answer = load(&server, "no%2Dsuch").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("no model 'no-such'") && answer.text().contains("have: efficientnet-lite0"));
}

/// At the start there is no old version. The server is live, unready, and serves everything else.
#[tokio::test]
async fn a_damaged_model_makes_the_server_unready_and_stops_nothing_else() {
    let models = Scratch::new();
    add_version(models.path(), 1);
    models.write("efficientnet-lite0/1/cut.onnx", "cut");
    let graph = models.path().join("efficientnet-lite0/1/model.onnx");
    std::fs::rename(models.path().join("efficientnet-lite0/1/cut.onnx"), &graph).unwrap();
    let hello = format!(
        "{}[[trigger.http]]\nroute = \"/hello\"\ncomponent = \"probe\"\n[component.probe]\nsource = \"{}\"\n",
        classify(models.path()),
        guest("probe").display()
    );
    let server = Setup::app(&hello).models(models.path()).start();
    server.wait_for_log("not served: model 'efficientnet-lite0'");
    let ready = server.admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("model 'efficientnet-lite0'") && ready.text().contains("has sha256"));
    assert_eq!(server.admin("/livez").await.status, 200);
    assert_eq!(server.get("/hello").await.text(), "hello");
    assert_eq!(server.get("/").await.status, 200, "the page needs no model");
    let answer = server.post("/classify", picture("coffee.png")).await;
    assert!(answer.problem(503).contains("could not be loaded"));
    assert_eq!(answer.header("retry-after"), "1");
    for path in ["/v2/health/ready", "/v2/models/efficientnet-lite0/ready", "/v2/models/efficientnet-lite0"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
    let index = server.post("/v2/repository/index", "").await.json();
    assert_eq!(index[0]["state"], "UNAVAILABLE", "{index}");

    std::fs::remove_file(&graph).unwrap();
    place(&root().join("models/efficientnet-lite0/model.onnx"), &graph);
    assert_eq!(load(&server, "efficientnet-lite0").await.status, 200);
    assert_eq!(server.admin("/readyz").await.text(), "ready\n");
    assert!(first_label(&server).await.starts_with("v1 "));
    let index = server.post("/v2/repository/index", "").await.json();
    assert_eq!(index, json!([{ "name": "efficientnet-lite0", "version": "1", "state": "READY", "reason": "" }]));
}

#[tokio::test]
async fn a_signal_reads_the_manifest_and_its_components_again() {
    let setup = Setup::probe("");
    let manifest = setup.path("spin.toml");
    let server = setup.start();
    assert_eq!(server.get("/count").await.status, 200);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"/...\"", "\"/hello\"")).unwrap();
    hang_up(&server, "True").await;
    assert!(server.get("/count").await.problem(404).contains("No function answers"), "the route is gone");

    for broken in ["spin_manifest_version = 3", &text.replace("probe.wasm", "missing.wasm"), ""] {
        std::fs::write(&manifest, broken).unwrap();
        hang_up(&server, "False").await;
        assert_eq!(server.get("/hello").await.text(), "hello");
    }
    server.wait_for_log("not reloaded, everything stays as it was");

    // Another component under the same name.
    std::fs::write(&manifest, text.replace("probe.wasm", "classify.wasm")).unwrap();
    let reload = server.admin_post("/reload").await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    assert!(server.get("/").await.text().contains("<html"));
    let get = server.admin("/reload").await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_queue_that_stays_full_makes_the_server_unready_until_it_shrinks() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    let (setup, gate) = setup.gated_model("slow", "dtype = \"U8\", shape = [-1]", "instances = 1");
    let server = setup.args(&["--max-instances", "1", "--max-waiting", "2", "--unready-after", "300ms"]).start();
    let path = "/nn/compute?model=slow&input=x&dtype=U8&shape=4&bytes=4";
    let requests: Vec<_> = (0..8).map(|_| server.start_get(path)).collect();
    server.wait_for_metric("modelfn_requests_total{function=\"it\",outcome=\"Shed\"}", |n| n >= 5.0).await;
    assert_eq!(server.admin("/readyz").await.status, 200, "a burst is no reason yet");
    wait_for_ready(&server, 503).await;
    assert!(server.admin("/readyz").await.text().contains("the line for an instance has been full for"));
    std::fs::write(&gate, "").unwrap();
    for request in requests {
        assert!([200, 503].contains(&request.await.unwrap().status));
    }
    wait_for_ready(&server, 200).await;
}

#[tokio::test]
async fn a_full_queue_of_a_model_makes_the_server_unready() {
    let serving = "instances = 1\nqueue_size = 2";
    let (setup, gate) = Setup::probe("").gated_model("slow", "dtype = \"U8\", shape = [-1]", serving);
    let server = setup.args(&["--unready-after", "300ms"]).start();
    let body = json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "UINT8", "data": [1] }] }).to_string();
    let request = || {
        let request = server.client.post(server.url("/v2/models/slow/infer")).body(body.clone());
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    };
    let mut requests = Vec::new();
    // One request computes and two wait. All others are refused.
    while server.admin("/readyz").await.status == 200 {
        requests.push(request());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(requests.len() < 2000, "/readyz did not become 503");
    }
    assert!(server.admin("/readyz").await.text().contains("the queue of model 'slow' has been full for"));
    std::fs::write(&gate, "").unwrap();
    wait_for_ready(&server, 200).await;
    let mut answered = 0;
    for request in requests {
        let status = request.await.unwrap();
        assert!([200, 503].contains(&status), "{status}");
        answered += usize::from(status == 200);
    }
    assert!(answered >= 3, "{answered}");
}

async fn wait_for_ready(server: &Server, status: u16) {
    for _ in 0..4000 {
        if server.admin("/readyz").await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("/readyz did not become {status}");
}
