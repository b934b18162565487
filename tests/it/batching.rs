//! Batching: requests of several sandboxes are stacked into one computation, which their clients must not notice.

use std::time::Duration;

use crate::harness::{Server, Setup, model_with, picture};

const SERVING: &str = "instances = 1\nmax_batch_size = 4\ndynamic_batching = true";

/// A model that computes nothing until its gate is opened.
fn gated(serving: &str) -> (Setup, std::path::PathBuf) {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    setup.gated_model("slow", "dtype = \"U8\", shape = [-1, 4]", serving)
}

const ONE: &str = "/nn/compute?model=slow&input=x&dtype=U8&shape=1,4";

#[tokio::test]
async fn requests_behind_a_busy_engine_are_batched() {
    let (setup, gate) = gated(SERVING);
    let server = setup.start();
    let first = server.start_get(ONE);
    server.wait_for_in_flight(|n| n > 0.5).await;
    let rest: Vec<_> = (0..8).map(|_| server.start_get(ONE)).collect();
    server.wait_for_in_flight(|n| n > 8.5).await;
    // A request in flight is not yet in the queue: its guest has yet to call `compute`.
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(&gate, "").unwrap();
    for request in [first].into_iter().chain(rest) {
        assert!(request.await.unwrap().text().contains("\"ok\""));
    }
    server.expect_metric("modelfn_batch_size_sum{model=\"slow\"}", 9.0).await;
    let calls = server.metric("modelfn_batch_size_count{model=\"slow\"}").await;
    assert!((calls - 3.0).abs() < 1e-9, "1 + 4 + 4 rows are three calls, not {calls}");
    server.wait_for_metric("modelfn_batches_total{model=\"slow\",release=\"Full\"}", |n| n > 0.5).await;
}

#[tokio::test]
async fn a_batch_of_a_client_counts_with_its_rows() {
    let (setup, gate) = gated(SERVING);
    std::fs::write(gate, "").unwrap();
    let server = setup.start();
    let own = server.get("/nn/compute?model=slow&input=x&dtype=U8&shape=4,4").await;
    assert!(own.text().contains("\"ok\""), "{}", own.text());
    server.expect_metric("modelfn_batch_size_sum{model=\"slow\"}", 4.0).await;
    let larger = server.get("/nn/compute?model=slow&input=x&dtype=U8&shape=5,4").await.text();
    assert!(larger.contains("too-large") && larger.contains("is 4"), "{larger}");
}

/// Sends many requests at once, and checks that each response has the bytes that it has alone.
async fn check_many_at_once(server: &Server, count: usize) {
    let names = ["coffee.png", "rocket.jpg", "chelsea.png", "imagenet_00_243.jpg"];
    let mut alone = Vec::new();
    for name in names {
        alone.push(server.post("/classify?top_k=1000", picture(name)).await.body);
    }
    let requests = (0..count).map(|n| server.post("/classify?top_k=1000", picture(names[n % names.len()])));
    for (n, answer) in futures::future::join_all(requests).await.into_iter().enumerate() {
        assert_eq!(answer.body, alone[n % names.len()], "request {n}");
    }
}

/// The real model gives the same bytes in a batch as alone.
#[tokio::test]
async fn a_batch_gives_the_same_bytes_as_single_requests() {
    let models = model_with("efficientnet-lite0-int8", |card| format!("{card}\n[serving]\n{SERVING}\n"));
    let server = Setup::example().models(models.path()).start();
    check_many_at_once(&server, 48).await;
    let computed =
        server.metric("modelfn_computations_total{model=\"efficientnet-lite0-int8\",succeeded=\"True\"}").await;
    let calls = server.metric("modelfn_batch_size_count{model=\"efficientnet-lite0-int8\"}").await;
    assert!(calls < computed, "{computed} computations in {calls} calls: nothing was stacked");
}

/// More computations than cores use the same weights at the same time. Each gives the same result as alone.
#[tokio::test]
async fn instances_of_a_model_do_not_affect_each_other() {
    let models = model_with("efficientnet-lite0-int8", |card| format!("{card}\n[serving]\ninstances = 4\n"));
    let server = Setup::example().models(models.path()).start();
    check_many_at_once(&server, 96).await;
}

#[tokio::test]
async fn a_client_may_shorten_its_deadline() {
    let (setup, _gate) = gated(SERVING);
    let server = setup.args(&["--request-timeout", "1h"]).start();
    for (header, value) in [("x-request-timeout", "200ms"), ("x-request-timeout", "0.2"), ("grpc-timeout", "200m")] {
        let request = server.client.get(server.url("/never")).header(header, value);
        server.send(request).await.problem(504);
    }
    // A guest that sees the timeout early enough may respond by itself.
    let request = server.client.get(server.url(ONE)).header("x-request-timeout", "200ms");
    assert!(server.send(request).await.text().contains("timeout"));
    let request = server.client.get(server.url("/hello")).header("x-request-timeout", "soon");
    assert!(server.send(request).await.problem(400).contains("x-request-timeout"));
}
