//! Every limit of the host, except those of connections (`connections.rs`). A request within the limit passes, a
//! request beyond it ends as documented, and other requests do not notice.

use std::io::Write;
use std::time::{Duration, Instant};

use futures::future::select_all;

use crate::harness::{Answer, Scratch, Server, Setup, app, guest, http2_client, modelfn, read_head, unannounced};

const MIB: usize = 1 << 20;
const PAGE: usize = 64 << 10;

/// A manifest in which `/never` and `/wait` belong to a component with settings of its own.
fn two_components(settings: &str) -> String {
    let probe = guest("probe");
    let source = probe.display();
    format!(
        "{}[[trigger.http]]\nroute = \"/never\"\ncomponent = \"own\"\n[[trigger.http]]\nroute = \"/wait\"\ncomponent = \"own\"\n\
         [component.own]\nsource = \"{source}\"\n[component.own.tool.modelfn]\n{settings}\n",
        app(&probe, "")
    )
}

fn assert_shed(answer: &Answer) {
    answer.problem(503);
    assert_eq!(answer.header("retry-after"), "1");
}

async fn assert_rejected(server: &Server, reason: &str, times: f64) {
    let name = format!("modelfn_rejections_total{{reason=\"{reason}\"}}");
    server.expect_metric(&name, times).await;
}

/// Checks that the path responds with 200 and this text.
pub async fn assert_text(server: &Server, path: &str, text: &str) {
    let answer = server.get(path).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, text), "{path}");
}

#[tokio::test]
async fn a_request_ends_with_the_timeout_and_not_before() {
    let server = Setup::probe("").args(&["--request-timeout", "400ms"]).start();
    assert_text(&server, "/wait?ms=50", "waited").await;
    let started = Instant::now();
    server.get("/never").await.problem(504);
    assert_rejected(&server, "Deadline", 1.0).await;
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(400) && elapsed < Duration::from_secs(10), "{elapsed:?}");
}

#[tokio::test]
async fn a_component_has_its_own_timeout() {
    let longer = Setup::app(&two_components("timeout = \"30s\"")).args(&["--request-timeout", "200ms"]).start();
    assert_text(&longer, "/wait?ms=600", "waited").await;
    longer.get("/spin").await.problem(504);

    let shorter = Setup::app(&two_components("timeout = \"200ms\"")).args(&["--request-timeout", "1h"]).start();
    shorter.get("/never").await.problem(504);
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    let server = Setup::probe("").args(&["--max-body", "100000"]).start();
    for (protocol, client) in [("HTTP/1.1", server.client.clone()), ("HTTP/2", http2_client())] {
        let post = |body: reqwest::Body| server.send(client.post(server.url("/echo")).body(body));
        let within = [post(vec![b'x'; 100_000].into()).await, post(unannounced(100_000)).await];
        for answer in within {
            assert_eq!((answer.status, answer.body.len()), (200, 100_000), "{protocol}");
        }
        let detail = post(vec![b'x'; 100_001].into()).await.problem(413);
        assert_eq!(detail, "The body is 100001 bytes; this server takes 100000.", "{protocol}");
        let detail = post(unannounced(100_001)).await.problem(413);
        assert_eq!(detail, "The body is larger; this server takes 100000.", "{protocol}");
    }
    assert_rejected(&server, "TooLarge", 4.0).await;
}

/// A body counts against the budget until its guest has ended.
#[tokio::test]
async fn bodies_of_all_requests_may_be_as_large_as_the_limit_together() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    let (setup, gate) = setup.gated_model("slow", "dtype = \"FP32\", shape = [-1]", "");
    let server = setup.args(&["--max-body", "150000", "--max-bodies", "150000", "--request-timeout", "1h"]).start();
    let holder = server.client.post(server.url("/nn/compute?model=slow&shape=1")).body(vec![0; 100_000]);
    let holder = tokio::spawn(async move { Answer::read(holder.send().await.unwrap()).await.unwrap() });
    server.wait_for_in_flight(|n| n > 0.5).await;
    assert_eq!(server.post("/echo", vec![0; 50_000]).await.body.len(), 50_000);
    assert_shed(&server.post("/echo", vec![0; 50_001]).await);
    assert_shed(&server.post("/echo", unannounced(50_001)).await);
    assert_rejected(&server, "BodiesFull", 2.0).await;
    server.expect_metric("modelfn_bodies_in_flight_bytes", 100_000.0).await;

    std::fs::write(gate, "").unwrap();
    assert!(holder.await.unwrap().text().contains("\"ok\""));
    server.wait_for_in_flight(|n| n < 0.5).await;
    assert_eq!(server.post("/echo", vec![0; 150_000]).await.body.len(), 150_000);
    server.wait_for_metric("modelfn_bodies_in_flight_bytes", |n| n < 0.5).await;
}

/// The client sends the whole body although its length was refused, and only then reads. A reset must not have
/// destroyed the response.
#[tokio::test]
async fn a_client_that_is_still_sending_receives_the_early_refusal() {
    let server = Setup::probe("").start();
    let mut client = server.connect();
    write!(client, "POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: {}\r\n\r\n", 17 * MIB).unwrap();
    client.write_all(&vec![0; 17 * MIB]).expect("the server must go on reading");
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");

    let answer = server.send(http2_client().post(server.url("/echo")).body(vec![0; 17 * MIB])).await;
    answer.problem(413);
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let server = Setup::probe("").start();
    let mut client = server.connect();
    write!(client, "POST /echo HTTP/1.1\r\nhost: it\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", 17 * MIB)
        .unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[tokio::test]
async fn memory_is_granted_up_to_the_limit_exactly() {
    let server = Setup::probe("").args(&["--max-memory", "64MiB"]).start();
    assert_text(&server, &format!("/grow-to?bytes={}", 64 * MIB), "granted").await;
    assert_text(&server, &format!("/grow-to?bytes={}", 64 * MIB + PAGE), "refused").await;

    assert_text(&server, &format!("/allocate?bytes={}", 32 * MIB), "allocated").await;
    server.get(&format!("/allocate?bytes={}", 64 * MIB)).await.problem(507);
    // A guest may go on after a refusal.
    assert_text(&server, &format!("/try-allocate?bytes={}", 64 * MIB), "refused").await;
}

#[tokio::test]
async fn a_component_has_its_own_memory() {
    let server = Setup::probe("[component.it.tool.modelfn]\nmemory = \"8MiB\"").start();
    assert_text(&server, &format!("/grow-to?bytes={}", 8 * MIB), "granted").await;
    assert_text(&server, &format!("/grow-to?bytes={}", 8 * MIB + PAGE), "refused").await;
    server.get(&format!("/allocate?bytes={}", 8 * MIB)).await.problem(507);
}

/// A component that cannot be instantiated is an error at start-up, not at the first request.
#[test]
fn a_component_beyond_a_limit_is_not_served() {
    let error = does_not_start("[component.it.tool.modelfn]\nmemory = \"64KiB\"", &[]);
    assert!(error.contains("component 'it'") && error.contains("exceeds memory limits"), "{error}");
    let error = does_not_start("", &["--max-table-elements", "1"]);
    assert!(error.contains("component 'it'") && error.contains("exceeds the limit of 1"), "{error}");
}

/// The error of a server that does not start.
fn does_not_start(settings: &str, arguments: &[&str]) -> String {
    let scratch = Scratch::new();
    let mut command = modelfn();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.arg("--app").arg(scratch.write("spin.toml", app(&guest("probe"), settings)));
    let output = command.arg("--models").arg(scratch.path()).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_component_within_the_table_limit_is_served() {
    let server = Setup::probe("").args(&["--max-table-elements", "1000"]).start();
    assert_text(&server, "/hello", "hello").await;
}

#[tokio::test]
async fn tensors_are_held_up_to_the_limit() {
    let server = Setup::probe("").args(&["--max-tensors", "1MiB"]).start();
    for (path, count) in [
        (format!("/nn/tensors?n=1&bytes={MIB}"), "1"),
        (format!("/nn/tensors?n=4&bytes={}", MIB / 4), "4"),
        // Dropped tensors no longer count.
        (format!("/nn/tensors?n=50&bytes={MIB}&keep=no"), "0"),
    ] {
        assert_text(&server, &path, count).await;
    }
    server.get(&format!("/nn/tensors?n=1&bytes={}", MIB + 1)).await.problem(507);
    server.get(&format!("/nn/tensors?n=5&bytes={}", MIB / 4)).await.problem(507);
}

/// Outputs count as long as the guest keeps them. Inputs no longer count after their computation.
#[tokio::test]
async fn outputs_count_among_the_tensors() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"m\"]");
    let setup =
        setup.fake_model("m", "dtype = \"U8\", shape = [-1]", ("compute = \"echo\"", "max_batch_size = 2000000"));
    let server = setup.args(&["--max-tensors", "1MiB"]).start();
    let path = |repeat| format!("/nn/compute?model=m&dtype=U8&shape={}&repeat={repeat}", MIB / 4);
    assert_eq!(server.get(&path(4)).await.json()["ok"].as_array().unwrap().len(), 4);
    server.get(&path(5)).await.problem(507);
}

#[tokio::test]
async fn handles_of_a_guest_are_limited() {
    let server = Setup::probe("").start();
    assert_text(&server, "/handles?n=450", "450").await;
    server.get("/handles?n=600").await.problem(507);
    assert_text(&server, "/hello", "hello").await;
}

/// The limit holds in whichever way, and however often, a guest asks for its output streams.
#[tokio::test]
async fn the_log_of_a_guest_is_limited() {
    for path in ["/log?bytes=1000000", "/log-streams?n=1000&bytes=1000"] {
        let server = Setup::probe("").start();
        assert_text(&server, path, "logged").await;
        server.wait_for_log("further output is dropped");
        server.wait_for_log("\"answered\"");
        let logged: usize = server.log().iter().map(|line| line.matches('.').count()).sum();
        assert!(logged < 64 << 10, "{path} logged {logged} bytes");
        assert!(server.log().len() < 100, "{path} logged {} lines", server.log().len());
    }
}

/// One request is in flight and one waits, so that the third is refused. Which one is the third is random.
#[tokio::test]
async fn requests_wait_for_an_instance_until_the_queue_is_full() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    let (setup, gate) = setup.gated_model("slow", "dtype = \"FP32\", shape = [-1]", "");
    let server = setup.args(&["--max-instances", "1", "--max-waiting", "1", "--request-timeout", "1h"]).start();

    let holder = server.start_get("/nn/compute?model=slow&shape=1");
    server.wait_for_in_flight(|n| n > 0.5).await;
    let (first, _, rest) = select_all([server.start_get("/hello"), server.start_get("/hello")]).await;
    assert_shed(&first.unwrap());
    server.expect_metric("modelfn_requests_waiting", 1.0).await;
    assert_rejected(&server, "WaitingFull", 1.0).await;

    std::fs::write(gate, "").unwrap();
    assert!(holder.await.unwrap().text().contains("\"ok\""));
    for waited in rest {
        assert_eq!(waited.await.unwrap().text(), "hello");
    }
    assert_text(&server, "/hello", "hello").await;
    server.wait_for_metric("modelfn_requests_waiting", |n| n < 0.5).await;
}

/// There is one instance, which takes 50 ms for a request. A request with a timeout of half a second cannot wait behind
/// dozens of others; a request with a longer timeout can.
#[tokio::test]
async fn a_request_that_would_miss_its_deadline_is_refused_at_once() {
    let arguments = ["--max-instances", "1", "--request-timeout", "1h", "--target-latency", "1h"];
    let server = Setup::probe("").args(&arguments).start();
    let line: Vec<_> = (0..60).map(|_| server.start_get("/wait?ms=50")).collect();
    server.wait_for_metric("modelfn_requests_total{function=\"it\",outcome=\"Answered\"}", |n| n > 11.5).await;
    let hasty = server.client.get(server.url("/hello")).header("x-request-timeout", "500ms");
    assert_shed(&server.send(hasty).await);
    assert_rejected(&server, "WouldBeLate", 1.0).await;
    assert_text(&server, "/hello", "hello").await;
    for request in line {
        assert_eq!(request.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_frees_its_slot() {
    let server = Setup::app(&two_components("timeout = \"1h\""))
        .args(&["--max-instances", "1", "--max-waiting", "1", "--request-timeout", "1h"])
        .start();
    let holder = server.start_get("/never");
    server.wait_for_in_flight(|n| n > 0.5).await;
    let (shed, _, waiting) = select_all([server.start_get("/hello"), server.start_get("/hello")]).await;
    assert_shed(&shed.unwrap());
    for request in waiting {
        request.abort();
    }
    server.wait_for_metric("modelfn_requests_total{function=\"it\",outcome=\"ClientLeft\"}", |n| n > 0.5).await;
    let (shed, _, waiting) = select_all([server.start_get("/hello"), server.start_get("/hello")]).await;
    assert_shed(&shed.unwrap());
    holder.abort();
    for request in waiting {
        assert_eq!(request.await.unwrap().text(), "hello");
    }
}

#[tokio::test]
async fn the_wait_for_an_instance_ends_with_the_request_timeout() {
    let server = Setup::app(&two_components("timeout = \"1h\""))
        .args(&["--max-instances", "1", "--request-timeout", "300ms"])
        .start();
    let holder = server.start_get("/never");
    server.wait_for_in_flight(|n| n > 0.5).await;
    assert_shed(&server.get("/hello").await);
    assert_rejected(&server, "NoInstance", 1.0).await;
    holder.abort();
    server.wait_for_in_flight(|n| n < 0.5).await;
    assert_text(&server, "/hello", "hello").await;
}

/// Each request takes 50 ms of the one instance, so that few fit a target of 200 ms.
#[tokio::test]
async fn a_request_that_would_wait_for_longer_than_the_target_is_refused_at_once() {
    let arguments = ["--max-instances", "1", "--request-timeout", "1h", "--target-latency", "200ms"];
    let server = Setup::probe("").args(&arguments).start();
    let line: Vec<_> = (0..30).map(|_| server.start_get("/wait?ms=50")).collect();
    server.wait_for_metric("modelfn_requests_total{function=\"it\",outcome=\"Answered\"}", |n| n > 11.5).await;
    assert_shed(&server.get("/hello").await);
    assert_rejected(&server, "WouldBeLate", 1.0).await;
    // Of those who were let in before the pace was known, who has waited for too long gives way.
    for request in line {
        let answer = request.await.unwrap();
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    assert_text(&server, "/hello", "hello").await;
}

/// One component's guests never end; there is always an instance for the other, which they do not get.
#[tokio::test]
async fn a_component_does_not_take_the_share_of_another() {
    let server = Setup::app(&two_components("")).args(&["--max-instances", "8", "--request-timeout", "1h"]).start();
    let holders: Vec<_> = (0..20).map(|_| server.start_get("/never")).collect();
    server.expect_metric("modelfn_requests_waiting", 14.0).await;
    server.expect_metric("modelfn_requests_in_flight", 6.0).await;
    assert_text(&server, "/hello", "hello").await;
    for holder in holders {
        holder.abort();
    }
    server.wait_for_in_flight(|n| n < 0.5).await;
}

#[tokio::test]
async fn a_component_has_as_many_instances_as_its_manifest_says_and_no_more() {
    let server = Setup::app(&two_components("max_instances = 2")).args(&["--request-timeout", "1h"]).start();
    let holders: Vec<_> = (0..3).map(|_| server.start_get("/never")).collect();
    server.expect_metric("modelfn_requests_waiting", 1.0).await;
    server.wait_for_in_flight(|n| (n - 2.0).abs() < 1e-9).await;
    assert_text(&server, "/hello", "hello").await;
    for holder in holders {
        holder.abort();
    }
}

/// There is one instance. A response of up to 1 MiB is kept for its client; a larger one holds the instance until the
/// client has read nothing for the timeout.
#[tokio::test]
async fn a_response_that_nobody_reads_holds_no_instance() {
    let arguments = ["--max-instances", "1", "--request-timeout", "1h", "--unread-timeout", "500ms"];
    let server = Setup::probe("").args(&arguments).start();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().http2_initial_stream_window_size(0);
    let client = client.build().unwrap();
    let kept = client.get(server.url("/stream?bytes=1000000")).send().await.unwrap();
    server.wait_for_in_flight(|n| n < 0.5).await;
    let started = Instant::now();
    let large = client.get(server.url("/stream?bytes=100000000")).send().await.unwrap();
    server.wait_for_in_flight(|n| n > 0.5).await;
    assert_text(&server, "/hello", "hello").await;
    assert!(started.elapsed() >= Duration::from_millis(500), "the guest waits for its client for a while");
    server.wait_for_log("the client read nothing of the response");
    drop((kept, large));
    server.wait_for_metric("modelfn_memory_reserved_bytes", |n| n < 0.5).await;
}

/// A slow client that reads is not cut off, however long its response takes. What the kernel's buffers hold of it is read
/// within a fraction of the timeout.
#[tokio::test]
async fn a_response_that_is_read_slowly_is_whole() {
    let server = Setup::probe("").args(&["--unread-timeout", "2s", "--request-timeout", "1h"]).start();
    let mut response = server.client.get(server.url("/stream?bytes=40000000")).send().await.unwrap();
    let (mut read, started) = (0, Instant::now());
    while let Some(chunk) = response.chunk().await.unwrap() {
        read += chunk.len();
        if started.elapsed() < Duration::from_secs(4) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(read, 40_000_000);
}

/// What one request can't have because others have it is a 503; what it may never have is a 507.
#[tokio::test]
async fn all_requests_together_take_the_memory_that_they_may() {
    let setup = Setup::probe("").args(&["--max-memory-total", "200MiB", "--max-memory", "64MiB"]);
    let server = setup.args(&["--request-timeout", "1h", "--max-instances", "8"]).start();
    let holders: Vec<_> = (0..6).map(|_| server.start_get("/allocate?bytes=50000000&hold=3600000")).collect();
    let (refused, _, _) = select_all(holders).await;
    assert_shed(&refused.unwrap());
    let name = "modelfn_rejections_total{reason=\"MemoryFull\"}";
    server.wait_for_metric(name, |n| n > 0.5).await;
    assert_text(&server, "/hello", "hello").await;
    server.get("/allocate?bytes=70000000").await.problem(507);
    let resident = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = resident.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.trim().split(' ').next().unwrap().parse().unwrap();
    assert!(peak < 200 << 10, "{peak} KiB");
}

#[test]
fn a_server_that_would_have_no_memory_for_requests_does_not_start() {
    let error = does_not_start("", &["--max-memory-total", "20MiB"]);
    assert!(error.contains("--max-memory-total is 20 MiB") && error.contains("raise it"), "{error}");
}

/// Few large fields fit, and so do many small ones.
#[tokio::test]
async fn the_fields_and_bodies_that_a_guest_makes_the_host_hold_are_limited() {
    let server = Setup::probe("").start();
    assert_text(&server, "/fields?n=20&bytes=60000", "20").await;
    assert_text(&server, "/fields?n=400&bytes=1000", "400").await;
    server.get("/fields?n=100&bytes=60000").await.problem(500);
    let bytes: usize = server.get("/bodies?n=150").await.text().parse().unwrap();
    assert!(bytes > 150 * 4096 && bytes < 6 << 20, "{bytes} bytes");
}
