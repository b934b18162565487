//! A guest that fails, loops, grows or reaches outside harms its own request and nothing else.
//!
//! The guest is `tests/guests`, which misbehaves as its path says.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::harness::{Answer, Server, Setup, http2_client, read_head};

/// Longer than any test, so that something else must have ended a guest.
const NO_TIMEOUT: [&str; 2] = ["--request-timeout", "1h"];

/// Both versions of HTTP, since a request ends early in a different way in each.
fn clients() -> [(&'static str, reqwest::Client); 2] {
    let http1 = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    [("HTTP/1.1", http1), ("HTTP/2", http2_client())]
}

async fn assert_well(server: &Server) {
    let hello = server.get("/hello").await;
    assert_eq!((hello.status, hello.text().as_str()), (200, "hello"));
    assert_eq!(server.get("/count").await.text(), "1", "an instance has seen another request");
}

async fn fetch(client: &reqwest::Client, url: String) -> reqwest::Result<Answer> {
    Answer::read(client.get(url).send().await?).await
}

/// There is one instance, so that a slot that is not released would block the next request.
#[tokio::test]
async fn each_failure_has_its_status_and_ends_with_its_request() {
    let server = Setup::probe("").args(&["--max-instances", "1", "--request-timeout", "500ms"]).start();
    for (path, status, outcome) in [
        ("/trap", 500, "FunctionError"),
        ("/panic", 500, "FunctionError"),
        ("/overflow", 500, "FunctionError"),
        ("/no-answer", 500, "FunctionError"),
        ("/error-answer", 500, "FunctionError"),
        ("/spin", 504, "TimedOut"),
        ("/never", 504, "TimedOut"),
        ("/allocate?bytes=1000000000", 507, "OutOfMemory"),
    ] {
        let metric = format!("modelfn_requests_total{{function=\"it\",outcome=\"{outcome}\"}}");
        let before = server.metric(&metric).await;
        let detail = server.get(path).await.problem(status);
        for secret in ["wasm", "told to", "unreachable", "backtrace", "bytes"] {
            assert!(!detail.contains(secret), "{path} tells the client {detail:?}");
        }
        server.expect_metric(&metric, before + 1.0).await;
        assert_well(&server).await;
    }
}

#[tokio::test]
async fn the_log_says_why_a_function_failed() {
    let server = Setup::probe("").start();
    for (path, says) in [
        ("/trap", "wasm `unreachable` instruction executed"),
        ("/panic", "told to panic"),
        ("/overflow", "call stack exhausted"),
        ("/no-answer", "ended without an answer"),
        ("/error-answer", "told to"),
    ] {
        server.get(path).await.problem(500);
        server.wait_for_log(says);
    }
}

#[tokio::test]
async fn others_are_answered_while_guests_loop_wait_and_hold_memory() {
    let server = Setup::probe("").args(&["--request-timeout", "4s", "--max-instances", "32"]).start();
    let paths = ["/spin", "/never", "/allocate?bytes=4000000&hold=3600000"];
    let misbehaving: Vec<_> = (0..24).map(|n| server.start_get(paths[n % paths.len()])).collect();
    server.wait_for_in_flight(|n| n >= 24.0).await;
    assert_well(&server).await;
    assert_eq!(server.admin("/livez").await.status, 200);
    assert!(server.metric("modelfn_requests_in_flight").await >= 24.0, "the others were answered only afterwards");
    for request in misbehaving {
        request.await.unwrap().problem(504);
    }
    server.wait_for_in_flight(|n| n < 0.5).await;
    assert_well(&server).await;
}

/// There is one instance, which a client that has not sent its whole request must not hold.
#[tokio::test]
async fn a_client_that_holds_back_its_body_holds_no_instance() {
    let server = Setup::probe("").args(&["--max-instances", "1"]).args(&NO_TIMEOUT).start();
    let mut client = server.connect();
    client.write_all(b"POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: 10\r\n\r\n12345").unwrap();
    assert_well(&server).await;
    client.write_all(b"67890").unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
    let mut body = [0; 10];
    client.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"1234567890");
}

#[tokio::test]
async fn a_body_that_the_client_holds_back_ends_with_the_deadline() {
    let server = Setup::probe("").args(&["--request-timeout", "300ms"]).start();
    let mut client = server.connect();
    client.write_all(b"POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: 10\r\n\r\n12345").unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_well(&server).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_stop_the_answer() {
    let server = Setup::probe("").start();
    for (protocol, client) in clients() {
        let answer = server.send(client.post(server.url("/ignore-body")).body(vec![0; 1 << 20])).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ignored"), "{protocol}");
    }
}

/// If the guest did not finish its body, the client must see that the body is incomplete.
#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let server = Setup::probe("").args(&["--request-timeout", "500ms"]).start();
    let mut taken_for_whole = Vec::new();
    for (protocol, client) in clients() {
        let whole = fetch(&client, server.url("/stream?bytes=5")).await.unwrap();
        assert_eq!(whole.text(), "xxxxx", "{protocol}");
        for path in ["/head-then-trap", "/head-then-spin", "/head-then-return"] {
            for query in ["", "?length=10"] {
                if let Ok(answer) = fetch(&client, server.url(&format!("{path}{query}"))).await {
                    taken_for_whole.push(format!("{protocol} {path}{query}: {} {:?}", answer.status, answer.text()));
                }
            }
        }
    }
    assert!(taken_for_whole.is_empty(), "{taken_for_whole:#?}");
    assert_well(&server).await;
}

#[tokio::test]
async fn an_answer_that_was_finished_is_whole_whatever_the_guest_does_then() {
    let server = Setup::probe("").args(&["--request-timeout", "500ms"]).start();
    for (protocol, client) in clients() {
        for path in ["/finish-then-spin", "/finish-then-set-again"] {
            let answer = fetch(&client, server.url(path)).await.unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "finished"), "{protocol} {path}");
        }
    }
    server.wait_for_in_flight(|n| n < 0.5).await;
    let failures = || {
        let lines = server.log();
        lines.iter().filter(|line| line.contains("failed after the head of its answer was sent")).count()
    };
    // The lines of the log arrive a little later than the metric.
    for _ in 0..400 {
        if failures() >= 4 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(failures(), 4, "each of the guests failed once");
    assert_well(&server).await;
}

/// There is one instance, so that each request gets the memory of the request before it.
#[tokio::test]
async fn nothing_of_a_request_is_left_for_the_next() {
    let server = Setup::probe("").args(&["--max-instances", "1"]).start();
    for _ in 0..20 {
        assert_eq!(server.get("/count").await.text(), "1");
        assert_eq!(server.get("/scribble?pages=64").await.text(), "clean", "memory of another request is readable");
    }
}

#[tokio::test]
async fn a_client_who_leaves_before_the_answer_ends_its_guest() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"slow\"]");
    let (setup, _) = setup.gated_model("slow", "dtype = \"FP32\", shape = [-1]", "");
    let server = setup.args(&NO_TIMEOUT).start();
    let left = "modelfn_requests_total{function=\"it\",outcome=\"ClientLeft\"}";
    let mut leavers = 0.0;
    for (_, client) in clients() {
        for path in ["/never", "/spin", "/nn/compute?model=slow&shape=1"] {
            let request = {
                let (client, url) = (client.clone(), server.url(path));
                tokio::spawn(async move { fetch(&client, url).await })
            };
            server.wait_for_in_flight(|n| n > 0.5).await;
            request.abort();
            server.wait_for_in_flight(|n| n < 0.5).await;
            leavers += 1.0;
            server.expect_metric(left, leavers).await;
        }
    }
    assert_well(&server).await;
}

#[tokio::test]
async fn a_client_who_leaves_within_the_answer_ends_its_guest() {
    let server = Setup::probe("").args(&NO_TIMEOUT).start();
    for (_, client) in clients() {
        for path in ["/head-then-spin", "/stream?bytes=1000000000000"] {
            let answer = client.get(server.url(path)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            server.wait_for_in_flight(|n| n > 0.5).await;
            drop(answer);
            server.wait_for_in_flight(|n| n < 0.5).await;
        }
    }
    assert_well(&server).await;
}

#[tokio::test]
async fn headers_that_only_the_host_may_set_are_not_taken_from_clients() {
    let server = Setup::probe("").start();
    for (protocol, client) in clients() {
        for (name, seen) in
            [("spin-path-info", "/header"), ("spin-matched-route", "/..."), ("spin-forged", ""), ("forged", "forged")]
        {
            let request =
                client.get(server.url(&format!("/header?name={name}"))).header(name, "forged").header(name, "forged");
            let lines: Vec<_> = server.send(request).await.text().lines().map(str::to_owned).collect();
            let expected = if name == "forged" { vec!["forged"; 2] } else { seen.lines().collect() };
            assert_eq!(lines, expected, "{protocol}: {name}");
        }
    }
}

#[tokio::test]
async fn the_environment_is_the_manifests_and_nothing_else() {
    let server = Setup::probe("environment = { GREETING = \"hello\" }").start();
    assert_eq!(server.get("/env").await.text(), "GREETING=hello");
    let server = Setup::probe("").start();
    assert_eq!(server.get("/env").await.text(), "");
}

const MOUNT: &str = "files = [{ source = \"data\", destination = \"/data\" }]";

/// A mounted folder with a file and with links that lead out of it.
fn with_mount() -> (Server, std::path::PathBuf) {
    let setup = Setup::probe(MOUNT);
    let folder = setup.path("data");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(setup.path("secret"), "secret").unwrap();
    std::fs::write(folder.join("file"), "inside").unwrap();
    for (name, target) in [("inner", "file"), ("outer", "../secret"), ("absolute", "/etc/passwd")] {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    }
    (setup.start(), folder)
}

#[tokio::test]
async fn a_guest_sees_the_files_of_its_mounts_only() {
    let (server, _) = with_mount();
    assert_eq!(server.get("/list").await.text(), "/data");
    for path in ["file", "inner", "./file"] {
        assert_eq!(server.get(&format!("/read?mount=/data&path={path}")).await.text(), "inside", "{path}");
    }
    for path in [
        "outer",
        "absolute",
        "../secret",
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "inner/../../secret",
        "/proc/self/environ",
    ] {
        let answer = server.get(&format!("/read?mount=/data&path={path}")).await;
        assert_eq!(answer.status, 403, "{path} gave {:?}", answer.text());
    }
    let server = Setup::probe("").start();
    assert_eq!(server.get("/list").await.text(), "");
}

#[tokio::test]
async fn a_guest_changes_nothing_in_its_mounts() {
    let (server, folder) = with_mount();
    let before = contents(&folder);
    for (how, path) in [
        ("create", "new"),
        ("create", "file"),
        ("truncate", "file"),
        ("overwrite", "file"),
        ("write-to-read", "file"),
        ("resize", "file"),
        ("unlink", "file"),
        ("rename", "file"),
        ("link", "file"),
        ("symlink", "new"),
        ("mkdir", "new"),
    ] {
        let answer = server.get(&format!("/write?mount=/data&how={how}&path={path}")).await;
        assert_eq!(answer.status, 403, "{how} {path} gave {:?}", answer.text());
        assert_eq!(contents(&folder), before, "{how} {path} changed something");
    }
}

/// Names and contents, sorted.
fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_guest_has_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = Setup::probe("").start();
    let said = server.get(&format!("/connect?port={}", listener.local_addr().unwrap().port())).await.text();
    for (line, says) in
        said.lines().zip(["http: Some(ErrorCode::HttpRequestDenied)", "access-denied", "resolver-failure"])
    {
        assert!(line.contains(says), "{line:?} does not say {says}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "the guest has connected");
}

/// A client that is still sending must be able to read the error, also where there is no function.
#[tokio::test]
async fn a_path_without_a_function_is_answered_after_a_large_body_too() {
    let manifest = crate::harness::app(&crate::harness::guest("probe"), "").replace("\"/...\"", "\"/hello\"");
    let server = Setup::app(&manifest).start();
    let answer = server.post("/nowhere", vec![0; 8 << 20]).await;
    assert_eq!(answer.problem(404), "No function answers /nowhere.");
    server.expect_metric("modelfn_requests_total{function=\"(none)\",outcome=\"ClientError\"}", 1.0).await;
    server.wait_for_log("not answered: no function answers /nowhere");
}
