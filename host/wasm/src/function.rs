//! A function: one component that is compiled and linked once, and instantiated anew for each request.
//!
//! Guests run on threads of their own. A guest is ended when its response is dropped, as when the client disconnects, when
//! its deadline passes, and when its client does not read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use modelfn_telemetry::traces::{self, Trace};
use tokio::sync::oneshot;
use tracing::Instrument;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::body::GuestTask;
pub use super::body::ResponseBody;
pub use super::code::{Code, HostLinker};
pub use super::error::InvokeError;
use super::guest_threads::GuestLane;
use super::invocation::Invocation;
use super::mounts::{MountAccess, OpenMounts};
use super::phases::InvocationProgress;
pub use super::phases::Phases;
use super::response_outlet::{ResponseBounds, ResponseOutlet, ResponseSlot};
pub use super::services::FunctionServices;
pub use super::settings::{FunctionSettings, Mount, SandboxLimits};
use super::state::{Limiter, State};
use super::wasi_nn::Nn;

/// Bytes that one host call may copy out of a guest, in addition to the tensors of the request.
const HOSTCALL_BYTES: usize = 1 << 20;

/// How long the folders of a function may take to answer when it is loaded.
const WARM_UP: Duration = Duration::from_secs(30);

/// A component that is ready to be invoked.
pub struct Function {
    code: Code,
    settings: Arc<FunctionSettings>,
    services: FunctionServices,
    lane: GuestLane,
    mounts: MountAccess,
}

/// A guest's response, and how long it took until its head was there.
pub struct FunctionResponse {
    /// The guest may still be writing the body.
    pub response: Response<ResponseBody>,
    /// Phases up to the response's head. [`Phases::body`] and [`Phases::admission`] are the server's, and zero here.
    pub phases: Phases,
}

/// One request on its way into a sandbox.
struct Call {
    request: Request<Bytes>,
    deadline: Instant,
    progress: Arc<InvocationProgress>,
    slot: ResponseSlot,
    trace: Option<Trace>,
}

impl Function {
    /// A function that runs `code`, with what it shares with others.
    pub fn new(code: Code, settings: FunctionSettings, services: FunctionServices) -> Function {
        let lane = services.threads.lane(&settings.component);
        let mounts = MountAccess::of(&settings.mounts);
        Function { code, settings: settings.into(), services, lane, mounts }
    }

    /// The component's id in the manifest.
    pub fn component(&self) -> &Arc<str> {
        &self.settings.component
    }

    /// Instantiates the component once and drops the instance. The first instantiation pays for page faults, and finds
    /// a component that can't be instantiated.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`].
    pub async fn warm(&self) -> Result<(), InvokeError> {
        let deadline = Instant::now() + WARM_UP;
        let mounts = self.mounts.open(&self.settings, deadline).await?;
        let mut store = self.store(mounts, deadline, Arc::default()).map_err(trapped)?;
        let result = self.code.get().map_err(trapped)?.instantiate_async(&mut store).await;
        result.map(drop).map_err(|error| InvokeError::from_wasmtime(error, store.data().limiter.refused_growth()))
    }

    /// Handles one request with a new instance. `permit` is dropped once the instance is gone.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`]. A guest that fails after the response's head was sent aborts the body instead.
    pub async fn invoke(
        self: &Arc<Self>,
        request: Request<Bytes>,
        deadline: Instant,
        permit: impl Send + 'static,
    ) -> Result<FunctionResponse, InvokeError> {
        let (mut parts, body) = request.into_parts();
        let trace = traces::current().map(|trace| trace.guest(&mut parts, &self.settings.component));
        let (progress, slot) = (Arc::new(InvocationProgress::default()), ResponseSlot::default());
        let (sender, head) = oneshot::channel();
        let bounds = ResponseBounds { stall: self.services.response_stall, memory: self.services.memory.clone() };
        let outlet = ResponseOutlet::new(slot.clone(), sender, bounds);
        let request = Request::from_parts(parts, body);
        let call = Call { request, deadline, progress: progress.clone(), slot, trace: trace.clone() };
        let guest = self.clone().run_guest(call, outlet, permit).in_current_span();
        let task = GuestTask::new(match trace {
            Some(trace) => self.lane.spawn(trace.scope(guest)),
            None => self.lane.spawn(guest),
        });
        // The sender is dropped without a message only if a host call panicked.
        let response = head.await.map_err(|_| InvokeError::Trapped("a host call panicked".to_owned()))??;
        let phases = *progress.phases();
        Ok(FunctionResponse { response: ResponseBody::wrap(response, task), phases })
    }

    /// The guest's life, on the threads for guests. Holds `permit` until the instance is gone.
    async fn run_guest(self: Arc<Self>, call: Call, mut outlet: ResponseOutlet, permit: impl Send) {
        let result = match self.mounts.open(&self.settings, call.deadline).await {
            Ok(mounts) => match self.prepare(call, mounts) {
                Ok(invocation) => invocation.run(&mut outlet).await,
                Err(error) => Err(InvokeError::from_wasmtime(error, None)),
            },
            Err(error) => Err(error),
        };
        drop(permit);
        if let Err(error) = outlet.fail(result.err().unwrap_or(InvokeError::NoResponse))
            && !matches!(error, InvokeError::NoResponse)
        {
            tracing::warn!(error = %error, "the function failed after the head of its answer was sent");
        }
        outlet.finish().await;
    }

    fn prepare(&self, call: Call, mounts: OpenMounts) -> wasmtime::Result<Invocation> {
        let Call { request, deadline, progress, slot, trace } = call;
        let mut store = self.store(mounts, deadline, progress.clone())?;
        let mut wasi = store.data_mut().http();
        let request = wasi.new_incoming_request(Scheme::Http, request.map(Full::new))?;
        let response = wasi.new_response_outparam_from_callback(move |response| slot.set(response))?;
        Ok(Invocation {
            pre: self.code.get()?,
            store,
            request,
            response,
            deadline,
            progress,
            component: self.settings.component.clone(),
            metrics: self.services.metrics.clone(),
            trace,
        })
    }

    fn store(
        &self,
        mounts: OpenMounts,
        deadline: Instant,
        progress: Arc<InvocationProgress>,
    ) -> wasmtime::Result<Store<State>> {
        let limiter = Limiter::new(self.settings.limits, &self.services.memory)?;
        let nn = Nn::new(&self.settings, &self.services, deadline, progress);
        let mut store = Store::new(self.code.engine(), State::new(mounts, limiter, nn));
        store.limiter(|state| &mut state.limiter);
        // Host-call fuel bounds the bytes that one host call copies out of the guest.
        store.set_hostcall_fuel(self.settings.limits.tensor_bytes.saturating_add(HOSTCALL_BYTES));
        // A computing guest yields its thread at each epoch tick, where its timeout can drop it.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }
}

fn trapped(error: wasmtime::Error) -> InvokeError {
    InvokeError::Trapped(format!("{error:#}"))
}
