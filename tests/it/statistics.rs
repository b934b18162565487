//! Statistics of models under Triton's names: below `/v2`, and among the metrics.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, Setup};

const FOUR: &str = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"data":[1,2,3,4]}]}"#;
const EIGHT: &str = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[2,4],"data":[1,2,3,4,5,6,7,8]}]}"#;

const TENSOR: &str = "dtype = \"U8\", shape = [-1, 4]";

/// A function that may use the model `m`.
fn function() -> Setup {
    Setup::probe("[component.it.tool.modelfn]\nmodels = [\"m\"]")
}

async fn statistics(server: &Server) -> Value {
    let answer = server.get("/v2/models/m/versions/1/stats").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["model_stats"][0].clone()
}

async fn failures(server: &Server, reason: &str) -> f64 {
    server.metric(&format!("nv_inference_request_failure{{model=\"m\",reason=\"{reason}\",version=\"1\"}}")).await
}

fn start_infer(server: &Server, body: &'static str) -> tokio::task::JoinHandle<u16> {
    let request = server.client.post(server.url("/v2/models/m/infer")).body(body);
    tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
}

#[tokio::test]
async fn functions_and_clients_of_v2_are_counted_alike() {
    let server = function().fake_model("m", TENSOR, ("compute = \"echo\"", "")).start();
    let seen = statistics(&server).await;
    assert_eq!(
        (&seen["inference_count"], &seen["last_inference"], &seen["batch_stats"]),
        (&json!(0), &json!(0), &json!([]))
    );
    assert_eq!(server.post("/v2/models/m/infer", FOUR).await.status, 200);
    assert_eq!(server.post("/v2/models/m/infer", EIGHT).await.status, 200);
    let text = server.get("/nn/compute?model=m&input=x&dtype=U8&shape=2,4&bytes=8").await.text();
    assert!(text.contains("\"ok\""), "{text}");
    assert_eq!(server.post("/v2/models/m/infer", FOUR.replace("[1,4]", "[4]")).await.status, 400, "not the model's");

    let seen = statistics(&server).await;
    assert_eq!((&seen["name"], &seen["version"]), (&json!("m"), &json!("1")));
    assert_eq!((&seen["inference_count"], &seen["execution_count"]), (&json!(5), &json!(3)));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let last = u128::from(seen["last_inference"].as_u64().unwrap());
    assert!(last <= now && now - last < 60_000, "{last} is not about {now}");
    let totals = &seen["inference_stats"];
    for what in ["success", "queue", "compute_input", "compute_infer", "compute_output"] {
        assert_eq!(totals[what]["count"], 3, "{what}");
    }
    let ns = |what: &str| totals[what]["ns"].as_u64().unwrap();
    let parts: u64 = ["queue", "compute_input", "compute_infer", "compute_output"].map(ns).iter().sum();
    assert!(ns("compute_infer") > 0 && parts <= ns("success"), "{totals}");
    assert_eq!(totals["fail"], json!({ "count": 0, "ns": 0 }));
    let batches: Vec<_> = seen["batch_stats"].as_array().unwrap().iter().collect();
    let sizes: Vec<_> = batches.iter().map(|b| (&b["batch_size"], &b["compute_infer"]["count"])).collect();
    assert_eq!(sizes, [(&json!(1), &json!(1)), (&json!(2), &json!(2))]);

    for path in ["/v2/models/stats", "/v2/models/m/stats"] {
        assert_eq!(server.get(path).await.json()["model_stats"][0]["inference_count"], 5, "{path}");
    }
    assert_eq!(server.get("/v2/models/none/stats").await.status, 404);
    for (name, value) in [("request_success", 3.0), ("count", 5.0), ("exec_count", 3.0), ("pending_request_count", 0.0)]
    {
        let name = format!("nv_inference_{name}{{model=\"m\",version=\"1\"}}");
        server.expect_metric(&name, value).await;
    }
    let us = server.metric("nv_inference_request_duration_us{model=\"m\",version=\"1\"}").await;
    assert!((us - (ns("success") / 1000) as f64).abs() < 1e-9, "{us}");
}

#[tokio::test]
async fn a_batch_counts_as_one_execution() {
    let serving = "instances = 1\ndynamic_batching = true\nmax_batch_size = 4";
    let (setup, gate) = function().gated_model("m", TENSOR, serving);
    let server = setup.start();
    let first = start_infer(&server, FOUR);
    // A request that no longer waits has reached the engine. Requests after it are stacked.
    server.wait_for_metric("modelfn_requests_in_flight", |n| n > 0.5).await;
    server.wait_for_metric("nv_inference_pending_request_count{model=\"m\",version=\"1\"}", |n| n < 0.5).await;
    let later = [start_infer(&server, FOUR), start_infer(&server, EIGHT)];
    server.wait_for_metric("modelfn_queue_depth{model=\"m\"}", |n| (n - 2.0).abs() < 0.5).await;
    std::fs::write(gate, "").unwrap();
    for task in [first].into_iter().chain(later) {
        assert_eq!(task.await.unwrap(), 200);
    }
    let seen = statistics(&server).await;
    let counts = (&seen["inference_count"], &seen["execution_count"], &seen["inference_stats"]["success"]["count"]);
    assert_eq!(counts, (&json!(4), &json!(2), &json!(3)));
    assert_eq!(seen["batch_stats"][1]["batch_size"], 3);
    assert!(seen["batch_stats"][1]["compute_input"]["ns"].as_u64().unwrap() > 0, "stacking takes its time");
    assert!(server.metric("modelfn_queue_depth{model=\"m\"}").await < 0.5);
}

/// Each kind of failure happens once.
#[tokio::test]
async fn failures_are_counted_by_their_reason() {
    let (setup, gate) = function().gated_model("m", TENSOR, "instances = 1\nqueue_size = 1");
    let server = setup.start();
    let late =
        |time: &str| server.client.post(server.url("/v2/models/m/infer")).header("X-Request-Timeout", time).body(FOUR);
    assert_eq!(server.send(late("2s")).await.status, 504);
    assert!((failures(&server, "OTHER").await - 1.0).abs() < 1e-9, "its deadline passed in the engine");

    assert_eq!(server.send(late("50ms")).await.status, 504);
    assert!((failures(&server, "REJECTED").await - 1.0).abs() < 1e-9, "its deadline passed in the queue");

    let waiting = start_infer(&server, FOUR);
    server.wait_for_metric("modelfn_queue_depth{model=\"m\"}", |n| n > 0.5).await;
    assert_eq!(server.post("/v2/models/m/infer", FOUR).await.status, 503);
    assert!((failures(&server, "REJECTED").await - 2.0).abs() < 1e-9, "the queue was full");

    waiting.abort();
    server.wait_for_metric("modelfn_queue_depth{model=\"m\"}", |n| n < 0.5).await;
    server
        .wait_for_metric("nv_inference_request_failure{model=\"m\",reason=\"CANCELED\",version=\"1\"}", |n| n > 0.5)
        .await;
    std::fs::write(gate, "").unwrap();
    assert_eq!(server.post("/v2/models/m/infer", FOUR).await.status, 200);
    let seen = statistics(&server).await;
    let fail = &seen["inference_stats"]["fail"];
    assert_eq!((&fail["count"], &seen["inference_stats"]["success"]["count"]), (&json!(4), &json!(1)));
    assert!(Duration::from_nanos(fail["ns"].as_u64().unwrap()) > Duration::from_millis(249));
    assert_eq!(seen["execution_count"], 2, "the engine ended what nobody waited for");

    let server = function().fake_model("m", TENSOR, ("compute = \"fail\"", "")).start();
    assert_eq!(server.post("/v2/models/m/infer", FOUR).await.status, 500);
    assert!((failures(&server, "BACKEND").await - 1.0).abs() < 1e-9);
    assert_eq!(statistics(&server).await["execution_count"], 0);
}
