//! Traces by OpenTelemetry. Each span is defined once, and recorded by a function that the code calls where it happens.
//!
//! Tracing is off unless the environment names a collector (see [`settings`]); it then costs one lookup of the task's
//! trace. The current trace is a task-local, so that no function takes it as a parameter. Most spans are recorded after
//! they have ended, from times that are measured anyway. Spans are exported in batches, through a bounded queue and on
//! a thread of their own: a collector that is slow or down loses spans and never delays a request.

pub mod collector;
mod request;
pub mod settings;

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

use self::settings::TraceSettings;

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

/// A span of a request, to which child spans can be added. It ends when its last clone is dropped, if not before.
#[derive(Clone)]
pub struct Trace {
    tracer: Arc<SdkTracer>,
    /// The same moment on both clocks: spans are measured on the monotonic clock and exported in system time.
    moment: (Instant, SystemTime),
    span: Context,
}

impl Traces {
    /// Starts exporting spans to the collector of `settings` through `client`.
    ///
    /// # Errors
    ///
    /// The environment asks for something that this program does not support. The message names it.
    pub fn start(settings: &TraceSettings, client: impl HttpClient + 'static) -> Result<Traces> {
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

    /// Exports the remaining spans and shuts down, within `at_most` this time. Blocks the calling thread.
    pub fn end(&self, at_most: Duration) {
        if let Err(e) = self.provider.shutdown_with_timeout(at_most) {
            tracing::warn!("the last spans were not sent: {e}");
        }
    }
}

/// The trace of the request that the current task works for, if requests are traced.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Records a phase of the current request that has just ended.
pub fn phase(name: &'static str, started: Instant) {
    if let Some(trace) = current() {
        trace.record(name, Interval { started, duration: started.elapsed() }, Vec::new);
    }
}

/// A computation that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Computation {
    /// When the computation was requested.
    pub submitted: Instant,
    /// The time in the queue.
    pub queued: Duration,
    /// The time in the engine, for the whole batch.
    pub computing: Duration,
    /// The rows of the batch.
    pub batch_size: usize,
}

/// A span's time.
struct Interval {
    started: Instant,
    duration: Duration,
}

/// Records the spans `queue` and `compute` of a computation of the current request.
pub fn computed(model: &str, computation: Computation) {
    let Some(trace) = current() else { return };
    let Computation { submitted, queued, computing, batch_size } = computation;
    let model = || KeyValue::new("modelfn.model", model.to_owned());
    trace.record("queue", Interval { started: submitted, duration: queued }, || vec![model()]);
    trace.record("compute", Interval { started: submitted + queued, duration: computing }, || {
        vec![model(), KeyValue::new("modelfn.batch_size", i64::try_from(batch_size).unwrap_or(i64::MAX))]
    });
}

/// Records a computation of the current request that has just failed. `error` is one of a closed set of words.
pub fn not_computed(model: &str, submitted: Instant, error: &'static str) {
    let Some(trace) = current() else { return };
    let attributes = || vec![KeyValue::new("modelfn.model", model.to_owned()), KeyValue::new("error.type", error)];
    if let Some(mut span) = trace.child("compute", submitted, attributes) {
        span.set_status(Status::error(error));
        span.end_with_timestamp(trace.time(Instant::now()));
    }
}

impl Trace {
    /// Runs `work` with this trace as the current one.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Records the instantiation of the component.
    pub fn instantiated(&self, started: Instant, duration: Duration) {
        self.record("instantiate", Interval { started, duration }, Vec::new);
    }

    /// Ends this span now. `error` is one of a closed set of words.
    pub fn end(&self, error: Option<&'static str>) {
        let span = self.span.span();
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
        span.end_with_timestamp(self.time(Instant::now()));
    }

    /// Records a child span that has ended. `attributes` is called only if the trace is sampled.
    fn record(&self, name: &'static str, interval: Interval, attributes: impl FnOnce() -> Vec<KeyValue>) {
        let Interval { started, duration } = interval;
        if let Some(mut span) = self.child(name, started, attributes) {
            span.end_with_timestamp(self.time(started + duration));
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

    /// The system time of a moment on the monotonic clock.
    fn time(&self, at: Instant) -> SystemTime {
        let (instant, time) = self.moment;
        match at.checked_duration_since(instant) {
            Some(later) => time + later,
            None => time - instant.duration_since(at),
        }
    }
}
