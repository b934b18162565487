//! Who was let in, who was turned away and why, and what requests hold meanwhile.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Counted, Outcome};

/// The metrics of admission.
#[derive(Default)]
pub struct Admission {
    rejections: Family<RejectionLabels, Counter>,
    waiting: Gauge,
    bodies: Gauge,
    received: Counter,
    sent: Counter,
    by_key: Family<KeyLabels, Counter>,
    key_files: Family<KeyFileLabels, Counter>,
}

/// Why a request was turned away: one word for each limit or mistake that someone can do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Rejection {
    /// Nothing has this path, or no model this name or version.
    NoRoute,
    /// The path wants another method.
    Method,
    /// The request is wrong in itself.
    BadRequest,
    /// It has no API key.
    NoKey,
    /// Its API key is none of the file's.
    WrongKey,
    /// Its key's name has its share in flight.
    KeyShare,
    /// Its body, or what becomes of it, is above a limit.
    TooLarge,
    /// Its body was not there in time, or broke off.
    BodyIncomplete,
    /// All bodies together are as large as they may be.
    BodiesFull,
    /// As many requests wait for an instance as may.
    WaitingFull,
    /// Those that wait for an instance already leave it too little time.
    WouldBeLate,
    /// No instance was free until its deadline.
    NoInstance,
    /// As many inferences are in flight as may be.
    InferencesFull,
    /// The queue of its model is full.
    ModelQueueFull,
    /// The function or model did not answer by its deadline.
    Deadline,
    /// The server starts or drains.
    NotReady,
    /// The model it wants could not be loaded.
    NoModel,
}

/// What became of a changed key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum KeyFile {
    /// Its keys are valid from here on.
    Taken,
    /// It is broken: the keys stay as they were.
    Refused,
}

/// Counts bytes that go one way.
#[derive(Clone)]
pub struct Traffic(Counter);

impl Traffic {
    /// So many more.
    pub fn add(&self, bytes: usize) {
        self.0.inc_by(bytes as u64);
    }
}

/// Counts bytes for as long as it exists.
pub struct HeldBytes {
    gauge: Gauge,
    bytes: i64,
}

impl HeldBytes {
    /// So many more.
    pub fn add(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauge.inc_by(bytes);
        self.bytes += bytes;
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

/// Names come from the operator's file.
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
        r.register_with_unit("request", "Received of requests' bodies", Unit::Bytes, self.received.clone());
        r.register_with_unit("response", "Handed to connections of answers' bodies", Unit::Bytes, self.sent.clone());
        r.register("key_requests", "Requests by the name of their API key, and outcome", self.by_key.clone());
        r.register("key_files", "Changes of the key file that were seen", self.key_files.clone());
    }

    /// The host turned a request away.
    pub fn rejected(&self, reason: Rejection) {
        self.rejections.get_or_create(&RejectionLabels { reason }).inc();
    }

    /// A request waits for an instance until the guard is dropped.
    pub fn waiting(&self) -> Counted {
        Counted::new(&self.waiting)
    }

    /// Counts what a body holds, nothing yet.
    pub fn held(&self) -> HeldBytes {
        HeldBytes { gauge: self.bodies.clone(), bytes: 0 }
    }

    /// Counts the bytes of requests' bodies that come in.
    pub fn received(&self) -> Traffic {
        Traffic(self.received.clone())
    }

    /// Counts the bytes of answers' bodies that go out.
    pub fn sent(&self) -> Traffic {
        Traffic(self.sent.clone())
    }

    /// A request with a key of `name` has an answer, or there will be none.
    pub fn key_request_ended(&self, name: &str, outcome: Outcome) {
        self.by_key.get_or_create(&KeyLabels { key: name.to_owned(), outcome }).inc();
    }

    /// The key file has changed.
    pub fn key_file_changed(&self, outcome: KeyFile) {
        self.key_files.get_or_create(&KeyFileLabels { outcome }).inc();
    }
}
