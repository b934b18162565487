//! Metrics for Prometheus. Each is named and described once, and recorded by a method that the code calls where it
//! happens.
//!
//! Names follow Prometheus' conventions: base units, `_total` for counters. Label values come from closed sets: the
//! components of the manifest, the models of the registry, and the enums of [`labels`]. No part of a request becomes a
//! label.

pub mod admission;
mod gauge_guard;
mod labels;
mod log_lines;
mod process;
mod registration;
pub mod statistics;
mod triton;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::admission::Admission;
pub use self::gauge_guard::GaugeGuard;
use self::labels::{
    BatchLabels, ClosedLabels, ComputationLabels, FunctionLabels, ModelLabels, ReloadLabels, RequestLabels, Succeeded,
};
pub use self::labels::{Closed, Outcome, Release};
use self::log_lines::LogLines;
use self::registration::{bytes, rows, seconds};
use self::statistics::Statistics;

/// The metrics of one server.
pub struct Metrics {
    /// Metrics whose names start with `modelfn_`.
    registry: Registry,
    /// Metrics whose names are defined elsewhere: by Triton and by Prometheus.
    unprefixed: Registry,
    models: Arc<triton::Models>,
    log_lines: LogLines,
    /// Admissions and rejections.
    pub admission: Admission,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<FunctionLabels, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    connections_closed: Family<ClosedLabels, Counter>,
    body: Histogram,
    admission_wait: Histogram,
    instantiate: Histogram,
    guest: Histogram,
    guest_cpu: Family<FunctionLabels, Histogram>,
    guest_memory: Histogram,
    computations: Family<ComputationLabels, Counter>,
    batches: Family<BatchLabels, Counter>,
    batch_size: Family<ModelLabels, Histogram>,
    queue: Family<ModelLabels, Histogram>,
    compute: Family<ModelLabels, Histogram>,
    model_load: Family<ModelLabels, Gauge<f64, AtomicU64>>,
    model_version: Family<ModelLabels, Gauge>,
    engine_restarts: Family<ModelLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
}

impl Metrics {
    /// Registers all metrics, at zero.
    pub fn new() -> Self {
        let metrics = Metrics {
            registry: Registry::with_prefix("modelfn"),
            unprefixed: Registry::default(),
            models: Arc::default(),
            log_lines: LogLines::default(),
            admission: Admission::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_closed: Family::default(),
            body: seconds(),
            admission_wait: seconds(),
            instantiate: seconds(),
            guest: seconds(),
            guest_cpu: Family::new_with_constructor(seconds),
            guest_memory: bytes(),
            computations: Family::default(),
            batches: Family::default(),
            batch_size: Family::new_with_constructor(rows),
            queue: Family::new_with_constructor(seconds),
            compute: Family::new_with_constructor(seconds),
            model_load: Family::default(),
            model_version: Family::default(),
            engine_restarts: Family::default(),
            reloads: Family::default(),
        };
        metrics.registered()
    }

    /// Records that a request's response has a head, or that it will have no response, `elapsed` after the request's
    /// head.
    pub fn request_ended(&self, function: &str, outcome: Outcome, elapsed: Duration) {
        let function = function.to_owned();
        self.requests.get_or_create(&RequestLabels { function: function.clone(), outcome }).inc();
        self.request_duration.get_or_create(&FunctionLabels { function }).observe(elapsed.as_secs_f64());
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn admitted(&self) -> GaugeGuard {
        GaugeGuard::new(&self.in_flight)
    }

    /// Records how long the body of a request was read, whether that succeeded or not.
    pub fn body_read(&self, duration: Duration) {
        self.body.observe(duration.as_secs_f64());
    }

    /// Records how long a request waited for an instance, whether it got one or its deadline passed.
    pub fn waited_for_admission(&self, waited: Duration) {
        self.admission_wait.observe(waited.as_secs_f64());
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connected(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    /// Counts a connection that the server closed or did not take.
    pub fn connection_closed(&self, reason: Closed) {
        self.connections_closed.get_or_create(&ClosedLabels { reason }).inc();
    }

    /// Records an instance that has ended: how long it was instantiated, how long it lived altogether, and the most
    /// bytes of linear memory that it had.
    pub fn guest_ended(&self, instantiate: Duration, lifetime: Duration, memory_peak: usize) {
        self.instantiate.observe(instantiate.as_secs_f64());
        self.guest.observe(lifetime.as_secs_f64());
        self.guest_memory.observe(memory_peak as f64);
    }

    /// Records for how long an instance of `function` kept threads busy.
    pub fn guest_used(&self, function: &str, busy: Duration) {
        let function = function.to_owned();
        self.guest_cpu.get_or_create(&FunctionLabels { function }).observe(busy.as_secs_f64());
    }

    /// Records a computation that succeeded: its time in the queue, and its time in the engine.
    pub fn computed(&self, model: &str, queued: Duration, computing: Duration) {
        let labels = ModelLabels { model: model.to_owned() };
        self.queue.get_or_create(&labels).observe(queued.as_secs_f64());
        self.compute.get_or_create(&labels).observe(computing.as_secs_f64());
        self.count_computation(model, Succeeded::True);
    }

    /// Records an engine call for a batch of `rows` rows.
    pub fn batch_ran(&self, model: &str, rows: usize, release: Release) {
        let model = model.to_owned();
        self.batches.get_or_create(&BatchLabels { model: model.clone(), release }).inc();
        self.batch_size.get_or_create(&ModelLabels { model }).observe(rows as f64);
    }

    /// Records a computation that failed: in the queue, by its deadline, or in the engine.
    pub fn not_computed(&self, model: &str) {
        self.count_computation(model, Succeeded::False);
    }

    /// Records that a version of a model was loaded and warmed up, and how long that took.
    pub fn model_loaded(&self, model: &str, version: u32, duration: Duration) {
        let labels = ModelLabels { model: model.to_owned() };
        self.model_load.get_or_create(&labels).set(duration.as_secs_f64());
        self.model_version.get_or_create(&labels).set(version.into());
    }

    /// Records that a model's engine process ended and another one took its place.
    pub fn engine_restarted(&self, model: &str) {
        self.engine_restarts.get_or_create(&ModelLabels { model: model.to_owned() }).inc();
    }

    /// Records a reload, and whether it took effect.
    pub fn reloaded(&self, succeeded: bool) {
        let succeeded = if succeeded { Succeeded::True } else { Succeeded::False };
        self.reloads.get_or_create(&ReloadLabels { succeeded }).inc();
    }

    /// Exports the statistics of a model for as long as its owner holds them.
    pub fn expose(&self, model: &str, version: u32, statistics: &Arc<Statistics>) {
        self.models.add(model, version, statistics);
    }

    /// Asks `lost` at each scrape how many lines of the log were lost.
    pub fn expose_lost_log_lines(&self, lost: fn() -> u64) {
        self.log_lines.expose(lost);
    }

    /// All metrics in the text format of OpenMetrics 1.0.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registries = [&self.registry, &self.unprefixed];
        let written = registries.into_iter().try_for_each(|registry| encode_registry(&mut text, registry));
        written.and_then(|()| encode_eof(&mut text)).expect("writing to a String does not fail");
        text
    }

    fn count_computation(&self, model: &str, succeeded: Succeeded) {
        self.computations.get_or_create(&ComputationLabels { model: model.to_owned(), succeeded }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_units_and_gauges_follow_their_guards() {
        let metrics = Metrics::new();
        metrics.request_ended("classify", Outcome::Answered, Duration::from_millis(10));
        metrics.computed("m", Duration::ZERO, Duration::from_millis(4));
        metrics.model_loaded("m", 1, Duration::from_secs(1));
        let guard = metrics.admitted();
        let text = metrics.text();
        for line in [
            "modelfn_requests_total{function=\"classify\",outcome=\"Answered\"} 1",
            "modelfn_requests_in_flight 1",
            "modelfn_compute_duration_seconds_count{model=\"m\"} 1",
            "modelfn_model_load_duration_seconds{model=\"m\"} 1.0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        drop(guard);
        assert!(metrics.text().contains("modelfn_requests_in_flight 0"));
    }
}
