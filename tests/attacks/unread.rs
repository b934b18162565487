//! Clients that ask for much and read nothing.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::target::{INSTANCES, Target};

/// How long an attacker stays deaf before it begins anew.
const DEAF: Duration = Duration::from_secs(10);

/// Between two clients that come.
const BETWEEN: Duration = Duration::from_millis(10);

/// One connection with many streams, each of which wants 100 MB and has a window of 0.
pub fn closed_windows(target: &Target) -> JoinSet<()> {
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().http2_initial_stream_window_size(0);
    let client = client.build().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..4 * INSTANCES {
        let (client, url) = (client.clone(), target.url("/stream?bytes=100000000"));
        tasks.spawn(async move {
            loop {
                let response = client.get(&url).send().await;
                if response.is_ok_and(|response| response.status() == 200) {
                    tokio::time::sleep(DEAF).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    tasks
}

/// Connections that each want 100 MB of a function.
pub fn deaf_clients(target: &Target) -> JoinSet<()> {
    deaf(target, 64, b"GET /stream?bytes=100000000 HTTP/1.1\r\nhost: it\r\n\r\n".to_vec())
}

/// Connections that each have a model compute 4 MB.
pub fn deaf_inferences(target: &Target) -> JoinSet<()> {
    let bytes = 4 << 20;
    let tensor = format!(
        r#"{{"inputs":[{{"name":"x","datatype":"UINT8","shape":[{bytes}],"parameters":{{"binary_data_size":{bytes}}}}}],"parameters":{{"binary_data_output":true}}}}"#
    );
    let head = format!(
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: it\r\ninference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n{tensor}",
        tensor.len(),
        tensor.len() + bytes
    );
    deaf(target, 100, [head.into_bytes(), vec![b'x'; bytes]].concat())
}

/// `connections` that send a request and read nothing. One thread sends them all: an attacker has a machine of its own.
fn deaf(target: &Target, connections: u32, request: Vec<u8>) -> JoinSet<()> {
    let (target, mut tasks) = (target.clone(), JoinSet::new());
    let (opened, mut connected) = mpsc::channel(1);
    std::thread::spawn(move || {
        for _ in 0..connections {
            std::thread::sleep(BETWEEN);
            if opened.blocking_send(target.send(&request)).is_err() {
                return;
            }
        }
    });
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Some(connection) = connected.recv().await {
            held.push(connection);
        }
        pending().await
    });
    tasks
}
