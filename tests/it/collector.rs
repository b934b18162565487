//! An OTLP collector for tests, which takes spans over HTTP and keeps them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

use crate::harness::Setup;

/// One request that arrived.
#[derive(Clone)]
pub struct Export {
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: bytes::Bytes,
}

/// A collector on its own port and thread, so that a test may block.
pub struct Collector {
    pub endpoint: String,
    exports: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    /// A collector that responds.
    pub fn start() -> Collector {
        Collector::spawn(true)
    }

    /// A collector that reads requests and never responds.
    pub fn silent() -> Collector {
        Collector::spawn(false)
    }

    fn spawn(answers: bool) -> Collector {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let exports = Arc::new(Mutex::new(Vec::new()));
        let kept = exports.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { serve(TcpListener::from_std(listener).unwrap(), kept, answers).await });
        });
        Collector { endpoint, exports }
    }

    pub fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    /// All spans so far, in either encoding.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.exports().into_iter().map(|export| export.decode());
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    /// Waits for `count` spans of this name.
    pub async fn wait_for(&self, name: &str, count: usize) -> Vec<Span> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let spans = self.spans();
            if spans.iter().filter(|span| span.name == name).count() >= count {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            assert!(Instant::now() < until, "no {count} spans '{name}' in {names:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(listener: TcpListener, kept: Arc<Mutex<Vec<Export>>>, answers: bool) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let kept = kept.clone();
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let kept = kept.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                kept.lock().unwrap().push(Export { path: head.uri.path().to_owned(), headers: head.headers, body });
                if !answers {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(http::Response::new(Full::<bytes::Bytes>::default()))
            }
        });
        let server = hyper::server::conn::http1::Builder::new();
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

impl Export {
    pub fn decode(&self) -> ExportTraceServiceRequest {
        match self.headers["content-type"].to_str().unwrap() {
            "application/x-protobuf" => ExportTraceServiceRequest::decode(self.body.clone()).unwrap(),
            "application/json" => serde_json::from_slice(&self.body).unwrap(),
            other => panic!("Content-Type: {other}"),
        }
    }
}

impl Setup {
    /// Sends spans to `endpoint`, soon.
    pub fn traced(self, endpoint: &str) -> Setup {
        self.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "20")
    }
}

/// The only span of this name in a trace.
pub fn named<'s>(spans: &'s [Span], trace: &str, name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name && hex(&span.trace_id) == trace).collect();
    assert_eq!(found.len(), 1, "{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

/// An attribute as text; empty if it's not there.
pub fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(n)) => n.to_string(),
        None => String::new(),
        other => panic!("{key}: {other:?}"),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
