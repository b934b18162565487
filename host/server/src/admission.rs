//! Admission: what a request must pass before anything computes for it, in one list that reads top to bottom.
//!
//! Functions and `/v2` pass through the same list ([`Admission::identify`], then [`Admission::admit`]). They differ in
//! the limit that bounds them: a function's request waits for a sandbox, an inference below `/v2` waits in its model's
//! queue and only has a limit of how many there may be. One file describes one concept.

pub(crate) mod content_encoding;
pub mod deadline;
pub mod drain_on_drop;
mod instance_queue;
pub mod key_file;
pub mod keys;
pub mod memory_budget;
mod queue_wait;
pub mod request_body;

pub use modelfn_wasm::concurrency_limit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use modelfn_telemetry::metrics::{GaugeGuard, Metrics};
use modelfn_wasm::process_memory::ProcessMemory;

use self::concurrency_limit::{ConcurrencyLimit, Permit};
use self::content_encoding::Coded;
use self::drain_on_drop::DrainOnDrop;
pub(crate) use self::instance_queue::{ComponentShare, Flow};
use self::instance_queue::{InstancePermit, InstanceQueue, QueueLimits};
use self::keys::{Client, Keys};
use self::memory_budget::{MemoryBudget, Reservation};
use self::request_body::{BodyReader, BufferedBody};
use crate::problem::Problem;

/// What requests may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Instances that live at the same time.
    pub instances: usize,
    /// Requests that wait for an instance.
    pub waiting: usize,
    /// Inferences below `/v2` in flight.
    pub inferences: usize,
    /// Bytes of one body.
    pub body: usize,
    /// Bytes of all bodies in flight.
    pub bodies: usize,
    /// How long a request may be expected to wait for an instance.
    pub target_latency: Duration,
    /// How long a client may read nothing of a response that is too large to be kept for it.
    pub unread_timeout: Duration,
    /// From the head of a request to the end of its response.
    pub timeout: Duration,
    /// How long a queue may be full before this server calls itself unready.
    pub unready_after: Duration,
}

/// What an admitted request will run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A sandbox of its own.
    Function(Flow),
    /// The queue of a model, without a sandbox.
    Inference,
}

/// The limits of one server, and what is taken of them.
pub(crate) struct Admission {
    keys: Option<Arc<Keys>>,
    limits: RequestLimits,
    body: BodyReader,
    inferences: ConcurrencyLimit,
    instances: InstanceQueue,
    metrics: Arc<Metrics>,
}

/// A request that was admitted: its body, and what it holds.
pub(crate) struct Admitted {
    /// The whole body.
    pub(crate) body: Bytes,
    /// When the response must have ended.
    pub(crate) deadline: Instant,
    /// How long the body was read.
    pub(crate) body_duration: Duration,
    /// How long the request waited for an instance; zero for an inference.
    pub(crate) waited: Duration,
    /// The bytes that the body holds of the budget. What the body becomes is added to it.
    pub(crate) reservation: Reservation,
    /// Dropped when the request has ended.
    pub(crate) permits: Permits,
}

/// What a request in flight holds of the limits.
pub(crate) struct Permits {
    _inference: Option<Permit>,
    _instance: Option<InstancePermit>,
    _in_flight: GaugeGuard,
}

impl Admission {
    /// The admission of a server with these limits, which shares `memory` with its sandboxes. Without keys everyone is let
    /// in.
    pub(crate) fn new(
        limits: RequestLimits,
        keys: Option<Arc<Keys>>,
        memory: &ProcessMemory,
        metrics: Arc<Metrics>,
    ) -> Self {
        let budget = MemoryBudget::new(limits.bodies, memory.clone(), metrics.clone());
        let queue = QueueLimits { instances: limits.instances, waiting: limits.waiting, target: limits.target_latency };
        Admission {
            keys,
            limits,
            body: BodyReader::new(limits.body, budget, metrics.clone()),
            inferences: ConcurrencyLimit::new(limits.inferences),
            instances: InstanceQueue::new(queue, metrics.clone()),
            metrics,
        }
    }

    /// Shares the instances among these components from now on.
    pub(crate) fn share_among(&self, components: &[ComponentShare]) {
        self.instances.share_among(components);
    }

    /// The key: whose request it is. `None` is everyone, where the server asks for no keys or the request needs none.
    /// Key headers are removed: no guest sees them.
    ///
    /// # Errors
    ///
    /// The request needs a key and has none that is valid.
    pub(crate) fn identify(&self, headers: &mut HeaderMap, is_public: bool) -> Result<Option<Arc<Client>>, Problem> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let client = if is_public { Ok(None) } else { keys.find(headers).map(Some) };
        keys::strip(headers);
        if let Ok(Some(client)) = &client {
            tracing::Span::current().record("key", client.name());
        }
        client
    }

    /// Everything after the key and its quota. Who can't be served is told before the body is read, and the body is
    /// read before a sandbox exists, so that a slow client holds its connection and what it has sent, and nothing else.
    ///
    /// # Errors
    ///
    /// The first limit of the list that the request does not pass.
    pub(crate) async fn admit(
        &self,
        head: &mut Parts,
        body: DrainOnDrop,
        lane: Lane,
        timeout: Duration,
    ) -> Result<Admitted, Problem> {
        // The deadline.
        let timeout = deadline::timeout(&head.headers, timeout)?;
        let deadline = Instant::now() + timeout;
        // The announced size of the body.
        self.body.check_announced(&head.headers)?;
        // The limit that there is, before the body is read in vain.
        let inference = match &lane {
            Lane::Function(flow) => self.instances.check_room(flow, deadline).map(|()| None),
            Lane::Inference => self.admit_inference().map(Some),
        }?;
        // The memory budget, while the body is read.
        let BufferedBody { mut bytes, mut reservation, duration: body_duration } =
            self.body.read(body, deadline).await?;
        // The body as it was before it was compressed.
        if let Coded::By(coding) = content_encoding::coded(&head.headers) {
            bytes = content_encoding::decode(coding, bytes, self.limits.body, &mut reservation).await?;
            content_encoding::undo(&mut head.headers, bytes.len());
        }
        // The queue for an instance.
        let (permits, waited) = match lane {
            Lane::Inference => (
                Permits { _inference: inference, _instance: None, _in_flight: self.metrics.admitted() },
                Duration::ZERO,
            ),
            Lane::Function(flow) => {
                let (instance, waited) = self.instances.acquire(flow, deadline, timeout).await?;
                let _in_flight = self.metrics.admitted();
                (Permits { _inference: None, _instance: Some(instance), _in_flight }, waited)
            }
        };
        Ok(Admitted { body: bytes, deadline, body_duration, waited, reservation, permits })
    }

    /// The limit of inferences. Nobody waits for it: that is what a model's queue is for.
    fn admit_inference(&self) -> Result<Permit, Problem> {
        self.inferences.try_acquire().ok_or(Problem::InferencesFull(self.inferences.most()))
    }

    /// How long a request may take where its route does not say.
    pub(crate) fn timeout(&self) -> Duration {
        self.limits.timeout
    }

    /// How long a queue may be full before this server calls itself unready.
    pub(crate) fn unready_after(&self) -> Duration {
        self.limits.unready_after
    }

    /// Why this server should get no requests now, if its queue is the reason: a sentence.
    pub(crate) fn unready(&self) -> Option<String> {
        let lasted = self.instances.saturated_for();
        (lasted >= self.limits.unready_after)
            .then(|| format!("saturated: the line for an instance has been full for {} s", lasted.as_secs()))
    }
}
