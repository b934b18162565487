//! Every metric, named and described once, and recorded through a method where its fact happens.
//!
//! Names follow Prometheus: base units, `_total` for counters. Label values come from closed sets: the
//! manifest's components, the registry's models, and the enums here. Nothing of a request becomes a label.

pub mod admission;

mod process;

pub mod statistics;

mod triton;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::admission::Admission;
use self::statistics::Statistics;

/// The metrics of one server.
pub struct Metrics {
    registry: Registry,
    /// Those that have other prefixes.
    others: Registry,
    models: Arc<triton::Models>,
    /// Who was let in, and who was not.
    pub admission: Admission,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<FunctionLabels, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
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
    reloads: Family<ReloadLabels, Counter>,
}

/// How a request ended: one word for each thing an operator would do something different about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the words are their description")]
pub enum Outcome {
    Answered,
    ClientError,
    FunctionError,
    TimedOut,
    OutOfMemory,
    Shed,
    ClientLeft,
}

/// Why a batch was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Release {
    /// No further job would have fitted.
    Full,
    /// The oldest job had waited for `max_queue_delay`, which is at once when that is 0.
    Due,
    /// Its inputs can't be stacked.
    Alone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    function: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabels {
    function: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ComputationLabels {
    model: String,
    succeeded: Succeeded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    succeeded: Succeeded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BatchLabels {
    model: String,
    release: Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Succeeded {
    True,
    False,
}

/// 50 µs to 52 s.
fn seconds() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(50e-6, 2.0, 21))
}

/// 1 to 128.
fn rows() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(1.0, 2.0, 8))
}

/// 64 KiB to 2 GiB.
fn bytes() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(65_536.0, 2.0, 16))
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let metrics = Metrics {
            registry: Registry::with_prefix("modelfn"),
            others: Registry::default(),
            models: Arc::default(),
            admission: Admission::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
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
            reloads: Family::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        self.others.register_collector(Box::new(self.models.clone()));
        self.others.register_collector(Box::new(process::Process::started_now()));
        let r = &mut self.registry;
        self.admission.register(r);
        r.register("build", "The program, as it was built", process::build());
        r.register("requests", "Requests by function and outcome", self.requests.clone());
        r.register_with_unit(
            "request_duration",
            "From a request's head to its answer's head",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        r.register("requests_in_flight", "Requests that were admitted and have not ended", self.in_flight.clone());
        r.register("connections", "Open client connections", self.connections.clone());
        r.register_with_unit("body_duration", "Reading a request's body", Unit::Seconds, self.body.clone());
        r.register_with_unit(
            "admission_duration",
            "A request's wait for an instance to be free",
            Unit::Seconds,
            self.admission_wait.clone(),
        );
        r.register_with_unit(
            "guest_instantiate",
            "Making a request's instance",
            Unit::Seconds,
            self.instantiate.clone(),
        );
        r.register_with_unit("guest_duration", "Life of a request's instance", Unit::Seconds, self.guest.clone());
        r.register_with_unit(
            "guest_cpu",
            "Time that a request's instance was on a thread: being made, its code and its host calls, not waiting",
            Unit::Seconds,
            self.guest_cpu.clone(),
        );
        r.register_with_unit(
            "guest_memory_peak",
            "The most linear memory a request had",
            Unit::Bytes,
            self.guest_memory.clone(),
        );
        r.register(
            "computations",
            "Computations by model, and whether the engine succeeded",
            self.computations.clone(),
        );
        r.register("batches", "Engine calls by model, and why each was released", self.batches.clone());
        r.register("batch_size", "Rows of an engine call", self.batch_size.clone());
        r.register_with_unit(
            "queue_duration",
            "A computation's wait for an engine thread",
            Unit::Seconds,
            self.queue.clone(),
        );
        r.register_with_unit(
            "compute_duration",
            "A computation's time in the engine",
            Unit::Seconds,
            self.compute.clone(),
        );
        r.register_with_unit(
            "model_load_duration",
            "Loading and warming a model",
            Unit::Seconds,
            self.model_load.clone(),
        );
        r.register("model_version", "The version of a model that serves", self.model_version.clone());
        r.register("reloads", "Reloads, and whether they were taken over", self.reloads.clone());
        self
    }

    /// A request's answer has a head, or there will be none.
    pub fn request_ended(&self, function: &str, outcome: Outcome, elapsed: Duration) {
        let function = function.to_owned();
        self.requests.get_or_create(&RequestLabels { function: function.clone(), outcome }).inc();
        self.request_duration.get_or_create(&FunctionLabels { function }).observe(elapsed.as_secs_f64());
    }

    /// A request was admitted; it has ended when the guard is dropped.
    pub fn admitted(&self) -> Counted {
        Counted::new(&self.in_flight)
    }

    /// A body was read, or there will be none.
    pub fn body_read(&self, took: Duration) {
        self.body.observe(took.as_secs_f64());
    }

    /// A request has its instance's place, or waited for none until its deadline.
    pub fn waited_for_admission(&self, waited: Duration) {
        self.admission_wait.observe(waited.as_secs_f64());
    }

    /// A client connected; it has left when the guard is dropped.
    pub fn connected(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// An instance was dropped, after `lived`, having had `memory_peak` bytes.
    pub fn guest_ended(&self, instantiate: Duration, lived: Duration, memory_peak: usize) {
        self.instantiate.observe(instantiate.as_secs_f64());
        self.guest.observe(lived.as_secs_f64());
        self.guest_memory.observe(memory_peak as f64);
    }

    /// An instance of `function` was dropped, having been on a thread for this time.
    pub fn guest_used(&self, function: &str, busy: Duration) {
        let function = function.to_owned();
        self.guest_cpu.get_or_create(&FunctionLabels { function }).observe(busy.as_secs_f64());
    }

    /// A computation has its outputs.
    pub fn computed(&self, model: &str, queued: Duration, computing: Duration) {
        let labels = ModelLabels { model: model.to_owned() };
        self.queue.get_or_create(&labels).observe(queued.as_secs_f64());
        self.compute.get_or_create(&labels).observe(computing.as_secs_f64());
        self.count_computation(model, Succeeded::True);
    }

    /// An engine was called for `rows` rows.
    pub fn batch_ran(&self, model: &str, (rows, release): (usize, Release)) {
        let model = model.to_owned();
        self.batches.get_or_create(&BatchLabels { model: model.clone(), release }).inc();
        self.batch_size.get_or_create(&ModelLabels { model }).observe(rows as f64);
    }

    /// An engine failed, or its queue or deadline did.
    pub fn not_computed(&self, model: &str) {
        self.count_computation(model, Succeeded::False);
    }

    /// Version `version` of a model was loaded and warmed.
    pub fn model_loaded(&self, model: &str, version: u32, took: Duration) {
        let labels = ModelLabels { model: model.to_owned() };
        self.model_load.get_or_create(&labels).set(took.as_secs_f64());
        self.model_version.get_or_create(&labels).set(version.into());
    }

    /// Files were read again, and taken over or refused.
    pub fn reloaded(&self, succeeded: bool) {
        let succeeded = if succeeded { Succeeded::True } else { Succeeded::False };
        self.reloads.get_or_create(&ReloadLabels { succeeded }).inc();
    }

    /// What a model does is shown from here on, for as long as somebody holds its statistics.
    pub fn expose(&self, (model, version): (&str, u32), statistics: &Arc<Statistics>) {
        self.models.add(model, version, statistics);
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registries = [&self.registry, &self.others];
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

/// Counts one thing for as long as it exists.
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
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
