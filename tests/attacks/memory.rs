//! Requests and guests that want more memory than there is.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::target::{INSTANCES, Target};

/// Clients that ask for `path` again and again, with bodies of `bytes` bytes.
fn clients(target: &Target, count: usize, (path, bytes): (&'static str, usize)) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (client, url) = (target.client(), target.url(path));
        tasks.spawn(async move {
            loop {
                let request = if bytes == 0 { client.get(&url) } else { client.post(&url).body(vec![b'x'; bytes]) };
                if let Ok(response) = request.send().await {
                    let _ = response.bytes().await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    tasks
}

/// Bodies of 12 MB, which the function holds twice.
pub fn bodies(target: &Target) -> JoinSet<()> {
    clients(target, 2 * INSTANCES, ("/echo", 12 << 20))
}

/// Guests that take 200 MB and stay.
pub fn guests(target: &Target) -> JoinSet<()> {
    clients(target, 2 * INSTANCES, ("/allocate?bytes=200000000&hold=3000", 0))
}

/// Guests that create as many large fields as they may.
pub fn fields(target: &Target) -> JoinSet<()> {
    clients(target, 2 * INSTANCES, ("/fields?n=50&bytes=60000&hold=1000", 0))
}

/// Guests that create many responses and write to them without sending them.
pub fn unsent_bodies(target: &Target) -> JoinSet<()> {
    clients(target, 2 * INSTANCES, ("/bodies?n=150&hold=1000", 0))
}
