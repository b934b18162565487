//! One request, from its head to its response's head: identify, route, admit, dispatch, record.
//!
//! Everything that a request holds (permits, counters, the guest) lives in its future or its response's body, so that a
//! client who disconnects frees it.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::traces::{Trace, Traces};
use modelfn_wasm::function::{Function, FunctionResponse, Phases};
use tempfile::TempDir;

use crate::admission::concurrency_limit::Permit;
use crate::admission::drain_on_drop::DrainOnDrop;
use crate::admission::keys::Client;
use crate::admission::{Admission, Admitted, ComponentShare, Flow, Lane, RequestLimits};
use crate::build_failure::BuildFailure;
use crate::host_header;
use crate::model_page::PageRequest;
use crate::oip::rest::{self, Endpoint};
use crate::oip::{self, Inference};
use crate::problem::Problem;
use crate::readiness::Condition;
use crate::request_id;
use crate::request_recorder::RequestRecorder;
use crate::response_body::ResponseBody;
use crate::router::{MATCHED_ROUTE, Router, Target, static_response};
use crate::server_timing;
use crate::services::Services;
use crate::tracked_body::TrackedBody;
use crate::unread_responses::UnreadResponses;

/// What serves requests of all connections.
pub struct Service {
    app: RwLock<Arc<AppState>>,
    admission: Admission,
    unread: UnreadResponses,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    build_failure: Arc<BuildFailure>,
}

/// What requests are served with. A reload replaces it as a whole; a request ends with what it started with.
pub struct AppState {
    /// The manifest's routes.
    pub router: Router,
    /// What is below `/v2`.
    pub inference: Inference,
    /// Who shares the instances.
    pub(crate) shares: Vec<ComponentShare>,
    /// Folders that functions of models see, which go with the last request that was begun with this.
    pub(crate) folders: Mutex<Vec<TempDir>>,
}

impl Service {
    /// A service that serves `app` and records to `services`. Without keys everyone is let in.
    pub fn new(app: AppState, limits: RequestLimits, services: Services) -> Self {
        let Services { metrics, memory, keys, traces, build_failure, .. } = services;
        let admission = Admission::new(limits, keys, &memory, metrics.clone());
        admission.share_among(&app.shares);
        let unread = UnreadResponses::new(memory, limits.unread_timeout);
        Service { app: RwLock::new(Arc::new(app)), admission, unread, metrics, traces, build_failure }
    }

    /// Serves `app` from the next request on.
    pub fn replace(&self, app: AppState) {
        self.admission.share_among(&app.shares);
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(app);
    }

    /// Removes what exists on disk only while this serves. The process may end before all that holds it is dropped.
    pub fn end(&self) {
        self.app().folders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A check for [`Readiness`](crate::readiness::Readiness).
    pub fn readiness_check(self: &Arc<Self>) -> impl Fn() -> Condition + Send + Sync + use<> {
        let service: Weak<Self> = Arc::downgrade(self);
        move || service.upgrade().map(|service| service.condition()).unwrap_or_default()
    }

    fn condition(&self) -> Condition {
        let app = self.app();
        let unready = self.admission.unready().or_else(|| app.inference.unready(self.admission.unready_after()));
        Condition { unready, left_out: app.inference.left_out() }
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn app(&self) -> Arc<AppState> {
        self.app.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses a request before anything else is done for it.
    pub(crate) fn refuse<B>(&self, request: &Request<B>, problem: &Problem) -> Response<TrackedBody> {
        if let Some(reason) = problem.rejection() {
            self.metrics.admission.rejected(reason);
        }
        let response = if rest::has(request.uri().path()) { problem.inference_response() } else { problem.response() };
        TrackedBody::wrap(response.map(full), request.method(), self.metrics.admission.sent(), None)
    }

    /// Serves one request. A failure becomes a response, too.
    pub async fn respond<B>(&self, mut request: Request<B>) -> Response<TrackedBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        let id = request_id::assign(request.headers_mut());
        let trace = self.traces.as_ref().map(|traces| traces.request(&request));
        // Of the highest level, so that no filter removes the id from a line that it lets through.
        let span = tracing::error_span!(
            "request",
            id = id.to_str().unwrap_or_default(),
            method = %request.method(),
            path = request.uri().path(),
            key = tracing::field::Empty,
            trace_id = trace.as_ref().map(|trace| tracing::field::display(trace.trace_id()))
        );
        let request = DrainOnDrop::wrap(request, self.metrics.admission.received());
        let response = tracing::Instrument::instrument(self.route(request, started), span);
        let mut response = match trace {
            Some(trace) => Box::pin(trace.scope(response)).await,
            None => response.await,
        };
        server_timing::add(&mut response, started.elapsed());
        request_id::add(&mut response, id);
        response
    }

    async fn route(&self, mut request: Request<DrainOnDrop>, started: Instant) -> Response<TrackedBody> {
        // Not recorded: it is no response of what is served, and the page asks for itself again and again.
        if let Some(page) = self.build_failure.response(request.headers()) {
            let page = page.map(|bytes| full(bytes.into()));
            return TrackedBody::wrap(page, request.method(), self.metrics.admission.sent(), None);
        }
        let app = self.app();
        let routed = app.router.route(&mut request);
        let function = match &routed {
            Ok(Target::Function { function, .. }) => function.component(),
            Ok(Target::Inference) => oip::FUNCTION,
            Ok(Target::Page(_)) => "(page)",
            Ok(Target::Static(_)) => "(static)",
            Err(_) => "(none)",
        };
        let mut recorder = RequestRecorder::start(&self.metrics, function, started);
        if let Some(trace) = &recorder.trace {
            trace_route(trace, &request, &routed, function);
        }
        let method = request.method().clone();
        let (quota, result) = match self.enter(&mut request, &routed, &mut recorder) {
            Ok(quota) => {
                let client = recorder.client.as_ref().map(|client| client.name().into());
                (quota, self.dispatch(request, &routed, client, &app.inference).await)
            }
            Err(problem) => (None, Err(problem)),
        };
        recorder.end(&result);
        let respond = |problem: Problem| match routed {
            Ok(Target::Inference) => problem.inference_response(),
            _ => problem.response(),
        };
        let response = result.unwrap_or_else(|problem| respond(problem).map(full));
        TrackedBody::wrap(response, &method, self.metrics.admission.sent(), quota)
    }

    /// Whom a request is for and from: its host, its key, and the quota of the key's name.
    fn enter(
        &self,
        request: &mut Request<DrainOnDrop>,
        routed: &Result<Target, String>,
        recorder: &mut RequestRecorder<'_>,
    ) -> Result<Option<Permit>, Problem> {
        host_header::check(request)?;
        let is_public = routed.as_ref().is_ok_and(|target| target.is_public(request));
        let client: Option<Arc<Client>> = self.admission.identify(request.headers_mut(), is_public)?;
        recorder.client.clone_from(&client);
        client.map(|client| client.acquire()).transpose()
    }

    async fn dispatch(
        &self,
        request: Request<DrainOnDrop>,
        routed: &Result<Target, String>,
        client: Option<Arc<str>>,
        inference: &Inference,
    ) -> Result<Response<ResponseBody>, Problem> {
        match routed {
            Ok(Target::Function { function, timeout, .. }) => {
                let flow = Flow { component: function.component().clone(), client };
                self.invoke(request, function, flow, timeout.unwrap_or(self.admission.timeout())).await
            }
            Ok(Target::Inference) => self.infer(request, inference).await,
            Ok(Target::Page(page)) => self.show(&request, page, inference),
            Ok(Target::Static(response)) => Ok(static_response(response).map(full)),
            Err(path) => Err(Problem::NoRoute(path.clone())),
        }
    }

    /// A function's request: admission, then a sandbox.
    async fn invoke(
        &self,
        request: Request<DrainOnDrop>,
        function: &Arc<Function>,
        flow: Flow,
        timeout: Duration,
    ) -> Result<Response<ResponseBody>, Problem> {
        let (mut head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let admitted = self.admission.admit(&mut head, body, Lane::Function(flow), timeout).await?;
        let Admitted { body, deadline, body_duration, waited, reservation, permits } = admitted;
        let request = Request::from_parts(head, body);
        let FunctionResponse { mut response, phases } =
            function.invoke(request, deadline, (permits, reservation)).await?;
        response.extensions_mut().insert(Phases { body: body_duration, admission: waited, ..phases });
        Ok(response.map(|body| {
            let body = body.map_err(Into::into);
            // A guest that writes no body to HEAD does not say that GET has none (RFC 9110, 8.6).
            let says_nothing = is_head && body.size_hint().exact() == Some(0);
            if says_nothing { StreamBody::new(BodyStream::new(body)).boxed_unsync() } else { body.boxed_unsync() }
        }))
    }

    /// A page of the server's own.
    fn show(
        &self,
        request: &Request<DrainOnDrop>,
        page: &PageRequest,
        inference: &Inference,
    ) -> Result<Response<ResponseBody>, Problem> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Problem::Method("GET, HEAD"));
        }
        let response = page.respond(inference)?;
        match page {
            // The document is a part of the program, which takes no memory of its own.
            PageRequest::Page => Ok(response.map(|bytes| full(bytes.into()))),
            PageRequest::Card(_) => self.unread.hold(response),
        }
    }

    /// A request below `/v2`: an inference passes admission, everything else is a look at what is loaded.
    async fn infer(
        &self,
        request: Request<DrainOnDrop>,
        inference: &Inference,
    ) -> Result<Response<ResponseBody>, Problem> {
        let (mut head, body) = request.into_parts();
        let endpoint = Endpoint::parse(head.uri.path())?;
        endpoint.check_method(&head.method)?;
        let Endpoint::Infer(named) = endpoint else {
            let _in_flight = self.metrics.admitted();
            return self.unread.hold(rest::describe(inference, &endpoint)?);
        };
        let model = inference.model(&named.model, named.version)?;
        let json_length = rest::json_length(&head.headers)?;
        let admitted = self.admission.admit(&mut head, body, Lane::Inference, self.admission.timeout()).await?;
        rest::infer(inference, model, json_length, admitted).await.map(|response| self.unread.deliver(response))
    }
}

/// Tells the trace which route a request took, for the span's name.
fn trace_route(trace: &Trace, request: &Request<DrainOnDrop>, routed: &Result<Target, String>, function: &str) {
    let pattern = match routed {
        Ok(Target::Inference) => match Endpoint::parse(request.uri().path()) {
            Ok(endpoint) => endpoint.pattern(),
            Err(_) => return,
        },
        Ok(Target::Function { .. } | Target::Static(_)) => {
            let matched = request.headers().get(&MATCHED_ROUTE).and_then(|route| route.to_str().ok());
            matched.map_or("", |route| if route.is_empty() { "/" } else { route })
        }
        Ok(Target::Page(PageRequest::Page)) if request.uri().path() == "/" => "/",
        Ok(Target::Page(PageRequest::Page)) => "/models/{model}",
        Ok(Target::Page(PageRequest::Card(_))) => "/models/{model}/card",
        Err(_) => return,
    };
    trace.routed(request.method(), pattern, function);
}

fn full(body: Full<Bytes>) -> ResponseBody {
    body.map_err(|never| match never {}).boxed_unsync()
}
