//! Limits of connections: their number, the time of each step, and the size of a head.

use std::io::{ErrorKind, Read, Write};

use crate::harness::{Setup, http2_client, read_head};
use crate::limits::assert_text;

/// Connections beyond the limit are not refused. While the others are busy, they are accepted when one of those ends.
#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_is_not_busy() {
    let server = Setup::probe("").args(&["--max-connections", "1", "--request-timeout", "1h"]).start();
    let mut first = server.connect();
    first.write_all(b"GET /never HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    server.wait_for_in_flight(|n| n > 0.5).await;
    let mut second = server.connect();
    second.write_all(b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    // The server has had time to respond on its other port, and has not responded to this one.
    for _ in 0..20 {
        server.expect_metric("modelfn_connections", 1.0).await;
    }
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);

    drop(first);
    second.set_nonblocking(false).unwrap();
    read_hello(&mut second);
}

/// What a client can leave a connection in without computing anything: nothing said, half a head, a preface of HTTP/2,
/// half a body for a function and for a model, and a response that it does not read.
const UNUSED: [&[u8]; 6] = [
    b"",
    b"GET /hello HTTP/1.1\r\nhost: it\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: 9\r\n\r\nhalf",
    b"POST /v2/models/m/infer HTTP/1.1\r\nhost: it\r\ncontent-length: 9\r\n\r\nhalf",
    b"GET /stream?bytes=1000000000 HTTP/1.1\r\nhost: it\r\n\r\n",
];

/// All times are so long that only the newcomer itself can end the others.
#[tokio::test]
async fn a_newcomer_takes_the_place_of_whoever_is_slow_or_idle() {
    for said in UNUSED {
        let setup = Setup::probe("").fake_model("m", "dtype = \"U8\", shape = [-1]", ("compute = \"echo\"", ""));
        let server =
            setup.args(&["--max-connections", "2", "--header-timeout", "1h", "--request-timeout", "1h"]).start();
        let unused = [(); 2].map(|()| {
            let mut client = server.connect();
            client.write_all(said).unwrap();
            client
        });
        server.wait_for_metric("modelfn_connections", |n| n > 1.5).await;
        get_hello(&mut server.connect());
        let evicted = "modelfn_connections_closed_total{reason=\"Evicted\"}";
        server.wait_for_metric(evicted, |times| times > 0.5).await;
        drop(unused);
    }
}

/// The first connections that are closed are those that have been idle for longest.
#[tokio::test]
async fn newcomers_are_served_among_hundreds_of_idle_connections_and_busy_ones_stay() {
    let server = Setup::probe("").args(&["--max-connections", "256", "--request-timeout", "1h"]).start();
    let mut busy = server.connect();
    busy.write_all(b"GET /wait?ms=1500 HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    server.wait_for_in_flight(|n| n > 0.5).await;
    let mut idle: Vec<_> = (0..400).map(|_| server.connect()).collect();
    let mut newest = server.connect();
    get_hello(&mut newest);
    // A connection counts until it has ended, a moment after it gave up its place.
    server.wait_for_metric("modelfn_connections", |n| n < 256.5).await;
    assert_eq!(idle[0].read(&mut [0]).unwrap_or(0), 0, "the oldest was closed");
    let head = read_head(&mut busy);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    get_hello(&mut newest);
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let server = Setup::probe("").args(&["--max-connections-per-address", "2", "--request-timeout", "1h"]).start();
    let mut busy = [server.connect(), server.connect()];
    for client in &mut busy {
        client.write_all(b"GET /never HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    }
    server.wait_for_in_flight(|n| n > 1.5).await;
    assert_eq!(server.connect().read(&mut [0]).unwrap_or(0), 0, "a third is refused");
    server.wait_for_metric("modelfn_connections_closed_total{reason=\"AddressFull\"}", |n| n > 0.5).await;
    drop(busy);
    server.wait_for_metric("modelfn_connections", |n| n < 0.5).await;
    get_hello(&mut server.connect());
}

/// The process gets as many descriptors as it has open, so that there is none for a newcomer.
#[tokio::test]
async fn without_descriptors_a_newcomer_gets_503_and_probes_go_on() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let server = Setup::probe("").args(&["--request-timeout", "1h"]).start();
    get_hello(&mut server.connect());
    let mut busy = server.connect();
    busy.write_all(b"GET /never HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    server.wait_for_in_flight(|n| n > 0.5).await;
    server.wait_for_metric("modelfn_connections", |n| n < 1.5).await;
    let pid = Pid::from_raw(server.pid());
    // A limit is one of numbers: at the lowest that is free, there is none left.
    let is_open = |number: &u64| std::fs::symlink_metadata(format!("/proc/{}/fd/{number}", server.pid())).is_ok();
    let files = (0..).find(|number| !is_open(number)).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum }).unwrap();
    let mut newcomer = server.connect();
    newcomer.write_all(b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    let head = read_head(&mut newcomer);
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after"), "{head}");
    let prober = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    for _ in 0..3 {
        let probe = prober.get(format!("http://{}/readyz", server.admin)).send().await.unwrap();
        assert_eq!(probe.status(), 200);
    }
    prlimit(pid, Resource::Nofile, before).unwrap();
    get_hello(&mut server.connect());
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
    // Half a head that came together with a request is not told from an idle connection.
    let settings = ["--header-timeout", "300ms", "--idle-timeout", "300ms", "--max-connections", "1"];
    for (what, said) in [
        ("half a request line", b"GET /hel".as_slice()),
        ("half a head", b"GET /hello HTTP/1.1\r\nhost: it\r\n"),
        ("a request and half a head", b"GET /hello HTTP/1.1\r\nhost: it\r\n\r\nGET /hello HT"),
        ("nothing", b""),
        ("half a preface of HTTP/2", &preface[..10]),
        ("a preface of HTTP/2, and no answer to pings", preface),
    ] {
        let server = Setup::probe("").args(&settings).start();
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

/// The time for a head begins with its first byte. A proxy that reuses connections must not see resets.
#[tokio::test]
async fn the_time_between_two_requests_is_not_the_time_for_a_head() {
    let server = Setup::probe("").args(&["--header-timeout", "300ms", "--idle-timeout", "1h"]).start();
    let mut idle = server.connect();
    get_hello(&mut idle);
    // Another client that is cut off is the clock.
    for _ in 0..3 {
        let _ = server.connect().read_to_end(&mut Vec::new());
    }
    get_hello(&mut idle);
    idle.write_all(b"GET /hel").unwrap();
    assert!(!matches!(idle.read(&mut [0]), Ok(1..)), "a slow head is cut off there, too");
    server.wait_for_metric("modelfn_connections_closed_total{reason=\"SlowHead\"}", |n| n > 3.5).await;
}

/// Other requests of the connection go on, and do not give a response that is not read more time.
#[tokio::test]
async fn a_response_behind_a_closed_window_ends_whatever_else_the_connection_does() {
    let settings = "[component.it.tool.modelfn]\ntimeout = \"1h\"";
    let server = Setup::probe(settings).args(&["--request-timeout", "500ms"]).start();
    let shut = reqwest::Client::builder().no_proxy().http2_prior_knowledge().http2_initial_stream_window_size(16);
    let client = shut.build().unwrap();
    let unread = client.get(server.url("/stream?bytes=1000000000")).send().await.unwrap();
    assert_eq!(unread.status(), 200);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.metric("modelfn_requests_in_flight").await > 0.5 {
        let answer = server.send(client.get(server.url("/hello"))).await;
        assert_eq!(answer.text(), "hello");
        assert!(std::time::Instant::now() < until, "the response goes on for ever");
    }
    assert_eq!(server.send(client.get(server.url("/hello"))).await.text(), "hello");
    drop(unread);
}

/// Heads of HTTP/2 are compressed: many large ones cost their client little, and are counted.
#[tokio::test]
async fn the_heads_of_a_connection_take_a_bounded_memory() {
    let server = Setup::probe("").args(&["--request-timeout", "1h"]).start();
    let client = http2_client();
    let with_head = |kib: usize| client.post(server.url("/never")).header("x-long", "a".repeat(kib << 10));
    let held: Vec<_> = (0..14).map(|_| tokio::spawn(with_head(60).send())).collect();
    server.wait_for_in_flight(|n| n > 13.5).await;
    let further = (0..8).map(|_| Box::pin(with_head(60).send()));
    let (first, ..) = futures::future::select_all(further).await;
    assert_eq!(first.unwrap().status(), 503);
    server.wait_for_metric("modelfn_rejections_total{reason=\"HeadsFull\"}", |n| n > 0.5).await;
    // Others have connections of their own.
    assert_text(&server, "/hello", "hello").await;
    held.into_iter().for_each(|request| request.abort());
    server.wait_for_in_flight(|n| n < 0.5).await;
    assert_eq!(server.send(client.get(server.url("/hello"))).await.text(), "hello");
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
