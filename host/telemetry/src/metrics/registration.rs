//! The names, descriptions and units of the metrics, and the buckets of their histograms.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use super::Metrics;
use super::process::{self, Process};

/// Buckets from 50 µs to 52 s.
pub(super) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 21))
}

/// Buckets from 1 to 128 rows.
pub(super) fn rows() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 8))
}

/// Buckets from 64 KiB to 2 GiB.
pub(super) fn bytes() -> Histogram {
    Histogram::new(exponential_buckets(65_536.0, 2.0, 16))
}

impl Metrics {
    /// Registers every metric of the registry under its name, with its description.
    pub(super) fn registered(mut self) -> Self {
        self.unprefixed.register_collector(Box::new(self.models.clone()));
        self.unprefixed.register_collector(Box::new(Process::started_now()));
        self.registry.register_collector(Box::new(self.log_lines.clone()));
        self.admission.register(&mut self.registry);
        self.register_requests();
        self.register_models();
        self
    }

    fn register_requests(&mut self) {
        let r = &mut self.registry;
        r.register("build", "The program, as it was built", process::build());
        r.register("requests", "Requests by function and outcome", self.requests.clone());
        r.register_with_unit(
            "request_duration",
            "From a request's head to its response's head",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        r.register("requests_in_flight", "Requests that were admitted and have not ended", self.in_flight.clone());
        r.register("connections", "Open client connections", self.connections.clone());
        r.register(
            "connections_closed",
            "Connections that the server closed or did not take, by reason",
            self.connections_closed.clone(),
        );
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
    }

    fn register_models(&mut self) {
        let r = &mut self.registry;
        r.register(
            "computations",
            "Computations by model, and whether the engine succeeded",
            self.computations.clone(),
        );
        r.register(
            "engine_restarts",
            "Engine processes that took the place of one that ended, by model",
            self.engine_restarts.clone(),
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
    }
}
