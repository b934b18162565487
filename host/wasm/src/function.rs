//! A function: one component, prepared once, and one fresh instance of it for each request.
//!
//! The guest runs in a task of its own, so that it can go on writing its body after the head was sent. Dropping
//! the answer (the client left) ends the guest; so does its deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::oneshot;
use wasmtime::component::{Resource, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

pub use super::body::ResponseBody;
use super::body::{Guest, Running};
pub use super::code::{Code, HostLinker};
use super::poll_timer::PollTimer;
pub use super::state::Phases;
use super::state::State;
use modelfn_nn::registry::Registry;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces::{self, Trace};

/// What a guest gets after its deadline to answer a `timeout` from wasi-nn by itself.
pub const GRACE: Duration = Duration::from_millis(100);

/// What one host call may copy out of a guest, beyond its tensors.
const HOSTCALL_BYTES: usize = 1 << 20;

/// What the manifest says of a component.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id.
    pub component: Arc<str>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Folders it sees, read-only.
    pub mounts: Vec<Mount>,
    /// Registry models that it may load by name.
    pub models: Arc<[String]>,
    /// Whether it may load graphs from its own bytes.
    pub allow_load: bool,
    /// What one request may use.
    pub limits: Limits,
}

/// A folder of the host as a guest sees it.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where it is.
    pub source: std::path::PathBuf,
    /// The absolute path in the guest.
    pub destination: String,
}

/// What one request may use, beyond time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Linear memory, in bytes, over all instances of the component.
    pub memory: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Bytes of tensors that the host holds for the guest.
    pub tensor_bytes: usize,
}

/// Why there is no answer from the guest: one variant for each different reaction.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// It ran into the wall-clock deadline.
    #[error("the function did not answer within {0:?}")]
    Deadline(Duration),
    /// It wanted more memory, table or tensor space than a request may use.
    #[error("the function ran out of memory: {0}")]
    OutOfMemory(String),
    /// No slot, or no place in a model's queue: come back later.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// It wants a model that it may use, but that could not be loaded.
    #[error("model '{0}' could not be loaded; this server is not ready")]
    NoModel(String),
    /// It trapped or failed to start. The text is for the log, not for the client.
    #[error("the function failed: {0}")]
    Trapped(String),
    /// It ended without an answer.
    #[error("the function ended without an answer")]
    NoAnswer,
    /// It answered with an error instead of a response.
    #[error("the function answered with an error: {0}")]
    Refused(String),
}

impl InvokeError {
    /// Its variant's name.
    fn kind(&self) -> &'static str {
        match self {
            InvokeError::Deadline(_) => "Deadline",
            InvokeError::OutOfMemory(_) => "OutOfMemory",
            InvokeError::Overloaded(_) => "Overloaded",
            InvokeError::Trapped(_) => "Trapped",
            InvokeError::NoAnswer => "NoAnswer",
            InvokeError::Refused(_) => "Refused",
            InvokeError::NoModel(_) => "NoModel",
        }
    }
}

/// A component that is ready to answer.
pub struct Function {
    code: Code,
    settings: Settings,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
}

/// A guest's answer, and what it took until its head was there.
pub struct Answer {
    /// Its body goes on while the guest writes it.
    pub response: Response<ResponseBody>,
    /// Without what happens after the head.
    pub phases: Phases,
}

impl Function {
    /// The function that `code` is with these settings.
    pub fn new(code: Code, settings: Settings, (registry, metrics): (Arc<Registry>, Arc<Metrics>)) -> Function {
        Function { code, settings, registry, metrics }
    }

    /// The component's id in the manifest.
    pub fn component(&self) -> &str {
        &self.settings.component
    }

    /// Makes an instance and drops it, as each request does: the first one pays for page faults, and finds a
    /// component that can't be instantiated.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`].
    pub async fn warm(&self) -> Result<(), InvokeError> {
        let trapped = |e: wasmtime::Error| InvokeError::Trapped(format!("{e:#}"));
        let mut store = self.store(Instant::now(), Arc::default()).map_err(trapped)?;
        let result = self.code.get().map_err(trapped)?.instantiate_async(&mut store).await;
        result.map(drop).map_err(|error| classify(error, store.data().limiter.refused))
    }

    /// Answers one request with a new instance, which holds `slot` until it has ended.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`]. What fails after the head was sent breaks off the body and is logged here.
    pub async fn invoke(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
        slot: impl Send + 'static,
    ) -> Result<Answer, InvokeError> {
        let head = Arc::new(InvocationProgress::default());
        let (run, mut answers) =
            self.prepare(request, deadline, head.clone()).map_err(|e| InvokeError::Trapped(format!("{e:#}")))?;
        let trace = run.trace.clone();
        let run = async move {
            let result = run.finish().await;
            drop(slot);
            result
        };
        let mut run: Running = match trace {
            Some(trace) => Box::pin(trace.scope(run)),
            None => Box::pin(run),
        };
        // Until there is a head the guest runs in its caller's task: most have ended then but for cleaning up, and a
        // task of its own would cost two more changes of threads.
        let answer = tokio::select! {
            biased;
            answer = &mut answers => answer,
            // After an answer a run yields before it ends, so that one which ends here has none.
            ended = &mut run => return Err(ended.err().unwrap_or(InvokeError::NoAnswer)),
        };
        match answer {
            Ok(Ok(response)) if response.status().is_informational() => {
                Err(InvokeError::Refused(format!("status {} is not an answer", response.status())))
            }
            Ok(Ok(response)) => {
                let phases = *head.phases();
                Ok(Answer { response: ResponseBody::wrap(response, Guest::spawn(run)), phases })
            }
            Ok(Err(code)) => Err(InvokeError::Refused(format!("{code:?}"))),
            Err(_) => Err(run.await.err().unwrap_or(InvokeError::NoAnswer)),
        }
    }

    fn prepare(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
        head: Arc<InvocationProgress>,
    ) -> wasmtime::Result<(Invocation, Answers)> {
        let (sender, receiver) = oneshot::channel();
        let mut store = self.store(deadline, head.clone())?;
        let mut wasi = store.data_mut().http();
        let (mut parts, body) = request.into_parts();
        let trace = traces::current().map(|trace| trace.guest(&mut parts, &self.settings.component));
        let request = wasi.new_incoming_request(Scheme::Http, Request::from_parts(parts, Full::new(body)))?;
        let sent = head.clone();
        let answer = wasi.new_response_outparam_from_callback(move |answer| {
            sent.sent.store(true, Ordering::Relaxed);
            // The client may have left meanwhile; then nobody is to be told.
            let _ = sender.send(answer);
        })?;
        let (component, metrics) = (self.settings.component.clone(), self.metrics.clone());
        let run =
            Invocation { pre: self.code.get()?, store, request, answer, deadline, head, component, metrics, trace };
        Ok((run, receiver))
    }

    fn store(&self, deadline: Instant, head: Arc<InvocationProgress>) -> wasmtime::Result<Store<State>> {
        let mut store =
            Store::new(self.code.engine(), State::new(&self.settings, self.registry.clone(), (deadline, head))?);
        store.limiter(|state| &mut state.limiter);
        // What one host call may copy out of the guest.
        store.set_hostcall_fuel(self.settings.limits.tensor_bytes.saturating_add(HOSTCALL_BYTES));
        // A guest that computes gives its thread back at each tick; there its deadline finds it.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }
}

type Answers = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// What a request's task and its caller both know of the answer's head.
#[derive(Default)]
pub(super) struct InvocationProgress {
    sent: AtomicBool,
    phases: Mutex<Phases>,
}

impl InvocationProgress {
    pub(super) fn phases(&self) -> MutexGuard<'_, Phases> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's store, until it has ended.
struct Invocation {
    pre: ProxyPre<State>,
    store: Store<State>,
    request: Resource<HostIncomingRequest>,
    answer: Resource<HostResponseOutparam>,
    deadline: Instant,
    head: Arc<InvocationProgress>,
    component: Arc<str>,
    metrics: Arc<Metrics>,
    trace: Option<Trace>,
}

impl Invocation {
    async fn finish(self) -> Result<(), InvokeError> {
        let Invocation { pre, mut store, request, answer, deadline, head, component, metrics, trace } = self;
        let (started, mut busy) = (Instant::now(), Duration::ZERO);
        let call = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let took = started.elapsed();
            head.phases().instantiate = took;
            if let Some(trace) = &trace {
                trace.instantiated(started, took);
            }
            instance.wasi_http_incoming_handler().call_handle(&mut store, request, answer).await
        };
        let ended = {
            let call = std::pin::pin!(call);
            tokio::time::timeout_at((deadline + GRACE).into(), PollTimer::new(call, &mut busy)).await
        };
        store.data_mut().abort_unfinished_bodies();
        // The answer goes out first; cleaning up takes longer than writing it.
        tokio::task::yield_now().await;
        let limiter = &store.data().limiter;
        metrics.guest_ended(head.phases().instantiate, started.elapsed(), limiter.peak_memory);
        metrics.guest_used(&component, busy);
        let result = match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(classify(error, limiter.refused)),
            Err(_) => Err(InvokeError::Deadline(started.elapsed())),
        };
        if let Some(trace) = &trace {
            trace.end(result.as_ref().err().map(InvokeError::kind));
        }
        if let (true, Err(error)) = (head.sent.load(Ordering::Relaxed), &result) {
            tracing::warn!(error = %error, "the function failed after the head of its answer was sent");
        }
        result
    }
}

fn classify(error: wasmtime::Error, refused: bool) -> InvokeError {
    if error.is::<PoolConcurrencyLimitError>() {
        return InvokeError::Overloaded(error.to_string());
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return InvokeError::OutOfMemory("it holds too many handles (streams, fields, tensors ...)".to_owned());
    }
    match error.downcast::<InvokeError>() {
        Ok(ours) => ours,
        Err(error) if refused => {
            InvokeError::OutOfMemory(format!("memory or table growth was refused; then: {error:#}"))
        }
        Err(error) => InvokeError::Trapped(format!("{error:#}")),
    }
}
