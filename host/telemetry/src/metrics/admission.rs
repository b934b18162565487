//! Metrics of admission: rejections by reason, requests that wait, and the bytes of bodies.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::gauge_guard::GaugeGuard;
use super::labels::Outcome;

/// The metrics of admission.
#[derive(Default)]
pub struct Admission {
    rejections: Family<RejectionLabels, Counter>,
    waiting: Gauge,
    bodies: Gauge,
    memory: Gauge,
    received: Counter,
    sent: Counter,
    by_key: Family<KeyLabels, Counter>,
    key_files: Family<KeyFileLabels, Counter>,
}

/// Why a request was rejected, with one value for each limit or mistake that somebody can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Rejection {
    /// There is no route for the path, or no model of that name or version.
    NoRoute,
    /// The path exists but doesn't allow the method.
    Method,
    /// The request is malformed.
    BadRequest,
    /// The request has no API key.
    NoKey,
    /// The request's API key is not in the key file.
    WrongKey,
    /// The key's name has as many requests in flight as its share allows.
    KeyShare,
    /// The body, or the tensors that it becomes, are above a limit.
    TooLarge,
    /// The body did not arrive in time, or broke off.
    BodyIncomplete,
    /// The memory budget for all bodies together is used up.
    BodiesFull,
    /// The heads of a connection's requests, or of all requests, take as much memory as they may.
    HeadsFull,
    /// All memory that requests may take together is reserved.
    MemoryFull,
    /// The queue for instances is full.
    WaitingFull,
    /// The requests in the queue for instances leave this one too little time before its deadline.
    WouldBeLate,
    /// No instance became free before the deadline.
    NoInstance,
    /// As many inferences are in flight as the limit allows.
    InferencesFull,
    /// The queue of the model is full.
    ModelQueueFull,
    /// The function or model did not respond before the deadline.
    Deadline,
    /// The server is starting or draining.
    NotReady,
    /// The model could not be loaded when the host started.
    NoModel,
}

/// What happened to a changed key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum KeyFile {
    /// Its keys replaced the previous ones.
    Taken,
    /// It is invalid, and the previous keys stay valid.
    Refused,
    /// It has no keys any more, or is gone, and no key is valid.
    Revoked,
}

/// Counts the bytes of one direction. The default counts for nobody.
#[derive(Clone, Default)]
pub struct Traffic(Counter);

impl Traffic {
    /// Counts more bytes.
    pub fn add(&self, bytes: usize) {
        self.0.inc_by(bytes as u64);
    }
}

/// Adds bytes to a gauge, and subtracts them when dropped.
pub struct HeldBytes {
    gauge: Gauge,
    bytes: i64,
}

impl HeldBytes {
    /// Adds more bytes.
    pub fn add(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauge.inc_by(bytes);
        self.bytes += bytes;
    }

    /// Subtracts bytes that were added before.
    pub fn remove(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).min(self.bytes);
        self.gauge.dec_by(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.gauge.dec_by(self.bytes);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    reason: Rejection,
}

/// The key's name comes from the operator's key file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyFileLabels {
    outcome: KeyFile,
}

impl Admission {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("rejections", "Requests that the host turned away, by reason", self.rejections.clone());
        r.register("requests_waiting", "Requests that wait for an instance", self.waiting.clone());
        r.register_with_unit(
            "bodies_in_flight",
            "Bodies of requests in flight, and the tensors that JSON became",
            Unit::Bytes,
            self.bodies.clone(),
        );
        r.register_with_unit(
            "memory_reserved",
            "Reserved by requests: bodies, memory and tensors of guests, and responses that were not read yet",
            Unit::Bytes,
            self.memory.clone(),
        );
        r.register_with_unit("request", "Received of requests' bodies", Unit::Bytes, self.received.clone());
        r.register_with_unit("response", "Handed to connections of responses' bodies", Unit::Bytes, self.sent.clone());
        r.register("key_requests", "Requests by the name of their API key, and outcome", self.by_key.clone());
        r.register("key_files", "Changes of the key file that were seen", self.key_files.clone());
    }

    /// Counts a request that the host rejected.
    pub fn rejected(&self, reason: Rejection) {
        self.rejections.get_or_create(&RejectionLabels { reason }).inc();
    }

    /// Counts a request as waiting for an instance until the guard is dropped.
    pub fn waiting(&self) -> GaugeGuard {
        GaugeGuard::new(&self.waiting)
    }

    /// A guard for the bytes of one body, which holds none yet.
    pub fn held(&self) -> HeldBytes {
        HeldBytes { gauge: self.bodies.clone(), bytes: 0 }
    }

    /// A guard for reserved memory, which holds none yet.
    pub fn reserved(&self) -> HeldBytes {
        HeldBytes { gauge: self.memory.clone(), bytes: 0 }
    }

    /// The counter of bytes that were received of request bodies.
    pub fn received(&self) -> Traffic {
        Traffic(self.received.clone())
    }

    /// The counter of bytes that were sent of response bodies.
    pub fn sent(&self) -> Traffic {
        Traffic(self.sent.clone())
    }

    /// Counts a request with a key of `name` that has ended, with or without a response.
    pub fn key_request_ended(&self, name: &str, outcome: Outcome) {
        self.by_key.get_or_create(&KeyLabels { key: name.to_owned(), outcome }).inc();
    }

    /// Counts a change of the key file.
    pub fn key_file_changed(&self, outcome: KeyFile) {
        self.key_files.get_or_create(&KeyFileLabels { outcome }).inc();
    }
}
