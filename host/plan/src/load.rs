//! Load: a number of clients that send one request again and again, and what they measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{self, Client, Request};

/// A load on one server.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// What every client sends.
    pub(super) request: Request,
    /// Clients, each with a connection and one request at a time.
    pub(super) clients: usize,
    /// How long the clients go on. A request that has begun is finished.
    pub(super) time: Duration,
}

/// What the clients of a load measured.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadResult {
    /// Latency of each request, in seconds.
    pub(super) latencies: Vec<f64>,
    /// From the first request to the end of the last response, in seconds.
    pub(super) wall: f64,
    /// CPU seconds that the server used meanwhile.
    pub(super) cpu: f64,
}

impl LoadResult {
    /// Requests per second.
    pub(super) fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.wall
    }

    /// CPU seconds that the server used per request.
    pub(super) fn cpu_per_request(&self) -> f64 {
        self.cpu / self.latencies.len() as f64
    }

    /// Mean latency in seconds.
    pub(super) fn mean(&self) -> f64 {
        self.latencies.iter().sum::<f64>() / self.latencies.len() as f64
    }

    /// The latency that `share` of the requests did not exceed.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }

    /// The squared coefficient of variation: (standard deviation / mean)².
    pub(super) fn variation(&self) -> f64 {
        let mean = self.mean();
        let squares = self.latencies.iter().map(|latency| (latency - mean).powi(2)).sum::<f64>();
        squares / self.latencies.len() as f64 / mean.powi(2)
    }

    /// The result of two loads, one after the other.
    pub(super) fn followed_by(mut self, other: LoadResult) -> LoadResult {
        self.latencies.extend(other.latencies);
        LoadResult { latencies: self.latencies, wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// What one client measured.
struct ClientRun {
    from: Instant,
    to: Instant,
    latencies: Vec<f64>,
}

/// Sends load and waits for its end. Each client sends one request to warm up, which does not count, and then one or
/// more. `cpu_seconds` reads the CPU time that the server has used so far.
///
/// # Errors
///
/// The first request that failed, or `stop` became true.
pub(super) fn send(
    address: SocketAddr,
    load: &Load,
    cpu_seconds: impl Fn() -> io::Result<f64>,
    stop: &Arc<AtomicBool>,
) -> io::Result<LoadResult> {
    client::runtime()?.block_on(async {
        let mut connecting = JoinSet::new();
        for _ in 0..load.clients {
            connecting.spawn(warm_up(address, load.request.clone()));
        }
        let clients = all(connecting).await?;
        let cpu_before = cpu_seconds()?;
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn(run(client, load.clone(), stop.clone()));
        }
        let runs = all(running).await?;
        let cpu = cpu_seconds()? - cpu_before;
        let from = runs.iter().map(|run| run.from).min();
        let to = runs.iter().map(|run| run.to).max();
        let wall = from.zip(to).map_or(0.0, |(from, to)| (to - from).as_secs_f64());
        Ok(LoadResult { latencies: runs.into_iter().flat_map(|run| run.latencies).collect(), wall, cpu })
    })
}

/// The results of all tasks. The first error ends the others.
async fn all<T: 'static>(mut tasks: JoinSet<io::Result<T>>) -> io::Result<Vec<T>> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.map_err(io::Error::other)??);
    }
    Ok(results)
}

async fn warm_up(address: SocketAddr, request: Request) -> io::Result<Client> {
    let mut client = Client::connect(address).await?;
    client.send(&request).await?;
    Ok(client)
}

async fn run(mut client: Client, load: Load, stop: Arc<AtomicBool>) -> io::Result<ClientRun> {
    let from = Instant::now();
    let mut latencies = Vec::new();
    let mut to = from;
    while latencies.is_empty() || to - from < load.time {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        client.send(&load.request).await?;
        let now = Instant::now();
        latencies.push((now - to).as_secs_f64());
        to = now;
    }
    Ok(ClientRun { from, to, latencies })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(latencies: &[f64]) -> LoadResult {
        LoadResult { latencies: latencies.to_vec(), wall: 2.0, cpu: 1.0 }
    }

    #[test]
    fn figures_of_latencies() {
        let hundred = result(&(1..=100).map(f64::from).collect::<Vec<_>>());
        assert_eq!((hundred.percentile(0.99), hundred.percentile(0.5), hundred.mean()), (99.0, 50.0, 50.5));
        assert_eq!((hundred.throughput(), hundred.cpu_per_request()), (50.0, 0.01));
        assert_eq!((result(&[3.0]).percentile(0.99), result(&[3.0]).variation()), (3.0, 0.0));
        assert_eq!(result(&[1.0, 3.0]).variation(), 0.25);
        let both = result(&[1.0]).followed_by(result(&[2.0]));
        assert_eq!((both.latencies.len(), both.wall, both.cpu), (2, 4.0, 2.0));
    }
}
