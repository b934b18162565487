//! Load: so many clients for so long, and what came of it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Client, Request};

/// The longest that an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be sent, by how many clients at once, for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) request: &'a Request,
    pub(super) clients: usize,
    pub(super) time: Duration,
}

/// What clients saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Of each request, in seconds.
    pub(super) latencies: Vec<f64>,
    /// From the first request to the end of the last answer, in seconds.
    pub(super) wall: f64,
    /// Seconds of CPU that the server used meanwhile.
    pub(super) cpu: f64,
}

impl Seen {
    /// Requests a second.
    pub(super) fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.wall
    }

    /// Seconds of CPU of one request.
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
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.max(1) - 1).copied().unwrap_or(0.0)
    }

    /// The square of standard deviation by mean.
    pub(super) fn variation(&self) -> f64 {
        let mean = self.mean();
        let squares = self.latencies.iter().map(|latency| (latency - mean).powi(2)).sum::<f64>();
        squares / self.latencies.len() as f64 / mean.powi(2)
    }

    /// Both, one after the other.
    pub(super) fn and(mut self, other: Seen) -> Seen {
        self.latencies.extend(other.latencies);
        Seen { latencies: self.latencies, wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// Sends load and waits for its end. Each client sends at least one request, and one before that doesn't count. `cpu`
/// reads the seconds of CPU that the server has used so far.
///
/// # Errors
///
/// The first request that failed, or `stop` became true.
pub(super) fn send(
    address: SocketAddr,
    load: Load<'_>,
    cpu: &(dyn Fn() -> io::Result<f64> + Sync),
    stop: &AtomicBool,
) -> io::Result<Seen> {
    let ready = Barrier::new(load.clients);
    let before = Mutex::new(Ok(0.0));
    let send = || {
        let client =
            Client::connect(address, PATIENCE).and_then(|mut client| client.send(load.request).map(|_| client));
        // Whoever failed comes here, too: nobody may wait for them in vain.
        if ready.wait().is_leader() {
            *before.lock().unwrap_or_else(PoisonError::into_inner) = cpu();
        }
        run(client?, load, stop)
    };
    let runs = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.clients).map(|_| scope.spawn(send)).collect();
        let joined = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<io::Result<Vec<_>>>()
    })?;
    let from = runs.iter().map(|(from, ..)| *from).min();
    let to = runs.iter().map(|(_, to, _)| *to).max();
    let wall = from.zip(to).map_or(0.0, |(from, to)| (to - from).as_secs_f64());
    let used = cpu()? - before.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Ok(Seen { latencies: runs.into_iter().flat_map(|(.., latencies)| latencies).collect(), wall, cpu: used })
}

fn run(mut client: Client, load: Load<'_>, stop: &AtomicBool) -> io::Result<(Instant, Instant, Vec<f64>)> {
    let from = Instant::now();
    let mut latencies = Vec::new();
    let mut at = from;
    while latencies.is_empty() || at - from < load.time {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        client.send(load.request)?;
        let now = Instant::now();
        latencies.push((now - at).as_secs_f64());
        at = now;
    }
    Ok((from, at, latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(latencies: &[f64]) -> Seen {
        Seen { latencies: latencies.to_vec(), wall: 2.0, cpu: 1.0 }
    }

    #[test]
    fn figures_of_latencies() {
        let hundred = seen(&(1..=100).map(f64::from).collect::<Vec<_>>());
        assert_eq!((hundred.percentile(0.99), hundred.percentile(0.5), hundred.mean()), (99.0, 50.0, 50.5));
        assert_eq!((hundred.throughput(), hundred.cpu_per_request()), (50.0, 0.01));
        assert_eq!((seen(&[3.0]).percentile(0.99), seen(&[3.0]).variation()), (3.0, 0.0));
        assert_eq!(seen(&[1.0, 3.0]).variation(), 0.25);
        let both = seen(&[1.0]).and(seen(&[2.0]));
        assert_eq!((both.latencies.len(), both.wall, both.cpu), (2, 4.0, 2.0));
    }
}
