//! One invocation of a function: a store and an instance of its own, from the call to the cleanup.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces::Trace;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::error::InvokeError;
use super::phases::InvocationProgress;
use super::poll_timer::PollTimer;
use super::response_outlet::ResponseOutlet;
use super::state::State;

/// How long a guest may go on after its deadline, so that it can still respond to a `timeout` from wasi-nn.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// Everything that one call of a guest needs.
pub(super) struct Invocation {
    pub(super) pre: ProxyPre<State>,
    pub(super) store: Store<State>,
    pub(super) request: Resource<HostIncomingRequest>,
    /// Where the guest puts its response.
    pub(super) response: Resource<HostResponseOutparam>,
    pub(super) deadline: Instant,
    pub(super) progress: Arc<InvocationProgress>,
    pub(super) component: Arc<str>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trace: Option<Trace>,
}

impl Invocation {
    /// Instantiates the component, calls its handler until it returns or its deadline and [`GRACE`] have passed, and
    /// records what it used. What the guest responds leaves by `outlet`.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`].
    pub(super) async fn run(self, outlet: &mut ResponseOutlet) -> Result<(), InvokeError> {
        let Invocation { pre, mut store, request, response, deadline, progress, component, metrics, trace } = self;
        let started = Instant::now();
        let mut busy = Duration::ZERO;
        let call = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let duration = started.elapsed();
            progress.phases().instantiate = duration;
            if let Some(trace) = &trace {
                trace.instantiated(started, duration);
            }
            instance.wasi_http_incoming_handler().call_handle(&mut store, request, response).await
        };
        let ended = {
            let call = std::pin::pin!(call);
            let call = tokio::time::timeout_at((deadline + GRACE).into(), PollTimer::new(call, &mut busy));
            outlet.run(async { call.await.map_err(|_| InvokeError::Deadline(started.elapsed())) }).await
        };
        store.data_mut().abort_unfinished_bodies();
        let limiter = &store.data().limiter;
        metrics.guest_ended(progress.phases().instantiate, started.elapsed(), limiter.peak_memory);
        metrics.guest_used(&component, busy);
        let result = ended
            .and_then(|returned| returned.map_err(|error| InvokeError::from_wasmtime(error, limiter.refused_growth())));
        if let Some(trace) = &trace {
            trace.end(result.as_ref().err().map(InvokeError::kind));
        }
        // The response is sent before the cleanup, which takes longer, and after everything was recorded.
        let flushed = outlet.flush().await;
        result.and(flushed)
    }
}
