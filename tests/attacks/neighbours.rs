//! A function whose guests take what they can get.

use tokio::task::JoinSet;

use crate::target::{INSTANCES, Target};

/// Clients that ask for `path` again and again.
fn clients(target: &Target, count: usize, path: &'static str) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (client, url) = (target.client(), target.url(path));
        tasks.spawn(async move {
            loop {
                let response = client.get(&url).send().await;
                // Who is turned away comes back, as fast as it is allowed to.
                if response.is_ok_and(|response| response.status() == 503) {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        });
    }
    tasks
}

/// As many guests as may be compute without an end, and as many again wait for their place.
pub fn spin(target: &Target) -> JoinSet<()> {
    clients(target, 2 * INSTANCES, "/spin")
}

/// The same with guests that do nothing, and never end.
pub fn wait(target: &Target) -> JoinSet<()> {
    clients(target, 2 * INSTANCES, "/never")
}

/// Ten times as many clients as there are instances, each of which needs one for a while.
pub fn overload(target: &Target) -> JoinSet<()> {
    clients(target, 10 * INSTANCES, "/wait?ms=50")
}
