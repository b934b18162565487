//! The spans of an HTTP request by OpenTelemetry's semantic conventions, and the trace context by the W3C's standard.
//!
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>, <https://www.w3.org/TR/trace-context/>

use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use http::header::{HeaderMap, HeaderName};
use http::{Method, Version, request};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, trace::TraceId};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{Trace, Traces};
use crate::metrics::Outcome;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static W3C: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

impl Traces {
    /// Starts the span of a request. It is a child of the client's span if the request has a well-formed `traceparent`;
    /// one that is malformed is ignored.
    pub fn request<B>(&self, request: &http::Request<B>) -> Trace {
        let parent = parent(request.headers());
        let mut attributes = vec![
            KeyValue::new("url.path", request.uri().path().to_owned()),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("http.request.method", known(request.method()).to_owned()),
        ];
        attributes.extend(protocol(request.version()).map(|v| KeyValue::new("network.protocol.version", v)));
        if known(request.method()) == OTHER {
            attributes.push(KeyValue::new("http.request.method_original", request.method().to_string()));
        }
        let moment = (Instant::now(), SystemTime::now());
        let builder = SpanBuilder::from_name(name(request.method()).to_owned())
            .with_kind(SpanKind::Server)
            .with_start_time(moment.1)
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &parent);
        Trace { tracer: Arc::new(self.tracer.clone()), moment, span: Context::new().with_span(span) }
    }
}

impl Trace {
    /// The trace's id, for the log. It differs from the client's if a new trace was started.
    pub fn trace_id(&self) -> TraceId {
        self.span.span().span_context().trace_id()
    }

    /// Sets the route of the request and the function that handles it.
    pub fn routed(&self, method: &Method, route: &str, function: &str) {
        let span = self.span.span();
        if span.is_recording() {
            span.update_name(format!("{} {route}", name(method)));
            span.set_attribute(KeyValue::new("http.route", route.to_owned()));
            span.set_attribute(KeyValue::new("modelfn.function", function.to_owned()));
        }
    }

    /// Ends the span, since the response has a head. By the conventions only a status of 500 and above is an error of a
    /// server's span.
    pub fn responded(&self, status: u16, outcome: Outcome) {
        let span = self.span.span();
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", format!("{outcome:?}")));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(self.time(Instant::now()));
    }

    /// Ends the span of a request whose client disconnected before there was a response.
    pub fn abandoned(&self) {
        self.span.span().set_attribute(KeyValue::new("error.type", format!("{:?}", Outcome::ClientLeft)));
        self.span.span().end_with_timestamp(self.time(Instant::now()));
    }

    /// Starts the span of the guest that handles the request, and makes it the parent in the request's `traceparent`.
    pub fn guest(&self, request: &mut request::Parts, function: &str) -> Trace {
        let attributes = vec![KeyValue::new("modelfn.function", function.to_owned())];
        let builder = SpanBuilder::from_name("guest").with_start_time(self.time(Instant::now()));
        let span = self.tracer.build_with_context(builder.with_attributes(attributes), &self.span);
        let guest = Trace { span: Context::new().with_span(span), ..self.clone() };
        W3C.inject_context(&guest.span, &mut HeaderInjector(&mut request.headers));
        if request.headers.get(&TRACESTATE).is_some_and(|state| state.is_empty()) {
            request.headers.remove(&TRACESTATE);
        }
        guest
    }
}

/// The trace context of the client; an empty one if `traceparent` is missing, repeated or malformed.
fn parent(headers: &HeaderMap) -> Context {
    let value = headers.get(&TRACEPARENT).and_then(|value| value.to_str().ok());
    if headers.get_all(&TRACEPARENT).iter().count() == 1 && value.is_some_and(is_well_formed) {
        return W3C.extract_with_context(&Context::new(), &HeaderExtractor(headers));
    }
    Context::new()
}

/// Whether `traceparent` is well-formed. OpenTelemetry's parser accepts numbers of other lengths and with signs.
/// Versions after 00 may have further parts.
fn is_well_formed(traceparent: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let parts: Vec<_> = traceparent.split('-').collect();
    let lengths: Vec<_> = parts.iter().take(4).map(|part| part.len()).collect();
    lengths == [2, 32, 16, 2] && parts.iter().take(4).all(|part| hex(part)) && (parts[0] != "00" || parts.len() == 4)
}

/// The convention's value for an unknown method.
const OTHER: &str = "_OTHER";

fn known(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE => method.as_str(),
        Method::CONNECT | Method::OPTIONS | Method::TRACE | Method::PATCH => method.as_str(),
        _ => OTHER,
    }
}

/// The first part of a span's name, by the convention.
fn name(method: &Method) -> &str {
    if known(method) == OTHER { "HTTP" } else { method.as_str() }
}

fn protocol(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn trace_id(values: &[&str]) -> TraceId {
        let headers = values.iter().map(|value| (TRACEPARENT.clone(), value.parse().unwrap())).collect();
        parent(&headers).span().span_context().trace_id()
    }

    #[test]
    fn a_client_s_trace_is_continued_only_if_it_is_well_formed() {
        assert_eq!(trace_id(&[GOOD]).to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(trace_id(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"]), TraceId::INVALID);
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-f92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(&[bad]), TraceId::INVALID, "{bad:?}");
        }
        assert_eq!(trace_id(&[GOOD, GOOD]), TraceId::INVALID, "a repeated header is ignored");
    }
}
