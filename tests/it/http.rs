//! HTTP itself: whom a request is for, half-closed connections, the number of header fields, compressed bodies.

use std::io::{Read, Write};
use std::net::Shutdown;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::harness::{Server, Setup, http2_client};

const FOUR: &str = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"data":[1,2,3,4]}]}"#;

/// The probe, and a model that echoes rows of four bytes.
fn probe(arguments: &[&str]) -> Server {
    let setup = Setup::probe("").fake_model("m", "dtype = \"U8\", shape = [-1, 4]", ("compute = \"echo\"", ""));
    setup.args(arguments).start()
}

/// What comes back for these bytes until the server closes the connection.
fn exchange(server: &Server, request: &str, shutdown: bool) -> String {
    let mut client = server.connect();
    client.write_all(request.as_bytes()).unwrap();
    if shutdown {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut response = String::new();
    let _ = client.read_to_string(&mut response);
    response
}

#[tokio::test]
async fn a_request_says_once_whom_it_is_for() {
    let server = probe(&[]);
    for (path, ok) in [("/hello", "hello"), ("/v2/models/m", "\"name\":\"m\"")] {
        for (version, hosts, status) in [
            ("1.1", "host: a\r\n", 200),
            ("1.1", "", 400),
            ("1.1", "host: a\r\nhost: a\r\n", 400),
            ("1.0", "", 200),
            ("1.0", "host: a\r\n", 200),
            ("1.0", "host: a\r\nhost: b\r\n", 400),
        ] {
            let request = format!("GET {path} HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
            let response = exchange(&server, &request, false);
            assert!(response.split(' ').nth(1) == Some(&status.to_string()), "{request}{response}");
            assert_eq!(response.contains(ok), status == 200, "{request}{response}");
        }
    }
    let absolute = "GET http://a/hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(exchange(&server, absolute, false).ends_with("hello"));
}

/// Clients may say that they send nothing more as soon as their request is out.
#[tokio::test]
async fn a_half_closed_connection_gets_its_response() {
    let server = probe(&[]);
    let infer = format!("POST /v2/models/m/infer HTTP/1.1\r\nhost: it\r\ncontent-length: {}\r\n\r\n{FOUR}", FOUR.len());
    for (request, ends) in [
        ("GET /v2/health/live HTTP/1.1\r\nhost: it\r\n\r\n", "{\"live\":true}\n"),
        ("GET /hello HTTP/1.1\r\nhost: it\r\n\r\n", "hello"),
        ("GET /hello HTTP/1.0\r\n\r\n", "hello"),
        ("GET /wait?ms=300 HTTP/1.1\r\nhost: it\r\n\r\n", "waited"),
        ("POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: 4\r\n\r\nbody", "body"),
        (&infer, "\"data\":[1,2,3,4]}]}"),
    ] {
        for _ in 0..5 {
            let response = exchange(&server, request, true);
            assert!(response.starts_with("HTTP/1.") && response.ends_with(ends), "{request}\n{response}");
        }
    }
}

/// TCP does not tell a client that left from one that only sends nothing more.
#[tokio::test]
async fn whoever_closed_their_half_is_waited_for_a_bounded_time() {
    let server = probe(&["--request-timeout", "1h"]);
    let response = exchange(&server, "GET /never HTTP/1.1\r\nhost: it\r\n\r\n", true);
    assert_eq!(response, "");
    server.wait_for_in_flight(|n| n < 0.5).await;
    server.wait_for_metric("modelfn_requests_total{function=\"it\",outcome=\"ClientLeft\"}", |n| n > 0.5).await;
    // Nothing is open: the end is seen at once.
    assert_eq!(exchange(&server, "", true), "");
}

#[tokio::test]
async fn a_head_has_at_most_a_hundred_fields() {
    let server = probe(&[]);
    for (fields, status) in [(98, "200"), (99, "431")] {
        let more: String = (0..fields).map(|n| format!("x-{n}: y\r\n")).collect();
        let request = format!("GET /hello HTTP/1.1\r\nhost: it\r\nconnection: close\r\n{more}\r\n");
        assert_eq!(exchange(&server, &request, false).split(' ').nth(1), Some(status), "{fields} and two more");
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bodies_are_decompressed_for_models_and_functions() {
    let server = probe(&[]);
    let plain = vec![b'x'; 300_000];
    for client in [server.client.clone(), http2_client()] {
        for (coding, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", deflate)] {
            let post = |path: &str, body: &[u8]| {
                client.post(server.url(path)).header("content-encoding", coding).body(compress(body))
            };
            let answer = server.send(post("/v2/models/m/infer", FOUR.as_bytes())).await;
            assert_eq!(answer.json()["outputs"][0]["data"], json!([1, 2, 3, 4]), "{coding}");
            let (text, binary) =
                (FOUR.replace("\"data\":[1,2,3,4]", "\"parameters\":{\"binary_data_size\":4}"), [5, 6, 7, 8]);
            let request = post("/v2/models/m/infer", &[text.as_bytes(), &binary].concat());
            let answer = server.send(request.header("inference-header-content-length", text.len())).await;
            assert_eq!(answer.json()["outputs"][0]["data"], json!(binary), "{coding}: {}", answer.text());
            assert_eq!(server.send(post("/echo", &plain)).await.body, plain, "{coding}");
            let answer = server.send(post("/header?name=content-encoding", b"x")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "the guest sees a plain body");
        }
    }
}

#[tokio::test]
async fn a_compressed_body_may_become_as_large_as_a_body_and_no_larger() {
    let server = probe(&["--max-body", "100000"]);
    let post = |path: &str, coding: &str, body: Vec<u8>| {
        server.send(server.client.post(server.url(path)).header("content-encoding", coding).body(body))
    };
    assert_eq!(post("/echo", "gzip", gzip(&vec![0; 100_000])).await.body.len(), 100_000);
    for (size, coding, bomb) in [(100_001, "gzip", gzip as fn(&[u8]) -> Vec<u8>), (20_000_000, "deflate", deflate)] {
        let body = bomb(&vec![0; size]);
        assert!(body.len() < 100_000);
        post("/echo", coding, body.clone()).await.problem(413);
        assert_eq!(post("/v2/models/m/infer", coding, body).await.status, 413);
    }
    post("/echo", "gzip", b"plain".to_vec()).await.problem(400);
    let answer = post("/v2/models/m/infer", "br", FOUR.as_bytes().to_vec()).await;
    assert_eq!((answer.status, answer.header("accept-encoding")), (415, "gzip, deflate"));
    server.wait_for_metric("modelfn_bodies_in_flight_bytes", |n| n < 0.5).await;
}
