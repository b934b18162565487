//! Probes and metrics, on a port and a thread of their own: they answer while every core computes.
//!
//! - `GET /livez`: 200 while the process runs.
//! - `GET /readyz`: 200 between the end of start-up and the start of the drain, else 503.
//! - `GET /metrics`: OpenMetrics text.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Whether this server wants requests.
#[derive(Default)]
pub struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Start-up has ended.
    pub fn ready(&self) {
        self.0.store(READY, Ordering::Release);
    }

    /// No more requests, please.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Acquire) {
            STARTING => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            READY => (StatusCode::OK, "ready\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        }
    }
}

/// Serves the admin port from a new thread, until the process ends.
///
/// # Errors
///
/// The thread can't be made.
pub fn spawn(listener: std::net::TcpListener, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, metrics, readiness).await,
                Err(e) => tracing::error!("the admin port is not served: {e}"),
            }
        });
    })?;
    Ok(())
}

async fn serve(listener: TcpListener, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        let service = service_fn(move |request: Request<_>| {
            let response = answer(request.method(), request.uri().path(), (&metrics, &readiness));
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(5));
            if let Err(e) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("admin connection: {e}");
            }
        });
    }
}

fn answer(method: &Method, path: &str, (metrics, readiness): (&Metrics, &Readiness)) -> Response<Full<Bytes>> {
    let (status, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "alive\n".into()),
        (&Method::GET | &Method::HEAD, "/readyz") => {
            let (status, text) = readiness.answer();
            (status, text.into())
        }
        (&Method::GET | &Method::HEAD, "/metrics") => return openmetrics(metrics.text()),
        (_, "/livez" | "/readyz" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into()),
        _ => (StatusCode::NOT_FOUND, "this port has /livez, /readyz and /metrics\n".into()),
    };
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn openmetrics(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
