//! Probes, metrics, and how the server ends.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Setup, app, guest, http2_client, picture};

#[tokio::test]
async fn probes_answer_on_their_own_port() {
    let server = Setup::example().start();
    for (path, text) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = server.admin(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, text));
    }
    assert_eq!(server.admin("/nowhere").await.status, 404);
    assert_eq!(server.get("/livez").await.status, 404, "the public port has no probes");
    let post = server.client.post(format!("http://{}/readyz", server.admin));
    assert_eq!(server.send(post).await.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = Setup::example().start();
    server.post("/classify", picture("coffee.png")).await;
    server.post("/classify", "text").await;
    for (metric, value) in [
        ("modelfn_requests_total{function=\"classify\",outcome=\"Answered\"}", 1.0),
        ("modelfn_requests_total{function=\"classify\",outcome=\"ClientError\"}", 1.0),
        ("modelfn_request_duration_seconds_count{function=\"classify\"}", 2.0),
        ("modelfn_guest_instantiate_seconds_count", 2.0),
        ("modelfn_computations_total{model=\"efficientnet-lite0-int8\",succeeded=\"True\"}", 1.0),
        ("modelfn_compute_duration_seconds_count{model=\"efficientnet-lite0-int8\"}", 1.0),
        ("modelfn_requests_in_flight", 0.0),
    ] {
        server.expect_metric(metric, value).await;
    }
    assert!(server.metric("modelfn_model_load_duration_seconds{model=\"efficientnet-lite0-int8\"}").await > 0.0);
    assert!(server.metric("modelfn_guest_memory_peak_bytes_sum").await > 65_536.0);
}

/// A web page can make a browser send a plain `POST`, and no header that says that it is meant.
#[tokio::test]
async fn only_programs_may_change_the_server() {
    let server = Setup::probe("").start();
    let post = |path: &str| server.client.post(format!("http://{}{path}", server.admin));
    for path in ["/reload", "/v2/repository/models/m/load"] {
        for request in [
            post(path),
            post(path).header("content-type", "text/plain"),
            post(path).header("x-modelfn-admin", "1").header("origin", "http://evil.example"),
            post(path).header("x-modelfn-admin", "1").header("host", "evil.example"),
        ] {
            let answer = server.send(request).await;
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert!(answer.json()["error"].as_str().unwrap().contains("X-Modelfn-Admin: 1"));
        }
        let preflight = server.client.request(reqwest::Method::OPTIONS, format!("http://{}{path}", server.admin));
        let answer = server.send(preflight.header("access-control-request-headers", "x-modelfn-admin")).await;
        assert!(answer.status == 405 && answer.header("access-control-allow-headers").is_empty());
    }
    assert_eq!(server.admin_post("/reload").await.status, 200);
    server.expect_metric("modelfn_reloads_total{succeeded=\"True\"}", 1.0).await;
}

/// The port of probes is not filled by clients that send nothing, or read nothing.
#[tokio::test]
async fn probes_go_on_among_idle_and_stalled_clients_of_their_port() {
    let server = Setup::probe("").start();
    let connect = || TcpStream::connect(&server.admin).unwrap();
    let idle: Vec<_> = (0..200).map(|_| connect()).collect();
    let stalled: Vec<_> = (0..100)
        .map(|_| {
            let mut client = connect();
            // Ended by the server at some time, which is no error of this client.
            let _ = client.write_all("GET /metrics HTTP/1.1\r\nhost: it\r\n\r\n".repeat(200).as_bytes());
            client
        })
        .collect();
    for _ in 0..20 {
        let prober = reqwest::Client::builder().no_proxy().build().unwrap();
        let probe = prober.get(format!("http://{}/readyz", server.admin)).send().await.unwrap();
        assert_eq!(probe.status(), 200);
    }
    drop((idle, stalled));
}

/// Bytes of bodies are counted, whoever responds. A body that was refused counts too, since it was received.
#[tokio::test]
async fn bytes_are_counted_both_ways_and_rejections_by_reason() {
    let server = Setup::app(&app(&guest("probe"), "").replace("\"/...\"", "\"/echo\"")).start();
    assert_eq!(server.post("/echo", vec![0; 300_000]).await.body.len(), 300_000);
    let nowhere = server.post("/nowhere", vec![0; 1000]).await;
    nowhere.problem(404);
    let (received, sent) = (301_000.0, 300_000.0 + nowhere.body.len() as f64);
    server.expect_metric("modelfn_request_bytes_total", received).await;
    server.expect_metric("modelfn_response_bytes_total", sent).await;
    server.expect_metric("modelfn_rejections_total{reason=\"NoRoute\"}", 1.0).await;
    server.expect_metric("modelfn_bodies_in_flight_bytes", 0.0).await;
}

/// This holds for HTTP/2 too, where hyper would send the body that the guest wrote.
#[tokio::test]
async fn the_response_to_head_has_a_length_and_no_body() {
    let server = Setup::app(&app(&guest("probe"), "").replace("\"/...\"", "\"/hello\"")).start();
    for client in [server.client.clone(), http2_client()] {
        for (path, status) in [("/hello", 200), ("/nowhere", 404)] {
            let length = server.get(path).await.body.len();
            let answer = server.send(client.head(server.url(path))).await;
            assert_eq!((answer.status, answer.body.len()), (status, 0));
            assert_eq!(answer.header("content-length"), length.to_string(), "{path} {answer:?}");
        }
    }
}

/// After SIGTERM the server is unready at once. The request in flight gets its whole response. Then the exit code is 0.
#[tokio::test]
async fn a_drain_loses_no_request() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    let (setup, gate) = setup.gated_model("slow", "dtype = \"U8\", shape = [-1]", "");
    let mut server = setup.start();
    let request = server.client.get(server.url("/nn/compute?model=slow&input=x&dtype=U8&shape=4&bytes=4"));
    let in_flight = tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    while server.metric("modelfn_requests_in_flight").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.signal("TERM");
    server.wait_for_log("draining");
    assert_eq!(server.admin("/readyz").await.status, 503);
    assert_eq!(server.admin("/livez").await.status, 200);
    std::fs::write(&gate, "").unwrap();
    let body = in_flight.await.unwrap();
    assert!(body.contains("\"ok\""), "{body}");
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
}

/// Load balancers go on sending requests until they notice. New connections are served meanwhile, and told to close.
#[tokio::test]
async fn new_requests_are_answered_during_the_shutdown_delay() {
    let mut server = Setup::probe("").args(&["--shutdown-delay", "2s"]).start();
    assert!(server.get("/hello").await.headers.get("connection").is_none());
    let told = std::time::Instant::now();
    server.signal("TERM");
    server.wait_for_log("draining");
    assert_eq!(server.admin("/readyz").await.status, 503);
    let newcomer = reqwest::Client::builder().no_proxy().build().unwrap();
    for client in [&server.client, &newcomer] {
        let answer = client.get(server.url("/hello")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["connection"], "close");
    }
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(told.elapsed() >= Duration::from_secs(2), "it left before the delay was over");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut server = Setup::probe("").args(&["--request-timeout", "60s"]).start();
    let request = server.client.get(server.url("/never"));
    let in_flight = tokio::spawn(request.send());
    while server.metric("modelfn_requests_in_flight").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.signal("TERM");
    server.wait_for_log("draining");
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(130));
    assert!(in_flight.await.unwrap().is_err());
}

/// A request that never ends does not hold the process longer than the drain timeout.
#[tokio::test]
async fn the_drain_is_bounded() {
    let mut server = Setup::probe("").args(&["--request-timeout", "60s", "--drain-timeout", "200ms"]).start();
    let in_flight = tokio::spawn(server.client.get(server.url("/never")).send());
    while server.metric("modelfn_requests_in_flight").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
    server.wait_for_log("still open");
    assert!(in_flight.await.unwrap().is_err());
}

/// A server that does not serve yet has nothing to drain.
#[tokio::test]
async fn a_signal_during_start_up_ends_at_once() {
    // One model is loaded, and the one after it never.
    let setup = Setup::models_only();
    let setup = setup.fake_model("first", "dtype = \"U8\", shape = [-1]", ("compute = \"echo\"", ""));
    let setup = setup.fake_model("second", "dtype = \"U8\", shape = [-1]", ("compute = \"hang-at-start\"", ""));
    let mut command = crate::harness::modelfn();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.arg("--app").arg(setup.path("spin.toml")).arg("--models").arg(setup.path("models"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("model loaded") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "it ended before it loaded anything");
    }
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
