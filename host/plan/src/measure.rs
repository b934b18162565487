//! Measures a model on this machine: starts servers with different numbers of instances and threads, sends them load, and
//! reads their CPU time and peak memory.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::formula;
use super::load::{Load, LoadResult};
use super::machine::CpuInterference;
use super::request::{self, DescribedRequest};
use super::server::{Deployment, Server};
use super::settings::ServerDefaults;
use modelfn_card::Card;
use modelfn_nn::registry::Source;

/// Batch sizes whose throughput is compared.
const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// The time to measure is divided into this many windows of equal length.
const WINDOWS: u32 = 11;

/// What to measure.
pub(super) struct Subject {
    /// The model's card.
    pub(super) card: Card,
    /// The folder that the card's other files are in.
    pub(super) folder: PathBuf,
    /// The names of the files beside the graph that hold its weights.
    pub(super) external: Vec<String>,
    /// Where the model was found.
    pub(super) source: Source,
    /// The engine's library.
    pub(super) onnxruntime: Option<PathBuf>,
    /// The manifest; `None` serves the model alone.
    pub(super) app: Option<PathBuf>,
    /// Whether the request goes to a function.
    pub(super) is_route: bool,
    /// The request that is planned for.
    pub(super) request: DescribedRequest,
    /// Rows of that request.
    pub(super) batch: usize,
    /// Engine instances that are planned.
    pub(super) instances: usize,
    /// How long all loads take together.
    pub(super) time: Duration,
    /// Default limits of a server.
    pub(super) server: ServerDefaults,
}

/// How the caller follows a measurement, and ends it early.
pub struct Progress<'a> {
    /// Called with a few words at the start of each step.
    pub report: &'a (dyn Fn(&str) + Sync),
    /// Setting this to true ends the measurement with an error.
    pub stop: &'a Arc<AtomicBool>,
}

/// Engine instances of a model, and threads of each.
#[derive(Clone, Copy, Debug)]
struct Parallelism {
    instances: usize,
    threads: usize,
}

/// How many clients send load, and for how many of the [`WINDOWS`].
#[derive(Clone, Copy, Debug)]
struct Window {
    clients: usize,
    windows: u32,
}

/// The peak of memory with as many requests in flight as a server admits.
struct ConcurrencyPeak {
    requests: usize,
    bytes: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Cores of this machine.
    pub machine_cores: usize,
    /// Cores that other programs kept busy meanwhile, on average.
    pub others_cores: f64,
    /// The request that was sent, for people.
    pub request: String,
    /// Whether that request goes to a function.
    pub is_route: bool,
    /// Median latency of one request at a time, in seconds; of a request of one row, where tensors are sent.
    pub alone_seconds: f64,
    /// Latency with as many requests in flight as there are instances.
    pub busy: Latency,
    /// Layouts that were compared; the first is the one that is planned.
    pub layouts: Vec<MeasuredLayout>,
    /// Throughput and CPU time by batch size, on one instance.
    pub batches: Vec<MeasuredBatch>,
    /// CPU seconds of one request that is planned for.
    pub cpu_seconds_per_request: f64,
    /// The most requests that a server admits at once.
    pub peak_concurrency: usize,
    /// Peak of resident memory with that many requests at once, in bytes.
    pub peak_concurrency_bytes: f64,
}

/// Latency of requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// The number of requests.
    pub requests: usize,
    /// The mean in seconds.
    pub mean_seconds: f64,
    /// The 99th percentile in seconds.
    pub p99_seconds: f64,
    /// The squared coefficient of variation: (standard deviation / mean)².
    pub variation: f64,
}

/// A number of instances and threads with its throughput and memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MeasuredLayout {
    /// Engine instances: computations at the same time.
    pub instances: usize,
    /// Threads of one computation.
    pub threads: usize,
    /// Throughput at full load.
    pub requests_per_second: f64,
    /// Peak of resident memory in bytes, loading included, with `requests_at_once`.
    pub peak_bytes: f64,
    /// Requests in flight at full load.
    pub requests_at_once: usize,
}

/// A batch size with its throughput and CPU time on one instance.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MeasuredBatch {
    /// Rows of a request.
    pub rows: usize,
    /// Throughput in rows.
    pub rows_per_second: f64,
    /// CPU time of one request, in seconds.
    pub cpu_seconds: f64,
}

impl Subject {
    /// Measures the model. Takes the time of the settings, and what the servers need to start.
    ///
    /// # Errors
    ///
    /// A server did not start, a request failed, or the measurement was stopped.
    pub(super) fn measure(&self, progress: &Progress<'_>) -> Result<Measurement> {
        let interference = CpuInterference::start()?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let parallelism = Parallelism { instances: self.instances, threads: self.card.serving.threads.get() };
        let planned = self.start(parallelism, &interference, progress)?;
        let busy = self.load(&planned, Window { clients: self.instances, windows: 1 }, progress)?;
        let (name, description) = (&self.card.name, &self.request.description);
        ensure!(planned.has_computed(name)?, "{description} does not use the model '{name}': name the route that does");
        let full = self.load(&planned, Window { clients: self.full_load(), windows: 2 }, progress)?;
        let first = self.layout(parallelism, &full, planned.peak_bytes()?);
        let peak = self.concurrency_peak(&planned, &first, progress)?;
        // Another number of instances is compared: one, or two where one is planned. Rows are measured with one.
        let planned = Some(planned).filter(|_| self.instances == 1);
        let other = Parallelism { instances: if planned.is_some() { 2 } else { 1 }, ..parallelism };
        let compared = self.start(other, &interference, progress)?;
        let mut layouts = vec![first, self.full_layout(&compared, other, progress)?];
        let single = planned.as_ref().unwrap_or(&compared);
        let alone = self.alone(single, progress)?;
        let batches = self.batches(single, progress)?;
        drop((planned, compared));
        if parallelism.threads == 1 && cores > 1 {
            let threaded = Parallelism { instances: 1, threads: cores };
            let server = self.start(threaded, &interference, progress)?;
            layouts.push(self.full_layout(&server, threaded, progress)?);
        }
        Ok(Measurement {
            machine_cores: cores,
            others_cores: interference.others_cores()?,
            request: description.clone(),
            is_route: self.is_route,
            alone_seconds: alone.percentile(0.5),
            busy: Latency::of(&busy),
            layouts,
            batches,
            cpu_seconds_per_request: full.cpu_per_request(),
            peak_concurrency: peak.requests,
            peak_concurrency_bytes: peak.bytes,
        })
    }

    fn start(
        &self,
        parallelism: Parallelism,
        interference: &CpuInterference,
        progress: &Progress<'_>,
    ) -> Result<Server> {
        let Parallelism { instances, threads } = parallelism;
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        (progress.report)(&format!("measuring {} of {}", count(instances, "instance"), count(threads, "thread")));
        let mut card = self.card.clone();
        card.serving.instances = NonZeroUsize::new(instances);
        card.serving.threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let at_least = |have: NonZeroUsize, least| have.max(NonZeroUsize::new(least).unwrap_or(NonZeroUsize::MIN));
        card.serving.queue_size = at_least(card.serving.queue_size, self.most_requests());
        let largest = self.batch_sizes().last().copied().unwrap_or(1);
        card.serving.max_batch_size = at_least(card.serving.max_batch_size, largest);
        let row = self.request.body_bytes / self.batch + 1;
        Server::start(&Deployment {
            card,
            folder: &self.folder,
            external: &self.external,
            source: &self.source,
            onnxruntime: self.onnxruntime.as_deref(),
            app: self.app.as_deref(),
            defaults: self.server,
            max_body: self.request.body_bytes.max(row * largest),
            max_requests: self.most_requests(),
            engines: interference.engines(),
        })
    }

    /// Clients that keep all instances of the plan busy.
    fn full_load(&self) -> usize {
        self.instances * 2
    }

    fn load(&self, server: &Server, window: Window, progress: &Progress<'_>) -> Result<LoadResult> {
        let time = self.time * window.windows / WINDOWS;
        server.load(&Load { request: self.request.request.clone(), clients: window.clients, time }, progress.stop)
    }

    /// Measures a server at full load.
    fn full_layout(
        &self,
        server: &Server,
        parallelism: Parallelism,
        progress: &Progress<'_>,
    ) -> Result<MeasuredLayout> {
        let full = self.load(server, Window { clients: self.full_load(), windows: 1 }, progress)?;
        Ok(self.layout(parallelism, &full, server.peak_bytes()?))
    }

    fn layout(&self, parallelism: Parallelism, full: &LoadResult, peak_bytes: f64) -> MeasuredLayout {
        let Parallelism { instances, threads } = parallelism;
        let requests_per_second = full.throughput();
        MeasuredLayout { instances, threads, requests_per_second, peak_bytes, requests_at_once: self.full_load() }
    }

    /// The most requests that a server admits at once; at least one more than a full load has.
    fn most_requests(&self) -> usize {
        self.server.max_instances.min(self.server.max_bodies / self.request.body_bytes.max(1)).max(self.full_load() + 1)
    }

    /// Measures the peak of memory with as many requests in flight as a server admits. A slow model gets fewer requests,
    /// and the peak is extrapolated.
    fn concurrency_peak(
        &self,
        server: &Server,
        full: &MeasuredLayout,
        progress: &Progress<'_>,
    ) -> Result<ConcurrencyPeak> {
        let window_seconds = (self.time / WINDOWS).as_secs_f64();
        let requests = self.most_requests();
        let clients = (full.requests_per_second * window_seconds) as usize;
        let clients = clients.clamp(full.requests_at_once + 1, requests);
        (progress.report)(&format!("measuring {clients} requests at once"));
        self.load(server, Window { clients, windows: 1 }, progress)?;
        let peak = server.peak_bytes()?;
        let (each, without) = formula::line((full.requests_at_once as f64, full.peak_bytes), (clients as f64, peak));
        Ok(ConcurrencyPeak { requests, bytes: each.max(0.0) * requests as f64 + without })
    }

    /// Measures one request at a time; one of a single row, where the planned request has more.
    fn alone(&self, server: &Server, progress: &Progress<'_>) -> Result<LoadResult> {
        (progress.report)("measuring one request at a time");
        let request = match self.batch {
            1 => self.request.request.clone(),
            _ => request::zeros(&self.card, 1)?.request,
        };
        server.load(&Load { request, clients: 1, time: self.time / WINDOWS }, progress.stop)
    }

    /// Batch sizes to compare, ascending.
    fn batch_sizes(&self) -> Vec<usize> {
        if !self.card.takes_batches() {
            return vec![1];
        }
        let mut sizes: Vec<_> = BATCHES.into_iter().chain([self.batch]).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Measures the batch sizes in two rounds, so that a short disturbance of the machine does not fall on one size
    /// alone.
    fn batches(&self, server: &Server, progress: &Progress<'_>) -> Result<Vec<MeasuredBatch>> {
        let sizes = self.batch_sizes();
        (progress.report)(&format!("measuring batches of {sizes:?}"));
        let zeros = |&rows: &usize| Ok((rows, request::zeros(&self.card, rows)?.request));
        let requests = sizes.iter().map(zeros).collect::<Result<Vec<_>>>()?;
        let time = self.time / WINDOWS / 2;
        let mut results: BTreeMap<usize, LoadResult> = BTreeMap::new();
        for _ in 0..2 {
            for (rows, request) in &requests {
                let round = server.load(&Load { request: request.clone(), clients: 2, time }, progress.stop)?;
                let before = results.remove(rows).unwrap_or_default();
                results.insert(*rows, before.followed_by(round));
            }
        }
        let batch = |(rows, result): (usize, LoadResult)| MeasuredBatch {
            rows,
            rows_per_second: rows as f64 * result.throughput(),
            cpu_seconds: result.cpu_per_request(),
        };
        Ok(results.into_iter().map(batch).collect())
    }
}

impl Latency {
    fn of(result: &LoadResult) -> Latency {
        Latency {
            requests: result.latencies.len(),
            mean_seconds: result.mean(),
            p99_seconds: result.percentile(0.99),
            variation: result.variation(),
        }
    }
}
