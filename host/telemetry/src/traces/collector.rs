//! The HTTP client that sends spans to the collector.
//!
//! OpenTelemetry exports from a thread of its own, which has no async runtime, so the requests run on the server's.
//! Failures are logged at most once a minute.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use crate::traces::settings::TraceSettings;

/// The least time between two log lines about failures.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The client of one collector.
#[derive(Debug)]
pub struct Collector {
    client: HyperClient,
    runtime: Handle,
    /// The collector's address, for messages.
    endpoint: String,
    warned: Mutex<Option<Instant>>,
}

impl Collector {
    /// A client whose requests run on the current runtime.
    pub fn new(settings: &TraceSettings) -> Self {
        let client = HyperClient::with_default_connector(settings.timeout, None);
        let endpoint = settings.endpoint.clone();
        Collector { client, runtime: Handle::current(), endpoint, warned: Mutex::new(None) }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send_bytes(request).await }).await;
        let sent = sent.unwrap_or_else(|ended| Err(ended.into()));
        match &sent {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.warn(&format!("it answers {}", response.status())),
            Err(error) => self.warn(&reason(error.as_ref())),
        }
        sent
    }

    fn warn(&self, reason: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(
                "spans can't be sent to {}: {reason}; those that don't fit the queue are lost",
                self.endpoint
            );
        }
    }
}

/// The text of an error and its sources: hyper's own text only says that something went wrong.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

type SendFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'s, 'a>(&'s self, request: Request<Bytes>) -> SendFuture<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(self.send(request))
    }
}
