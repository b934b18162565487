//! Measures one model on this machine: starts servers with different instances and threads, sends them load, and reads
//! their CPU time and peak memory.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::client::Request;
use super::formula;
use super::load::{Load, Seen};
use super::machine::Stretch;
use super::request::{self, Described};
use super::server::{Deployment, Server};
use super::settings::ServerDefaults;
use modelfn_card::Card;

/// Batches whose throughput is compared.
const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// All windows together are so many of these.
const UNITS: u32 = 11;

/// What to measure.
pub(super) struct Subject {
    pub(super) card: Card,
    /// The folder that the card's other files are in.
    pub(super) folder: PathBuf,
    pub(super) models: PathBuf,
    pub(super) onnxruntime: Option<PathBuf>,
    pub(super) app: Option<PathBuf>,
    /// Whether the request is a function's.
    pub(super) is_route: bool,
    /// What is planned for.
    pub(super) request: Described,
    /// Rows in it.
    pub(super) batch: usize,
    pub(super) instances: usize,
    pub(super) time: Duration,
    pub(super) server: ServerDefaults,
}

/// Where the progress is told, and what ends it early.
pub struct Watch<'a> {
    /// Told in a few words what is being done.
    pub progress: &'a (dyn Fn(&str) + Sync),
    /// Whoever sets it ends the measuring.
    pub stop: &'a AtomicBool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Cores of this machine.
    pub machine_cores: usize,
    /// Cores that other programs kept busy meanwhile.
    pub others_cores: f64,
    /// What was sent.
    pub request: String,
    /// Whether that is a function's request.
    pub is_route: bool,
    /// Median of one request (of one row, where rows count) alone, in seconds.
    pub alone_seconds: f64,
    /// While as many requests as instances are there: mean, 99th percentile, and (deviation / mean)².
    pub busy: Latency,
    /// Layouts that were compared; the first is the one that is planned.
    pub layouts: Vec<Layout>,
    /// Throughput and CPU time by batch.
    pub batches: Vec<Batch>,
    /// CPU seconds of one planned request.
    pub cpu_seconds_per_request: f64,
    /// Peak memory with this many requests at once.
    pub crowd_requests: usize,
    /// In bytes.
    pub crowd_peak_bytes: f64,
}

/// How long requests took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// How many they were.
    pub requests: usize,
    /// In seconds.
    pub mean_seconds: f64,
    /// The 99th percentile in seconds.
    pub p99_seconds: f64,
    /// The square of standard deviation by mean.
    pub variation: f64,
}

/// Instances and threads, and what they gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Layout {
    /// Computations at the same time.
    pub instances: usize,
    /// Threads of one computation.
    pub threads: usize,
    /// When nobody was idle.
    pub requests_per_second: f64,
    /// Resident memory at its peak, loading included, with `requests_at_once`.
    pub peak_bytes: f64,
    /// Requests that were there at the same time.
    pub requests_at_once: usize,
}

/// A batch, and what it gave on one instance.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Batch {
    /// Rows of a request.
    pub rows: usize,
    /// Of all requests.
    pub rows_per_second: f64,
    /// CPU time of one request.
    pub cpu_seconds: f64,
}

impl Subject {
    /// Measures it. Takes the time it was given, and what the servers need to start.
    ///
    /// # Errors
    ///
    /// A server did not start, a request failed, or it was stopped.
    pub(super) fn measure(&self, watch: &Watch<'_>) -> Result<Measurement> {
        let stretch = Stretch::start()?;
        let clients = self.instances * 2;
        let threads = self.card.serving.threads.get();
        let planned = self.start((self.instances, threads), watch)?;
        let busy = self.load(&planned, (self.instances, 1), watch)?;
        let (name, words) = (&self.card.name, &self.request.words);
        ensure!(planned.has_computed(name)?, "{words} does not use the model '{name}': name the route that does");
        let full = self.load(&planned, (clients, 2), watch)?;
        let first = self.layout((self.instances, threads), &full, planned.peak_bytes()?);
        let (crowd_requests, crowd_peak_bytes) = self.crowd(&planned, &first, watch)?;
        // With one instance there must be two for comparison, and else one: rows are measured with one.
        let planned = Some(planned).filter(|_| self.instances == 1);
        let others = if planned.is_some() { 2 } else { 1 };
        let compared = self.start((others, threads), watch)?;
        let full_compared = self.load(&compared, (clients, 1), watch)?;
        let mut layouts = vec![first, self.layout((others, threads), &full_compared, compared.peak_bytes()?)];
        let single = planned.as_ref().unwrap_or(&compared);
        let alone = self.alone(single, watch)?;
        let batches = self.batches(single, watch)?;
        drop((planned, compared));

        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if threads == 1 && cores > 1 {
            let threaded = self.start((1, cores), watch)?;
            let full = self.load(&threaded, (clients, 1), watch)?;
            layouts.push(self.layout((1, cores), &full, threaded.peak_bytes()?));
        }
        Ok(Measurement {
            machine_cores: cores,
            others_cores: stretch.others_cores()?,
            request: self.request.words.clone(),
            is_route: self.is_route,
            alone_seconds: alone.percentile(0.5),
            busy: Latency {
                requests: busy.latencies.len(),
                mean_seconds: busy.mean(),
                p99_seconds: busy.percentile(0.99),
                variation: busy.variation(),
            },
            layouts,
            batches,
            cpu_seconds_per_request: full.cpu_per_request(),
            crowd_requests,
            crowd_peak_bytes,
        })
    }

    fn start(&self, (instances, threads): (usize, usize), watch: &Watch<'_>) -> Result<Server> {
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        (watch.progress)(&format!("measuring {} of {}", many(instances, "instance"), many(threads, "thread")));
        let mut card = self.card.clone();
        card.serving.instances = NonZeroUsize::new(instances);
        card.serving.threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let at_least = |have: NonZeroUsize, least| have.max(NonZeroUsize::new(least).unwrap_or(NonZeroUsize::MIN));
        card.serving.queue_size = at_least(card.serving.queue_size, self.most_requests());
        let largest = self.sizes().last().copied().unwrap_or(1);
        card.serving.max_batch_size = at_least(card.serving.max_batch_size, largest);
        let row = self.request.body_bytes / self.batch + 1;
        Server::start(&Deployment {
            card,
            folder: &self.folder,
            models: &self.models,
            onnxruntime: self.onnxruntime.as_deref(),
            app: self.app.as_deref(),
            defaults: self.server,
            body: self.request.body_bytes.max(row * largest),
            clients: self.most_requests(),
        })
    }

    fn load(&self, server: &Server, (clients, units): (usize, u32), watch: &Watch<'_>) -> Result<Seen> {
        let time = self.time * units / UNITS;
        server.load(Load { request: &self.request.request, clients, time }, watch.stop)
    }

    fn layout(&self, (instances, threads): (usize, usize), full: &Seen, peak_bytes: f64) -> Layout {
        let requests_at_once = self.instances * 2;
        Layout { instances, threads, requests_per_second: full.throughput(), peak_bytes, requests_at_once }
    }

    /// As many as a server admits at once, and more than usual.
    fn most_requests(&self) -> usize {
        self.server
            .max_instances
            .min(self.server.max_bodies / self.request.body_bytes.max(1))
            .max(self.instances * 2 + 1)
    }

    /// Peak memory when as many are there as a server admits. A slow model is asked by fewer, and the rest extrapolated.
    fn crowd(&self, server: &Server, usual: &Layout, watch: &Watch<'_>) -> Result<(usize, f64)> {
        let unit = (self.time / UNITS).as_secs_f64();
        let few = usual.requests_at_once;
        let most = self.most_requests();
        let clients = ((usual.requests_per_second * unit) as usize).clamp(few + 1, most);
        (watch.progress)(&format!("measuring {clients} requests at once"));
        self.load(server, (clients, 1), watch)?;
        let peak = server.peak_bytes()?;
        let (each, without) = formula::line((few as f64, usual.peak_bytes), (clients as f64, peak));
        Ok((most, each.max(0.0) * most as f64 + without))
    }

    /// One request at a time; of one row, where the planned one has more.
    fn alone(&self, server: &Server, watch: &Watch<'_>) -> Result<Seen> {
        (watch.progress)("measuring one request at a time");
        let row = if self.batch > 1 { Some(request::zeros(&self.card, 1)?.request) } else { None };
        let request = row.as_ref().unwrap_or(&self.request.request);
        server.load(Load { request, clients: 1, time: self.time / UNITS }, watch.stop)
    }

    /// Batch sizes to compare, ascending.
    fn sizes(&self) -> Vec<usize> {
        if !self.card.takes_batches() {
            return vec![1];
        }
        let mut sizes: Vec<_> = BATCHES.into_iter().chain([self.batch]).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Two rounds, so that what disturbs the machine for a moment does not fall on one size alone.
    fn batches(&self, server: &Server, watch: &Watch<'_>) -> Result<Vec<Batch>> {
        let sizes = self.sizes();
        (watch.progress)(&format!("measuring batches of {sizes:?}"));
        let requests = sizes.iter().map(|&rows| Ok((rows, request::zeros(&self.card, rows)?.request)));
        let requests = requests.collect::<Result<BTreeMap<usize, Request>>>()?;
        let mut seen: BTreeMap<usize, Seen> = BTreeMap::new();
        let time = self.time / UNITS / 2;
        for _ in 0..2 {
            for (&rows, request) in &requests {
                let round = server.load(Load { request, clients: 2, time }, watch.stop)?;
                let before = seen.remove(&rows).unwrap_or_default();
                seen.insert(rows, before.and(round));
            }
        }
        let batch = |(rows, seen): (usize, Seen)| Batch {
            rows,
            rows_per_second: rows as f64 * seen.throughput(),
            cpu_seconds: seen.cpu_per_request(),
        };
        Ok(seen.into_iter().map(batch).collect())
    }
}
