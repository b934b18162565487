//! A client's request to a function's answer: admission, the body's cap, the deadline, and the error mapping.
//!
//! Everything a request holds (permits, counters, the guest) lives in its future or its answer's body, so
//! that a client who leaves frees it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::router::{Router, Target, static_response};
use crate::admission::body::{Bodies, BufferedBody, DrainOnDrop};
use crate::admission::concurrency_limit::ConcurrencyLimit;
use crate::admission::deadline;
use crate::admission::keys::{self, Client, Keys};
use crate::admission::queue_wait::QueueWaitEstimator;
use crate::functions::loader::Services;
use crate::oip::endpoint::Endpoint;
use crate::oip::{self, Inference};
use crate::problem::Problem;
use crate::request_recorder::RequestRecorder;
use crate::server_timing;
use crate::tracked_body::TrackedBody;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::saturation::Saturation;
use modelfn_telemetry::traces::{self, Trace, Traces};
use modelfn_wasm::function::{Function, FunctionResponse, Phases};

/// What the answer's body is made of, whoever made it.
pub type ResponseBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All that a request needs, whichever way it comes.
pub struct Service {
    current: RwLock<Arc<AppState>>,
    keys: Option<Arc<Keys>>,
    limits: RequestLimits,
    bodies: Bodies,
    room: ConcurrencyLimit,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    saturation: Saturation,
    queue_wait: QueueWaitEstimator,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
}

/// What answers requests. A reload replaces it as a whole; a request ends with what it started with.
pub struct AppState {
    /// The manifest's routes.
    pub router: Router,
    /// What is below `/v2`.
    pub inference: Inference,
}

/// What requests may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Instances that live at the same time.
    pub instances: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Inferences without a function in flight.
    pub inferences: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of all bodies in flight.
    pub bodies: usize,
    /// From the head of a request to the end of its answer.
    pub timeout: Duration,
    /// How long a queue may be full before this server calls itself unready.
    pub unready_after: Duration,
}

impl Service {
    /// A service that serves `state` and records to `services`. Without keys everyone is let in.
    pub fn new(state: AppState, limits: RequestLimits, services: Services) -> Self {
        let Services { metrics, keys, traces, .. } = services;
        Service {
            current: RwLock::new(Arc::new(state)),
            keys,
            limits,
            bodies: Bodies::new((limits.body, limits.bodies), &metrics),
            room: ConcurrencyLimit::new(limits.inferences),
            slots: Arc::new(Semaphore::new(limits.instances)),
            waiting: AtomicUsize::new(0),
            saturation: Saturation::default(),
            queue_wait: QueueWaitEstimator::default(),
            metrics,
            traces,
        }
    }

    /// Where it records.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers with `new` from the next request on.
    pub fn replace(&self, new: AppState) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }

    /// Why it should get no requests now, if so: for who reads the probes.
    pub(crate) fn unready(&self) -> Option<String> {
        // Nobody waits where a slot is free; and without requests nobody else would find out.
        if self.slots.available_permits() > 0 {
            self.saturation.shrank(0, self.limits.waiting);
        }
        let lasted = self.saturation.lasted();
        if lasted >= self.limits.unready_after {
            return Some(format!("saturated: the line for an instance has been full for {} s", lasted.as_secs()));
        }
        self.current().inference.unready(self.limits.unready_after)
    }

    fn current(&self) -> Arc<AppState> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers one request; what fails becomes an answer too.
    pub async fn respond<B>(&self, mut request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        let id = take_request_id(request.headers_mut());
        let trace = self.traces.as_ref().map(|traces| traces.request(&request));
        // Of the highest level, so that no filter takes the id off a line that it lets through.
        let span = tracing::error_span!(
            "request",
            id = id.to_str().unwrap_or_default(),
            method = %request.method(),
            path = request.uri().path(),
            key = tracing::field::Empty,
            trace_id = trace.as_ref().map(|trace| tracing::field::display(trace.trace_id()))
        );
        let request = DrainOnDrop::wrap(request, self.metrics.admission.received());
        let answer = tracing::Instrument::instrument(self.route(request, started), span);
        let mut response = match trace {
            Some(trace) => Box::pin(trace.scope(answer)).await,
            None => answer.await,
        };
        server_timing::add(&mut response, started.elapsed());
        response.headers_mut().insert(REQUEST_ID.clone(), id);
        response
    }

    async fn route(&self, mut request: Request<DrainOnDrop>, started: Instant) -> Response<ResponseBody> {
        let current = self.current();
        let routed = current.router.route(&mut request);
        let function = match &routed {
            Ok(Target::Function { function, .. }) => function.component(),
            Ok(Target::Inference) => oip::FUNCTION,
            Ok(Target::Static(_)) => "(static)",
            Err(_) => "(none)",
        };
        let mut recorder = RequestRecorder::start(&self.metrics, function, started);
        if let Some(trace) = &recorder.trace {
            trace_route(trace, &request, &routed, function);
        }
        let method = request.method().clone();
        let entered = self.identify(&mut request, routed.as_ref().ok()).and_then(|client| {
            recorder.client.clone_from(&client);
            client.map(|client| client.acquire()).transpose()
        });
        let (place, result) = match entered {
            Ok(place) => (place, self.dispatch(request, &routed, &current.inference).await),
            Err(problem) => (None, Err(problem)),
        };
        recorder.end(&result);
        let respond = |problem: Problem| match routed {
            Ok(Target::Inference) => problem.inference_response(),
            _ => problem.response(),
        };
        let response = result.unwrap_or_else(|problem| respond(problem).map(full));
        TrackedBody::wrap(response, &method, (self.metrics.admission.sent(), place)).map(BodyExt::boxed_unsync)
    }

    /// Whose request it is. `None` is everyone: no keys are asked for, or none for this.
    fn identify(
        &self,
        request: &mut Request<DrainOnDrop>,
        target: Option<&Target>,
    ) -> Result<Option<Arc<Client>>, Problem> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let public = target.is_some_and(|target| target.is_public(request));
        let client = if public { Ok(None) } else { keys.find(request.headers()).map(Some) };
        keys::strip(request.headers_mut());
        if let Ok(Some(client)) = &client {
            tracing::Span::current().record("key", client.name());
        }
        client
    }

    async fn dispatch(
        &self,
        request: Request<DrainOnDrop>,
        routed: &Result<Target, String>,
        inference: &Inference,
    ) -> Result<Response<ResponseBody>, Problem> {
        match routed {
            Ok(Target::Function { function, timeout, .. }) => {
                self.call(request, function, timeout.unwrap_or(self.limits.timeout)).await
            }
            Ok(Target::Inference) => self.infer(request, inference).await,
            Ok(Target::Static(response)) => Ok(static_response(response).map(full)),
            Err(path) => Err(Problem::NoRoute(path.clone())),
        }
    }

    async fn infer(
        &self,
        request: Request<DrainOnDrop>,
        inference: &Inference,
    ) -> Result<Response<ResponseBody>, Problem> {
        let _counted = self.metrics.admitted();
        let uri = request.uri().clone();
        let endpoint = Endpoint::parse(uri.path())?;
        let _place = self.room.admit(&endpoint)?;
        let response = inference.answer(endpoint, request, (&self.bodies, self.limits.timeout)).await?;
        Ok(response.map(full))
    }

    /// Who can't be served is told before the body is read; the body is read before a sandbox exists.
    async fn call(
        &self,
        request: Request<DrainOnDrop>,
        function: &Function,
        timeout: Duration,
    ) -> Result<Response<ResponseBody>, Problem> {
        let timeout = deadline::timeout(request.headers(), timeout)?;
        let deadline = Instant::now() + timeout;
        let (head, body) = request.into_parts();
        check_host(&head)?;
        self.bodies.check_announced(&head.headers)?;
        self.check_room(deadline)?;
        let BufferedBody { bytes, charge, took } = self.bodies.read(body, deadline).await?;
        let (slot, waited) = self.admit(deadline, timeout).await?;
        let held = (slot, charge, self.metrics.admitted());
        let FunctionResponse { mut response, phases } =
            function.invoke(Request::from_parts(head, bytes), deadline, held).await?;
        response.extensions_mut().insert(Phases { body: took, admission: waited, ..phases });
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    /// A first look, so that no body is read in vain; [`Service::admit`] decides.
    fn check_room(&self, deadline: Instant) -> Result<(), Problem> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if self.slots.available_permits() > 0 || waiting == 0 {
            return Ok(());
        }
        if waiting >= self.limits.waiting {
            return Err(self.shed());
        }
        let now = Instant::now();
        let needed = self.queue_wait.estimate(now, waiting + self.limits.instances);
        // A quarter of the time is kept in reserve, since not all work is the same.
        let left = deadline.saturating_duration_since(now) / 4 * 3;
        if needed > left { Err(Problem::DeadlineUnreachable(needed)) } else { Ok(()) }
    }

    /// Waits for a free instance, in line with at most `waiting` others and until the deadline at most.
    /// Returns how long that was.
    async fn admit(&self, deadline: Instant, timeout: Duration) -> Result<(OwnedSemaphorePermit, Duration), Problem> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            self.metrics.waited_for_admission(Duration::ZERO);
            return Ok((slot, Duration::ZERO));
        }
        let place = QueueSlot::take(&self.waiting, self.limits.waiting).ok_or_else(|| self.shed())?;
        let (waiting, started) = (self.metrics.admission.waiting(), Instant::now());
        let slot = tokio::time::timeout_at(deadline.into(), self.slots.clone().acquire_owned()).await;
        drop((place, waiting));
        self.saturation.shrank(self.waiting.load(Ordering::Relaxed), self.limits.waiting);
        let waited = started.elapsed();
        self.metrics.waited_for_admission(waited);
        traces::phase("admission", started);
        match slot {
            Ok(Ok(slot)) => {
                self.queue_wait.turn(Instant::now(), self.waiting.load(Ordering::Relaxed));
                Ok((slot, waited))
            }
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Problem::NoInstance(timeout)),
        }
    }

    fn shed(&self) -> Problem {
        self.saturation.refused();
        Problem::QueueFull(self.limits.waiting)
    }
}

/// Guests are told whom a request was for, so that somebody must have said it.
fn check_host(head: &http::request::Parts) -> Result<(), Problem> {
    let host = head.headers.get(HOST).is_some_and(|host| host.to_str().is_ok());
    if host || head.uri.authority().is_some() { Ok(()) } else { Err(Problem::NoHost) }
}

/// The route's pattern, for the span's name.
fn trace_route(trace: &Trace, request: &Request<DrainOnDrop>, routed: &Result<Target, String>, function: &str) {
    let pattern = match routed {
        Ok(Target::Inference) => match Endpoint::parse(request.uri().path()) {
            Ok(endpoint) => endpoint.pattern(),
            Err(_) => return,
        },
        Ok(Target::Function { .. } | Target::Static(_)) => {
            let matched = request.headers().get("spin-matched-route").and_then(|route| route.to_str().ok());
            matched.unwrap_or_default()
        }
        Err(_) => return,
    };
    trace.routed(request.method(), pattern, function);
}

/// A place in the line of those who wait.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<QueueSlot<'a>> {
        let more = |n| (n < most).then_some(n + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| QueueSlot(waiting))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The client's own id when it is short and plain, else a new one.
fn take_request_id(headers: &mut HeaderMap) -> HeaderValue {
    let plain = |value: &HeaderValue| {
        (1..=64).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    let id = headers.get(&REQUEST_ID).filter(|value| plain(value)).cloned().unwrap_or_else(new_request_id);
    headers.insert(REQUEST_ID.clone(), id.clone());
    id
}

/// Unique in this process, and hardly twice among others: start time and a counter.
fn new_request_id() -> HeaderValue {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    static START: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32) ^ u64::from(std::process::id())
    });
    let id = format!("{:016x}-{:x}", *START, COUNTER.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).expect("hex digits make a header value")
}

fn full(body: Full<Bytes>) -> ResponseBody {
    body.map_err(|never| match never {}).boxed_unsync()
}
