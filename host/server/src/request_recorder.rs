//! How a request ended: counted, traced, and a line of the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;

use crate::admission::keys::Client;
use crate::problem::Problem;
use crate::response_body::ResponseBody;
use modelfn_telemetry::metrics::{Metrics, Outcome};
use modelfn_telemetry::traces::{self, Trace};
use modelfn_wasm::function::Phases;

/// Records how a request ended, also when its future is dropped because the client left.
pub(crate) struct RequestRecorder<'a> {
    metrics: &'a Metrics,
    function: &'a str,
    /// The client whose key the request has, once that is known.
    pub(crate) client: Option<Arc<Client>>,
    pub(crate) trace: Option<Trace>,
    started: Instant,
    ended: bool,
}

impl<'a> RequestRecorder<'a> {
    /// Records a request for `function`, which began at `started`.
    pub(crate) fn start(metrics: &'a Metrics, function: &'a str, started: Instant) -> Self {
        RequestRecorder { metrics, function, client: None, trace: traces::current(), started, ended: false }
    }

    /// Records the response, or why there is none.
    pub(crate) fn end(&mut self, result: &Result<Response<ResponseBody>, Problem>) {
        self.ended = true;
        let elapsed = self.started.elapsed();
        let outcome = match result {
            Ok(response) if response.status().is_server_error() => Outcome::FunctionError,
            Ok(response) if response.status().is_client_error() => Outcome::ClientError,
            Ok(_) => Outcome::Answered,
            Err(problem) => problem.outcome(),
        };
        self.count(outcome, elapsed);
        if let Some(reason) = result.as_ref().err().and_then(Problem::rejection) {
            self.metrics.admission.rejected(reason);
        }
        if let Some(trace) = &self.trace {
            let status = result.as_ref().map_or_else(Problem::status, Response::status);
            trace.responded(status.as_u16(), outcome);
        }
        match result {
            Ok(response) => {
                let phases = response.extensions().get::<Phases>().copied().unwrap_or_default();
                tracing::info!(
                    status = response.status().as_u16(),
                    ms = milliseconds(elapsed),
                    sandbox_ms = milliseconds(phases.instantiate),
                    queue_ms = milliseconds(phases.queue),
                    engine_ms = milliseconds(phases.compute),
                    "answered"
                );
            }
            Err(problem) if outcome == Outcome::ClientError => {
                let status = problem.status().as_u16();
                tracing::info!(status, ms = milliseconds(elapsed), "not answered: {problem}");
            }
            Err(problem) => {
                let status = problem.status().as_u16();
                tracing::warn!(status, ms = milliseconds(elapsed), "not answered: {problem}");
            }
        }
    }
}

impl RequestRecorder<'_> {
    fn count(&self, outcome: Outcome, elapsed: Duration) {
        self.metrics.request_ended(self.function, outcome, elapsed);
        if let Some(client) = &self.client {
            self.metrics.admission.key_request_ended(client.name(), outcome);
        }
    }
}

impl Drop for RequestRecorder<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.count(Outcome::ClientLeft, self.started.elapsed());
            if let Some(trace) = &self.trace {
                trace.abandoned();
            }
            tracing::info!(ms = milliseconds(self.started.elapsed()), "the client left");
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
