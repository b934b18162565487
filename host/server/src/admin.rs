//! Probes, metrics and reloads, on a port and a thread of their own: they work while every core computes.
//!
//! - `GET /livez`: 200 while the process runs.
//! - `GET /readyz`: 200 between the end of start-up and the start of the drain, unless a model is broken or a queue has
//!   been full for too long; else 503. The text says why.
//! - `GET /metrics`: OpenMetrics text.
//! - `POST /reload`: manifest, components and models are read again, as by SIGHUP.
//! - `POST /v2/repository/models/{model}/load`: one model is read again, as Triton's model repository has it.
//!
//! The response to a reload comes when it is done: `{"error": "..."}` and 400 when it was refused and nothing changed.
//! A `POST` needs the header `X-Modelfn-Admin: 1`, see [`cross_site`].

mod cross_site;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{Accepted, Acceptor, ConnectionLimits, TimeoutStream, WithoutDescriptors};
use crate::oip::rest::endpoint::decode;
use crate::readiness::{Condition, Readiness};
use crate::tracked_body::TrackedBody;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::Traffic;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// A request to read files again.
pub struct Reload {
    /// The one model to load again; `None` loads everything again.
    pub model: Option<String>,
    /// Receives the outcome: a sentence for people, whether it succeeded or failed.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// What the admin port shows and changes.
pub struct Admin {
    /// Shown by `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Shown by `/readyz`.
    pub readiness: Arc<Readiness>,
    /// Takes requests to reload, which are served one at a time. Its capacity bounds those that wait.
    pub reloads: mpsc::Sender<Reload>,
}

/// Serves the admin port from a new thread, until the process ends.
///
/// # Errors
///
/// The thread can't be made.
pub fn spawn(listener: std::net::TcpListener, admin: Admin) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, Arc::new(admin)).await,
                Err(e) => tracing::error!("the admin port is not served: {e}"),
            }
        });
    })?;
    Ok(())
}

/// The limits of connections to the admin port. Probes and scrapes are few and short.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    per_address: None,
    header_timeout: Duration::from_secs(5),
    stall: Duration::from_secs(5),
    idle: Duration::from_secs(120),
};

async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let mut acceptor = Acceptor::new(listener, LIMITS, WithoutDescriptors::Serve, admin.metrics.clone());
    let mut server = http1::Builder::new();
    // The time for a head is kept by `ConnectionActivity`.
    server.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEAD);
    loop {
        let Accepted { stream, activity, slot, .. } = acceptor.accept().await;
        let (admin, requests) = (admin.clone(), activity.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (admin, exchange) = (admin.clone(), requests.request(0));
            async move {
                let response =
                    admin.respond(&request).await.map(|body| body.map_err(|never| match never {}).boxed_unsync());
                let response = TrackedBody::wrap(response, request.method(), Traffic::default(), None);
                Ok::<_, Infallible>(response.map(|body| exchange.responded(body)))
            }
        });
        let stream = TimeoutStream::new(stream, activity.clone(), LIMITS);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(e) = ended {
                    tracing::debug!("admin connection: {e}");
                },
                reason = activity.ended(LIMITS) => tracing::debug!("admin connection closed: {reason:?}"),
            }
            drop(slot);
        });
    }
}

impl Admin {
    async fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        let model = path.strip_prefix("/v2/repository/models/").and_then(|rest| rest.strip_suffix("/load"));
        match (method, path) {
            (&Method::GET | &Method::HEAD, "/livez") => text(StatusCode::OK, "alive\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => match self.readiness.condition() {
                Condition { unready: Some(why), .. } => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
                Condition { left_out, .. } => text(StatusCode::OK, ready(&left_out)),
            },
            (&Method::GET | &Method::HEAD, "/metrics") => openmetrics(self.metrics.text()),
            (_, "/livez" | "/readyz" | "/metrics") => not_allowed("GET, HEAD"),
            (&Method::POST, _) if (path == "/reload" || model.is_some()) && cross_site::check(request).is_err() => {
                json(StatusCode::FORBIDDEN, "error", cross_site::REMEDY)
            }
            (&Method::POST, "/reload") => self.reload(None).await,
            (&Method::POST, _) if model.is_some() => self.reload(model).await,
            (_, "/reload") => not_allowed("POST"),
            _ if model.is_some() => not_allowed("POST"),
            _ => text(
                StatusCode::NOT_FOUND,
                "this port has /livez, /readyz, /metrics, /reload and /v2/repository/models/{model}/load\n",
            ),
        }
    }

    /// Reloads everything, or the model of this percent-encoded name.
    async fn reload(&self, model: Option<&str>) -> Response<Full<Bytes>> {
        let model = match model.map(decode).transpose() {
            Ok(model) => model.map(Cow::into_owned),
            Err(problem) => return json(StatusCode::BAD_REQUEST, "error", &problem.to_string()),
        };
        let (reply, done) = oneshot::channel();
        if !self.readiness.is_serving() || self.reloads.try_send(Reload { model, reply }).is_err() {
            return json(StatusCode::SERVICE_UNAVAILABLE, "error", "starting, draining, or busy with other reloads");
        }
        match done.await {
            Ok(Ok(text)) => json(StatusCode::OK, "done", &text),
            Ok(Err(error)) => json(StatusCode::BAD_REQUEST, "error", &error),
            Err(_) => json(StatusCode::SERVICE_UNAVAILABLE, "error", "the server is ending"),
        }
    }
}

/// The text of a server that is ready, but for some models.
fn ready(left_out: &[String]) -> String {
    if left_out.is_empty() { "ready\n".to_owned() } else { format!("ready\nleft out: {}\n", left_out.join(", ")) }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn json(status: StatusCode, key: &str, value: &str) -> Response<Full<Bytes>> {
    respond(status, "application/json", format!("{}\n", serde_json::json!({ key: value })).into())
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("{methods} only\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn openmetrics(text: String) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into())
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
