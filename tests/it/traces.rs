//! Traces as a real collector gets them: spans, their parents and their attributes. A collector that is slow or gone
//! costs requests nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::collector::{Collector, attribute, hex, named};
use crate::harness::{Server, Setup, app, guest, modelfn};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const COMPUTE: &str = "/nn/compute?model=m&input=x&dtype=U8&shape=1,4&bytes=4";

const ERROR: i32 = 2;
const SERVER: i32 = 2;

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The probe with a model `m`, whose graph is given.
fn probe(compute: &str) -> Setup {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"m\"]");
    setup.fake_model("m", "dtype = \"U8\", shape = [-1, 4]", (&format!("compute = \"{compute}\""), ""))
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> crate::harness::Answer {
    let request = server.client.get(server.url(path));
    server.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// The trace id of the log's line about the request with this id.
fn logged_trace(server: &Server, id: &str) -> Option<String> {
    server.wait_for_log(id);
    let mut lines = server.log().into_iter().filter(|line| line.contains(id));
    let entry: Value = serde_json::from_str(&lines.next_back().unwrap()).unwrap();
    assert_eq!(entry["span"]["id"], id);
    entry["span"]["trace_id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_request_is_a_tree_of_spans_below_its_client_s() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=vision").start();
    let headers = [("traceparent", &*traceparent("01")), ("x-request-id", "the-one")];
    assert_eq!(get(&server, COMPUTE, &headers).await.status, 200);

    let spans = collector.wait_for("guest", 1).await;
    let find = |name| named(&spans, TRACE, name);
    let (request, guest) = (find("GET /..."), find("guest"));
    assert_eq!((hex(&request.parent_span_id), request.kind), (PARENT.to_owned(), SERVER));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/nn/compute"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("http.route", "/..."),
        ("http.response.status_code", "200"),
        ("error.type", ""),
        ("modelfn.function", "it"),
    ] {
        assert_eq!(attribute(request, key), value, "{key}");
    }
    for (child, parent) in [("guest", request), ("instantiate", guest), ("queue", guest), ("compute", guest)] {
        let child = find(child);
        assert_eq!(child.parent_span_id, parent.span_id, "{}", child.name);
        assert!(child.start_time_unix_nano >= parent.start_time_unix_nano, "{}", child.name);
        assert!(child.end_time_unix_nano >= child.start_time_unix_nano, "{}", child.name);
    }
    let (queue, compute) = (find("queue"), find("compute"));
    assert_eq!(queue.end_time_unix_nano, compute.start_time_unix_nano);
    assert!(compute.end_time_unix_nano <= guest.end_time_unix_nano);
    assert_eq!(
        (attribute(compute, "modelfn.model"), attribute(compute, "modelfn.batch_size")),
        ("m".into(), "1".into())
    );
    assert_eq!(attribute(queue, "modelfn.model"), "m");
    assert_eq!(logged_trace(&server, "the-one").unwrap(), TRACE);

    let export = &collector.exports()[0];
    assert_eq!((export.path.as_str(), &export.headers["x-team"]), ("/v1/traces", &"vision".parse().unwrap()));
    let resource = export.decode().resource_spans.remove(0).resource.unwrap();
    let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    assert!(format!("{service:?}").contains("\"modelfn\""), "{service:?}");
}

#[tokio::test]
async fn json_has_the_same_spans_and_the_service_its_name() {
    let collector = Collector::start();
    let setup = probe("echo").traced(&collector.endpoint).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    let server = setup.env("OTEL_SERVICE_NAME", "eyes").start();
    get(&server, "/hello", &[("traceparent", &traceparent("01"))]).await;
    let spans = collector.wait_for("guest", 1).await;
    assert_eq!(named(&spans, TRACE, "guest").parent_span_id, named(&spans, TRACE, "GET /...").span_id);
    let text = String::from_utf8(collector.exports()[0].body.to_vec()).unwrap();
    assert!(text.contains(TRACE) && text.contains("\"eyes\""), "{text}");
}

#[tokio::test]
async fn a_guest_is_told_to_continue_from_its_own_span() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).start();
    let headers = [("traceparent", &*traceparent("01")), ("tracestate", "vendor=1")];
    let seen = get(&server, "/header?name=traceparent", &headers).await;
    assert_eq!(get(&server, "/header?name=tracestate", &headers).await.text(), "vendor=1");
    let spans = collector.wait_for("guest", 2).await;
    let guests = spans.iter().filter(|span| span.name == "guest").map(|span| hex(&span.span_id));
    assert!(guests.map(|id| format!("00-{TRACE}-{id}-01")).any(|expected| expected == seen.text()), "{}", seen.text());
    assert!(!seen.headers.contains_key("traceparent"), "a response does not have it");
    // Without a trace of the client the server starts one, and sends no empty header.
    assert!(get(&server, "/header?name=traceparent", &[]).await.text().ends_with("-01"));
    assert_eq!(get(&server, "/header?name=tracestate", &[]).await.text(), "");
}

#[tokio::test]
async fn a_client_that_samples_nothing_is_not_traced() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).start();
    let unsampled = get(&server, "/header?name=traceparent", &[("traceparent", &traceparent("00"))]).await.text();
    assert!(unsampled.starts_with(&format!("00-{TRACE}-")) && unsampled.ends_with("-00"), "{unsampled}");
    assert!(!unsampled.contains(PARENT), "{unsampled}");
    get(&server, COMPUTE, &[("traceparent", &traceparent("00"))]).await;
    // Later spans are sent later.
    get(&server, "/hello", &[]).await;
    let spans = collector.wait_for("guest", 1).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE));

    let nobody = Collector::start();
    let mut server = probe("echo").traced(&nobody.endpoint).env("OTEL_TRACES_SAMPLER", "always_off").start();
    get(&server, "/hello", &[("traceparent", &traceparent("01"))]).await;
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(nobody.exports().is_empty());
}

/// Only what takes time has a span: not a request without a body that finds a free instance.
#[tokio::test]
async fn reading_a_body_and_waiting_for_an_instance_are_spans() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).args(&["--max-instances", "1"]).start();
    let first = server.start_get("/wait?ms=200");
    server.wait_for_in_flight(|n| n > 0.5).await;
    let request = server.client.post(server.url("/echo")).header("traceparent", traceparent("01"));
    assert_eq!(server.send(request.body("body")).await.text(), "body");
    first.await.unwrap();
    let spans = collector.wait_for("guest", 2).await;
    let request = named(&spans, TRACE, "POST /...");
    for name in ["body", "admission"] {
        assert_eq!(named(&spans, TRACE, name).parent_span_id, request.span_id);
        assert_eq!(spans.iter().filter(|span| span.name == name).count(), 1, "the other request has no {name}");
    }
}

#[tokio::test]
async fn a_malformed_parent_starts_a_new_trace() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).start();
    let bad = format!("00-{TRACE}-{PARENT}-1");
    get(&server, "/hello", &[("traceparent", &bad), ("x-request-id", "malformed")]).await;
    let spans = collector.wait_for("GET /...", 1).await;
    let logged = logged_trace(&server, "malformed").unwrap();
    assert_ne!(logged, TRACE);
    assert!(named(&spans, &logged, "GET /...").parent_span_id.is_empty());
}

#[tokio::test]
async fn the_inference_protocol_is_traced_too() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).start();
    let body = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[2,4],"data":[1,2,3,4,5,6,7,8]}]}"#;
    let request = server.client.post(server.url("/v2/models/m/infer")).header("traceparent", traceparent("01"));
    assert_eq!(server.send(request.body(body)).await.status, 200);
    let spans = collector.wait_for("POST /v2/models/{model}/infer", 1).await;
    let find = |name| named(&spans, TRACE, name);
    let server_span = find("POST /v2/models/{model}/infer");
    assert_eq!(attribute(server_span, "url.path"), "/v2/models/m/infer");
    for child in ["body", "queue", "compute"] {
        assert_eq!(find(child).parent_span_id, server_span.span_id, "{child}");
    }
    assert_eq!(attribute(find("compute"), "modelfn.batch_size"), "2");
}

#[tokio::test]
async fn errors_are_marked_where_they_happened() {
    let collector = Collector::start();
    let setup =
        Setup::app(&app(&guest("probe"), "[component.it.tool.modelfn]\nmodels = [\"m\"]").replace("/...", "/f/..."));
    let setup = setup.fake_model("m", "dtype = \"U8\", shape = [-1, 4]", ("compute = \"fail\"", ""));
    let server = setup.traced(&collector.endpoint).start();
    assert_eq!(get(&server, "/nowhere", &[("traceparent", &traceparent("01"))]).await.status, 404);
    let spans = collector.wait_for("GET", 1).await;
    let unrouted = named(&spans, TRACE, "GET");
    assert_eq!((attribute(unrouted, "http.route"), attribute(unrouted, "error.type")), (String::new(), String::new()));
    assert_eq!(unrouted.status.as_ref().map_or(0, |status| status.code), 0, "a client's mistake is not the server's");

    let body = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"data":[1,2,3,4]}]}"#;
    let request = server.client.post(server.url("/v2/models/m/infer")).header("traceparent", traceparent("01"));
    assert_eq!(server.send(request.body(body)).await.status, 500);
    let spans = collector.wait_for("compute", 1).await;
    let compute = named(&spans, TRACE, "compute");
    assert_eq!((attribute(compute, "error.type"), compute.status.as_ref().unwrap().code), ("Engine".into(), ERROR));
    assert!(spans.iter().all(|span| span.name != "queue"));
}

#[tokio::test]
async fn a_trap_and_a_client_that_leaves_end_their_spans() {
    let collector = Collector::start();
    let server = probe("echo").traced(&collector.endpoint).start();
    assert_eq!(get(&server, "/trap", &[("traceparent", &traceparent("01"))]).await.status, 500);
    let spans = collector.wait_for("GET /...", 1).await;
    let (request, guest) = (named(&spans, TRACE, "GET /..."), named(&spans, TRACE, "guest"));
    assert_eq!(
        (attribute(request, "error.type"), request.status.as_ref().unwrap().code),
        ("FunctionError".into(), ERROR)
    );
    assert_eq!((attribute(guest, "error.type"), guest.status.as_ref().unwrap().code), ("Trapped".into(), ERROR));

    let leaving = server.start_get("/never");
    server.wait_for_in_flight(|n| n > 0.5).await;
    leaving.abort();
    let spans = collector.wait_for("guest", 2).await;
    let left = spans.iter().find(|span| attribute(span, "error.type") == "ClientLeft").unwrap();
    assert_eq!((left.name.as_str(), attribute(left, "http.response.status_code")), ("GET /...", String::new()));
}

#[tokio::test]
async fn a_drain_sends_what_is_left() {
    let collector = Collector::start();
    let setup = probe("echo").env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
    let mut server = setup.env("OTEL_BSP_SCHEDULE_DELAY", "600000").start();
    get(&server, "/hello", &[]).await;
    assert!(collector.exports().is_empty(), "it waits for more");
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
    assert!(collector.spans().iter().any(|span| span.name == "guest"));
}

/// A port where nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_a_line_of_the_log() {
    let endpoint = nowhere();
    let mut server = probe("echo").traced(&endpoint).start();
    get(&server, "/hello", &[]).await;
    let line = server.wait_for_log("spans can't be sent");
    assert!(line.contains(&endpoint) && line.contains("refused"), "{line}");
    for _ in 0..20 {
        assert_eq!(get(&server, "/hello", &[]).await.status, 200);
    }
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
    assert_eq!(server.log().iter().filter(|line| line.contains("spans can't be sent")).count(), 1);
}

/// The queue is full after one request. The drain waits for the collector, but only for a short time.
#[tokio::test]
async fn a_collector_that_does_not_answer_holds_nobody_up() {
    let collector = Collector::silent();
    let setup = probe("echo").traced(&collector.endpoint).env("OTEL_BSP_MAX_QUEUE_SIZE", "4");
    let mut server = setup.env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4").start();
    get(&server, "/hello", &[]).await;
    collector.wait_for("GET /...", 1).await;
    for _ in 0..50 {
        assert_eq!(get(&server, COMPUTE, &[]).await.status, 200);
    }
    server.signal("TERM");
    let draining = Instant::now();
    assert_eq!(server.wait(Duration::from_secs(20)).code(), Some(0));
    assert!(draining.elapsed() < Duration::from_secs(8), "{:?}", draining.elapsed());
    server.wait_for_log("the last spans were not sent");
}

#[tokio::test]
async fn without_a_collector_nothing_is_touched() {
    let server = probe("echo").env("OTEL_SERVICE_NAME", "unused").start();
    let headers = [("traceparent", &*traceparent("01")), ("x-request-id", "untouched")];
    assert_eq!(get(&server, "/header?name=traceparent", &headers).await.text(), traceparent("01"));
    assert_eq!(get(&server, "/header?name=traceparent", &[]).await.text(), "");
    assert_eq!(logged_trace(&server, "untouched"), None);
}

#[test]
fn a_variable_that_is_not_understood_is_an_error() {
    let mut command = modelfn();
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let output = command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc: this program speaks http/protobuf"), "{error}");
}
