//! Frames of HTTP/2 and heads of HTTP/1 that no client would send, against the real server.
//!
//! Runs for FUZZ_SECONDS (2) from FUZZ_SEED (1). Nothing may panic, and whoever is well-behaved is served meanwhile and
//! afterwards.

#[path = "../random.rs"]
mod random;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use self::random::Random;
use crate::harness::{Setup, http2_client};
use crate::limits::assert_text;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of RFC 9113, section 6, and one that it does not know.
const KINDS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x2a];

/// Blocks of header fields: `GET /hello`, `POST /echo`, an index that no table has, and one that grows the table.
const BLOCKS: [&[u8]; 4] = [
    b"\x82\x86\x04\x06/hello\x01\x02it",
    b"\x83\x86\x04\x05/echo\x01\x02it",
    b"\x82\x86\xff\xff\xff\xff\x0f",
    b"\x3f\xff\xff\xff\x0f\x82\x86\x04\x06/hello\x40\x01a\x01b",
];

const REQUESTS: [&str; 5] = [
    "GET /hello HTTP/1.1\r\nhost: it\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: 4\r\n\r\nbody",
    "POST /echo HTTP/1.1\r\nhost: it\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "POST /v2/models/m/infer HTTP/1.1\r\nhost: it\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x0b\x08",
    "GET /hello HTTP/1.1\r\nhost: it\r\nexpect: 100-continue\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Frames that are right more often than not, so that most of them are looked at closely.
fn frames(random: &mut Random) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(4, 0, 0, &[])].concat();
    for position in 0..1 + random.below(12) {
        let kind = KINDS[random.below(KINDS.len())];
        let stream = [0, 1, 3, 5, 2, u32::MAX][random.below(6)].max(u32::from(kind == 1) * (2 * position as u32 + 1));
        let flags = [0, 1, 4, 5, 8, 0x20, 0x2d][random.below(7)];
        let payload = match kind {
            1 | 9 => BLOCKS[random.below(BLOCKS.len())].to_vec(),
            3 | 8 => random.next_u32().to_be_bytes().to_vec(),
            6 => vec![7; 8],
            4 => [&[0, 1 + random.below(8) as u8][..], &random.next_u32().to_be_bytes()].concat(),
            _ => vec![random.next_u32() as u8; random.below(300)],
        };
        bytes.extend(frame(kind, flags, stream, &payload));
    }
    bytes
}

/// Changes a few bytes after the first `kept`, cuts some out, or says some twice.
fn mutate(bytes: &mut Vec<u8>, kept: usize, random: &mut Random) {
    for _ in 0..random.below(4) {
        let at = kept + random.below(bytes.len() - kept);
        let span = at..(at + random.below(16)).min(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next_u32() as u8,
            2 => drop(bytes.drain(span)),
            _ => bytes.extend_from_within(span),
        }
        if bytes.len() <= kept {
            return;
        }
    }
}

/// Sends the bytes, and reads what comes until the server closes the connection or says nothing more.
fn send(address: &str, bytes: &[u8], random: &mut Random) {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // The server may close the connection meanwhile, which is its right.
    let _ = client.write_all(bytes);
    if random.below(2) == 0 {
        let _ = client.shutdown(Shutdown::Write);
    }
    let _ = client.read_to_end(&mut Vec::new());
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn bytes_that_no_client_sends_harm_nobody() {
    let setup = Setup::probe("").fake_model("m", "dtype = \"U8\", shape = [-1, 4]", ("compute = \"echo\"", ""));
    let server = setup.args(&["--max-connections", "64"]).start();
    let address = server.address.clone();
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let fuzzer = std::thread::spawn(move || {
        let mut random = Random::new(number("FUZZ_SEED").unwrap_or(1));
        let (started, mut sent) = (Instant::now(), 0_u64);
        while started.elapsed() < Duration::from_secs(seconds) {
            let (mut bytes, kept) = match random.below(4) {
                0 => (REQUESTS[random.below(REQUESTS.len())].as_bytes().to_vec(), 0),
                _ => (frames(&mut random), PREFACE.len()),
            };
            mutate(&mut bytes, kept, &mut random);
            send(&address, &bytes, &mut random);
            sent += 1;
        }
        sent
    });
    while !fuzzer.is_finished() {
        assert_text(&server, "/hello", "hello").await;
    }
    let sent = fuzzer.join().unwrap();
    assert!(sent > 10, "only {sent} connections were made");
    assert_eq!(server.send(http2_client().get(server.url("/hello"))).await.text(), "hello");
    server.wait_for_in_flight(|n| n < 0.5).await;
    let panics: Vec<_> = server.log().into_iter().filter(|line| line.contains("panic")).collect();
    assert!(panics.is_empty(), "{panics:?}");
}
