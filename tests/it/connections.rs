//! Limits of connections: their number, the time of each step, and the size of a head.

use std::io::{ErrorKind, Read, Write};

use crate::harness::{Setup, http2_client, read_head};
use crate::limits::assert_text;

/// Connections beyond the limit are not refused. They are accepted when another connection ends.
#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let server = Setup::probe("").args(&["--max-connections", "1"]).start();
    let mut first = server.connect();
    get_hello(&mut first);
    let mut second = server.connect();
    second.write_all(b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    // The server has had time to respond to others, and has not responded to this one.
    for _ in 0..20 {
        get_hello(&mut first);
    }
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!((server.metric("modelfn_connections").await - 1.0).abs() < 1e-9);

    drop(first);
    second.set_nonblocking(false).unwrap();
    read_hello(&mut second);
}

fn get_hello(stream: &mut std::net::TcpStream) {
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    read_hello(stream);
}

fn read_hello(stream: &mut std::net::TcpStream) {
    let head = read_head(stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut body = [0; 5];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"hello");
}

/// The limit is one connection, so that a client that is not cut off would keep the others out forever.
#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_cut_off() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut not_cut_off = Vec::new();
    for (what, said) in [
        ("half a request line", b"GET /hel".as_slice()),
        ("half a head", b"GET /hello HTTP/1.1\r\nhost: it\r\n"),
        ("a request and half a head", b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\nGET /hello HT"),
        ("nothing", b""),
        ("half a preface of HTTP/2", &preface[..10]),
        ("a preface of HTTP/2, and no answer to pings", preface),
    ] {
        let server = Setup::probe("").args(&["--header-timeout", "300ms", "--max-connections", "1"]).start();
        let mut slow = server.connect();
        slow.write_all(said).unwrap();
        // A reset counts as an end, too. Only a read that times out does not.
        match slow.read_to_end(&mut Vec::new()) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => not_cut_off.push(what),
            _ => assert_text(&server, "/hello", "hello").await,
        }
    }
    assert!(not_cut_off.is_empty(), "not cut off after: {not_cut_off:?}");
}

/// A request ends with its deadline, even if its client does not read the response: then the connection ends, too.
#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_cut_off() {
    let server = Setup::probe("").args(&["--request-timeout", "300ms", "--max-connections", "1"]).start();
    let mut idle = server.connect();
    idle.write_all(b"GET /stream?bytes=1000000000 HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    server.wait_for_in_flight(|n| n > 0.5).await;
    server.wait_for_in_flight(|n| n < 0.5).await;
    server.wait_for_metric("modelfn_connections", |n| n < 0.5).await;
    assert_text(&server, "/hello", "hello").await;
}

#[tokio::test]
async fn a_head_within_the_timeout_is_served_however_it_is_split() {
    let server = Setup::probe("").args(&["--header-timeout", "20s"]).start();
    let mut client = server.connect();
    for byte in b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    read_hello(&mut client);
}

#[tokio::test]
async fn a_head_of_more_than_64_kib_is_refused() {
    let server = Setup::probe("").start();
    for client in [server.client.clone(), http2_client()] {
        for (length, status) in [(63 << 10, 200), (65 << 10, 431)] {
            let answer = client.get(server.url("/hello")).header("x-long", "a".repeat(length)).send().await.unwrap();
            assert_eq!(answer.status(), status, "{length} bytes, {:?}", answer.version());
        }
    }
    assert_text(&server, "/hello", "hello").await;
}

/// HTTP/2 has a flow-control window for each response. A client that leaves it closed but responds to pings must not
/// hold the connection forever.
#[tokio::test]
async fn a_response_behind_a_closed_window_is_cut_off() {
    let server = Setup::probe("").args(&["--request-timeout", "300ms", "--max-connections", "1"]).start();
    let shut = reqwest::Client::builder().no_proxy().http2_prior_knowledge().http2_initial_stream_window_size(1);
    let answer = shut.build().unwrap().get(server.url("/stream?bytes=1000000")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    server.wait_for_metric("modelfn_connections", |n| n < 0.5).await;
    assert_text(&server, "/hello", "hello").await;
    drop(answer);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    for builder in [reqwest::Client::builder(), reqwest::Client::builder().http2_prior_knowledge()] {
        let server = Setup::probe("").args(&["--idle-timeout", "300ms"]).start();
        let client = builder.no_proxy().build().unwrap();
        assert_eq!(client.get(server.url("/hello")).send().await.unwrap().text().await.unwrap(), "hello");
        server.wait_for_metric("modelfn_connections", |n| n < 0.5).await;
    }
}

/// A request that takes longer than both timeouts is bounded by its own deadline.
#[tokio::test]
async fn a_long_request_is_neither_idle_nor_stalled() {
    let settings = "[component.it.tool.modelfn]\ntimeout = \"1h\"";
    let server = Setup::probe(settings).args(&["--request-timeout", "100ms", "--idle-timeout", "100ms"]).start();
    for client in [server.client.clone(), http2_client()] {
        let answer = client.get(server.url("/wait?ms=600")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
}
