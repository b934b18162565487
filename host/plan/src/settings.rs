//! The settings of a plan.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use modelfn_nn::registry::Source;

/// The settings of one plan. `modelfn plan` makes them from its arguments.
#[derive(Clone, Debug)]
pub struct PlanSettings {
    /// The model's name.
    pub model: String,
    /// Where it is: a folder of models, or the model itself.
    pub source: Source,
    /// The engine's library, for the servers that are measured.
    pub onnxruntime: Option<PathBuf>,
    /// The manifest that is served beside the model; `None` serves the model alone.
    pub app: Option<PathBuf>,
    /// Requests per second to plan for; `None` plans for what one replica can do.
    pub rate: Option<f64>,
    /// The time in which 99 of 100 requests must be answered.
    pub p99: Option<Duration>,
    /// Shapes of inputs whose axes the graph leaves open, by name; the card's and the server's own where none is given.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Rows of one request: the size of axis 0 of its tensors.
    pub batch: NonZeroUsize,
    /// Engine instances of one replica; overrides the card.
    pub instances: Option<NonZeroUsize>,
    /// Engine instances where neither `instances` nor the card gives a number.
    pub default_instances: NonZeroUsize,
    /// How busy the engine instances of a replica may be, from 0 to 1.
    pub utilisation: f64,
    /// The request to a function that is planned for; `None` sends tensors of zeros to `/v2`.
    pub route: Option<RouteRequest>,
    /// Whether to measure or to estimate.
    pub method: Method,
    /// Default limits of a server. The measured servers admit as much or more.
    pub server: ServerDefaults,
}

/// A request to a function.
#[derive(Clone, Debug)]
pub struct RouteRequest {
    /// Path and query.
    pub path: String,
    /// The file whose bytes are the body.
    pub body: PathBuf,
}

/// Where the coefficients of a plan come from.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// The model is served and loaded for this long, without the time that the servers need to start.
    Measure(Duration),
    /// Nothing runs. The coefficients are those of other models; the time of one row is given, if the user knows it.
    Estimate(Option<Duration>),
}

impl ServerDefaults {
    /// Bytes of the largest request that a server admits: its body, which the sandbox holds once more within its memory, and
    /// its tensors.
    pub(super) fn largest_request(&self) -> f64 {
        (self.max_body + self.max_memory + self.max_tensors) as f64
    }
}

/// The limits of `modelfn serve` that decide how much a measured server can be loaded with.
#[derive(Clone, Copy, Debug)]
pub struct ServerDefaults {
    /// Requests that have an instance at the same time.
    pub max_instances: usize,
    /// Bytes of the largest request body.
    pub max_body: usize,
    /// Bytes of all request bodies in flight.
    pub max_bodies: usize,
    /// Bytes of a request's sandbox.
    pub max_memory: usize,
    /// Bytes of a request's tensors.
    pub max_tensors: usize,
}
