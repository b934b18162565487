//! A function: one component that is compiled and linked once, and instantiated anew for each request.
//!
//! Once its response has a head, the guest goes on in a task of its own and writes the body. The guest is ended when
//! its response is dropped, as when the client disconnects, and when its deadline passes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use modelfn_nn::registry::Registry;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

pub use super::body::ResponseBody;
use super::body::{GuestFuture, GuestTask};
pub use super::code::{Code, HostLinker};
pub use super::error::InvokeError;
use super::invocation::Invocation;
use super::phases::InvocationProgress;
pub use super::phases::Phases;
pub use super::settings::{FunctionSettings, Mount, SandboxLimits};
use super::state::State;

/// Bytes that one host call may copy out of a guest, in addition to the tensors of the request.
const HOSTCALL_BYTES: usize = 1 << 20;

/// A component that is ready to be invoked.
pub struct Function {
    code: Code,
    settings: FunctionSettings,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
}

/// A guest's response, and how long it took until its head was there.
pub struct FunctionResponse {
    /// The guest may still be writing the body.
    pub response: Response<ResponseBody>,
    /// Phases up to the response's head. [`Phases::body`] and [`Phases::admission`] are the server's, and zero here.
    pub phases: Phases,
}

/// Where the guest's response arrives once the guest has set it.
type ResponseReceiver = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;

impl Function {
    /// A function that runs `code` and finds its models in `registry`.
    pub fn new(code: Code, settings: FunctionSettings, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Function {
        Function { code, settings, registry, metrics }
    }

    /// The component's id in the manifest.
    pub fn component(&self) -> &str {
        &self.settings.component
    }

    /// Instantiates the component once and drops the instance. The first instantiation pays for page faults, and finds
    /// a component that can't be instantiated.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`].
    pub async fn warm(&self) -> Result<(), InvokeError> {
        let trapped = |e: wasmtime::Error| InvokeError::Trapped(format!("{e:#}"));
        let mut store = self.store(Instant::now(), Arc::default()).map_err(trapped)?;
        let result = self.code.get().map_err(trapped)?.instantiate_async(&mut store).await;
        result.map(drop).map_err(|error| InvokeError::from_wasmtime(error, store.data().limiter.growth_refused))
    }

    /// Handles one request with a new instance. `permit` is dropped once the instance is gone.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`]. A guest that fails after the response's head was sent aborts the body instead.
    pub async fn invoke(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
        permit: impl Send + 'static,
    ) -> Result<FunctionResponse, InvokeError> {
        let progress = Arc::new(InvocationProgress::default());
        let (invocation, mut response) =
            self.prepare(request, deadline, progress.clone()).map_err(|e| InvokeError::Trapped(format!("{e:#}")))?;
        let mut guest = guest_future(invocation, permit);
        // The guest runs in its caller's task until there is a head: by then most guests have only to clean up, and a
        // task of their own would cost two more thread switches.
        let received = tokio::select! {
            biased;
            received = &mut response => received,
            // A guest that has set its response yields before it ends, so one that ends here has set none.
            ended = &mut guest => return Err(ended.err().unwrap_or(InvokeError::NoResponse)),
        };
        match received {
            Ok(Ok(response)) if response.status().is_informational() => {
                Err(InvokeError::Refused(format!("status {} is not an answer", response.status())))
            }
            Ok(Ok(response)) => {
                let phases = *progress.phases();
                Ok(FunctionResponse { response: ResponseBody::wrap(response, GuestTask::spawn(guest)), phases })
            }
            Ok(Err(code)) => Err(InvokeError::Refused(format!("{code:?}"))),
            Err(_) => Err(guest.await.err().unwrap_or(InvokeError::NoResponse)),
        }
    }

    fn prepare(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
        progress: Arc<InvocationProgress>,
    ) -> wasmtime::Result<(Invocation, ResponseReceiver)> {
        let (sender, receiver) = oneshot::channel();
        let mut store = self.store(deadline, progress.clone())?;
        let mut wasi = store.data_mut().http();
        let (mut parts, body) = request.into_parts();
        let trace = traces::current().map(|trace| trace.guest(&mut parts, &self.settings.component));
        let request = wasi.new_incoming_request(Scheme::Http, Request::from_parts(parts, Full::new(body)))?;
        let on_response = progress.clone();
        let response = wasi.new_response_outparam_from_callback(move |response| {
            on_response.start_response();
            // The receiver is gone when the client disconnected meanwhile.
            let _ = sender.send(response);
        })?;
        let invocation = Invocation {
            pre: self.code.get()?,
            store,
            request,
            response,
            deadline,
            progress,
            component: self.settings.component.clone(),
            metrics: self.metrics.clone(),
            trace,
        };
        Ok((invocation, receiver))
    }

    fn store(&self, deadline: Instant, progress: Arc<InvocationProgress>) -> wasmtime::Result<Store<State>> {
        let state = State::new(&self.settings, self.registry.clone(), deadline, progress)?;
        let mut store = Store::new(self.code.engine(), state);
        store.limiter(|state| &mut state.limiter);
        // Host-call fuel bounds the bytes that one host call copies out of the guest.
        store.set_hostcall_fuel(self.settings.limits.tensor_bytes.saturating_add(HOSTCALL_BYTES));
        // A computing guest yields its thread at each epoch tick, where its timeout can drop it.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }
}

/// The future that runs the guest, within the guest's span if requests are traced. Holds `permit` until it has ended.
fn guest_future(invocation: Invocation, permit: impl Send + 'static) -> GuestFuture {
    let trace = invocation.trace.clone();
    let run = async move {
        let result = invocation.run().await;
        drop(permit);
        result
    };
    match trace {
        Some(trace) => Box::pin(trace.scope(run)),
        None => Box::pin(run),
    }
}
