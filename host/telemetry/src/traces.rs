//! Traces: every span, named and described once, and recorded through a method where its fact happens.
//!
//! Off unless the environment names a collector ([`settings`]); then nothing is paid but a look whether there is a
//! trace. Spans follow a request by a task-local, so that no signature names them. Most are recorded once they have
//! ended, from times that were taken anyway. They leave in batches, through a bounded queue and on a thread of their
//! own: a collector that is slow or gone costs spans, never a request.

pub mod settings;

pub mod collector;

mod request;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use opentelemetry::trace::{Span as _, SpanBuilder, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use self::settings::Settings;

tokio::task_local! {
    /// The trace of the request that this task works for.
    static CURRENT: Trace;
}

/// The traces of one server.
#[derive(Clone)]
pub struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

/// A span of a request, and what its children need of it. It ends with its last clone, if not before.
#[derive(Clone)]
pub struct Trace {
    tracer: Arc<SdkTracer>,
    /// One moment on both clocks: spans are measured by the one that can't be set, and sent in the other.
    moment: (Instant, SystemTime),
    span: Context,
}

impl Traces {
    /// Starts sending spans to the collector of `settings`, by `client`.
    ///
    /// # Errors
    ///
    /// The environment asks for what this program does not have. The message says what.
    pub fn start(settings: &Settings, client: impl HttpClient + 'static) -> Result<Traces> {
        let exporter = SpanExporter::builder().with_http().with_protocol(settings.protocol).with_http_client(client);
        let exporter = exporter.build().context("traces can't be sent (OTEL_EXPORTER_OTLP_* variables)")?;
        let mut resource = Resource::builder();
        if !settings.has_service_name {
            resource = resource.with_service_name("modelfn");
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.with_attribute(version).build())
            .build();
        Ok(Traces { tracer: provider.tracer("modelfn"), provider })
    }

    /// Sends what has not been sent, for `at_most` this time. Blocks its thread.
    pub fn end(&self, at_most: Duration) {
        if let Err(e) = self.provider.shutdown_with_timeout(at_most) {
            tracing::warn!("the last spans were not sent: {e}");
        }
    }
}

/// The trace of the request that this task works for, if requests are traced.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(Clone::clone).ok()
}

/// A phase of the current request, of this name, has ended now.
pub fn phase(name: &'static str, started: Instant) {
    if let Some(trace) = current() {
        trace.record(name, (started, started.elapsed()), Vec::new);
    }
}

/// The current request has the outputs of a computation, which waited and then computed for these times.
pub fn computed(model: &str, submitted: Instant, (queued, computing, batch_size): (Duration, Duration, usize)) {
    let Some(trace) = current() else { return };
    let model = || KeyValue::new("modelfn.model", model.to_owned());
    trace.record("queue", (submitted, queued), || vec![model()]);
    trace.record("compute", (submitted + queued, computing), || {
        vec![model(), KeyValue::new("modelfn.batch_size", i64::try_from(batch_size).unwrap_or(i64::MAX))]
    });
}

/// A computation of the current request has failed now. `error` is one of few words.
pub fn not_computed(model: &str, submitted: Instant, error: &'static str) {
    let Some(trace) = current() else { return };
    let attributes = || vec![KeyValue::new("modelfn.model", model.to_owned()), KeyValue::new("error.type", error)];
    if let Some(mut span) = trace.child("compute", submitted, attributes) {
        span.set_status(Status::error(error));
        span.end_with_timestamp(trace.time(Instant::now()));
    }
}

impl Trace {
    /// Does `work` with this as its current trace.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The making of the request's instance has ended.
    pub fn instantiated(&self, started: Instant, took: Duration) {
        self.record("instantiate", (started, took), Vec::new);
    }

    /// This span has ended now. `error` is one of few words.
    pub fn end(&self, error: Option<&'static str>) {
        let span = self.span.span();
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
        span.end_with_timestamp(self.time(Instant::now()));
    }

    /// A child that has ended. Its attributes are made only if somebody will see them.
    fn record(
        &self,
        name: &'static str,
        (started, took): (Instant, Duration),
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) {
        if let Some(mut span) = self.child(name, started, attributes) {
            span.end_with_timestamp(self.time(started + took));
        }
    }

    fn child(
        &self,
        name: impl Into<Cow<'static, str>>,
        started: Instant,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Option<opentelemetry_sdk::trace::Span> {
        self.span.span().is_recording().then(|| {
            let builder = SpanBuilder::from_name(name).with_start_time(self.time(started));
            self.tracer.build_with_context(builder.with_attributes(attributes()), &self.span)
        })
    }

    fn time(&self, at: Instant) -> SystemTime {
        let (instant, time) = self.moment;
        match at.checked_duration_since(instant) {
            Some(later) => time + later,
            None => time - instant.duration_since(at),
        }
    }
}
