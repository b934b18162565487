//! The Open Inference Protocol, version 2, over REST: the same models and queues as the functions', without a
//! function between.
//!
//! - `GET /v2`, `/v2/health/live`, `/v2/health/ready`, `/v2/models`, `/v2/models/stats`
//! - `GET /v2/models/{model}[/versions/{version}]`, and below that `/ready` and `/stats`
//! - `POST /v2/models/{model}[/versions/{version}]/infer`, `/v2/repository/index`
//!
//! Sources: the protocol, <https://github.com/kserve/open-inference-protocol>, and Triton's extensions
//! `binary_tensor_data`, `classification`, `statistics` and the index of `model_repository`
//! (<https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/README.html>). Nothing is
//! loaded or unloaded from here. Errors are `{"error": "..."}`, with Triton's statuses.

pub mod endpoint;

pub mod request;

pub mod classification;

mod json;

mod response;

mod statistics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub use self::endpoint::has;
pub(crate) use self::endpoint::is_public;
use self::endpoint::{Endpoint, Named};
use crate::admin::Readiness;
use crate::admission::body::{Bodies, BufferedBody, DrainOnDrop};
use crate::admission::deadline;
use crate::problem::Problem;
use modelfn_nn::backend::{ComputeError, Engine};
use modelfn_nn::batcher::Failure;
use modelfn_nn::model::{Model, ModelError};
use modelfn_nn::registry::Registry;
use modelfn_nn::tensor::{DType, TensorSpec};
use modelfn_wasm::function::Phases;

/// What the metrics call it, beside the functions.
pub(crate) const FUNCTION: &str = "(v2)";

/// Where the JSON of a body ends and its binary tensors start.
static JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// JSON up to this many bytes is read and written at once; more of it on a thread that may take its time.
const AT_ONCE: usize = 64 << 10;

/// What answers below `/v2`.
pub struct Inference {
    registry: Arc<Registry>,
    readiness: Arc<Readiness>,
    /// Large JSON is read and written by as many threads as there are cores.
    converters: Arc<Semaphore>,
}

impl Inference {
    /// The protocol on the models of `registry`.
    pub fn new(registry: Arc<Registry>, readiness: Arc<Readiness>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Inference { registry, readiness, converters: Arc::new(Semaphore::new(cores)) }
    }

    /// Why one of its models keeps the server from being ready, if so.
    pub(crate) fn unready(&self, saturated_after: Duration) -> Option<String> {
        let broken = self.registry.broken().values().map(|error| format!("not served: {error}"));
        let saturated = self.registry.models().filter(|model| model.saturated_for() >= saturated_after).map(|model| {
            let seconds = model.saturated_for().as_secs();
            format!("saturated: the queue of model '{}' has been full for {seconds} s", model.name())
        });
        broken.chain(saturated).next()
    }

    /// Answers a request for `endpoint` that takes `most` time.
    pub(crate) async fn answer(
        &self,
        endpoint: Endpoint<'_>,
        request: Request<DrainOnDrop>,
        (bodies, most): (&Bodies, Duration),
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let (head, body) = request.into_parts();
        endpoint.check_method(&head.method)?;
        let answer = match endpoint {
            Endpoint::Infer(named) => {
                let request = (&head.headers, body);
                return self.infer(self.model(&named)?, request, (bodies, most)).await;
            }
            Endpoint::Server => server(),
            Endpoint::Live => json!({ "live": true }),
            Endpoint::Ready if self.readiness.is_ready() => json!({ "ready": true }),
            Endpoint::Ready => return Err(Problem::NotReady(None)),
            Endpoint::Models => json!({ "models": self.names() }),
            Endpoint::Index => self.index(),
            Endpoint::AllStatistics => statistics::document(self.registry.models().map(Arc::as_ref)),
            Endpoint::Model(named) => metadata(self.model(&named)?),
            Endpoint::ModelReady(named) => {
                let name = self.model(&named)?.name();
                if !self.readiness.is_serving() {
                    return Err(Problem::NotReady(Some(name.to_owned())));
                }
                json!({ "name": name, "ready": true })
            }
            Endpoint::Statistics(named) => statistics::document(std::iter::once(self.model(&named)?.as_ref())),
        };
        Ok(response_of(format!("{answer}\n").into(), "application/json"))
    }

    async fn infer(
        &self,
        model: &Arc<Model>,
        (headers, body): (&HeaderMap, DrainOnDrop),
        (bodies, most): (&Bodies, Duration),
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let deadline = Instant::now() + deadline::timeout(headers, most)?;
        let json_length = json_length(headers)?;
        bodies.check_announced(headers)?;
        let BufferedBody { bytes, mut charge, took: body } = bodies.read(body, deadline).await?;
        let size = json_length.unwrap_or(bytes.len());
        let of = model.clone();
        let parse = move || {
            let asked = request::parse(&bytes, json_length, of.signature(), &mut |bytes| charge.add(bytes));
            asked.map(|asked| (asked, charge))
        };
        let (asked, charge) = self.convert((size, deadline), parse).await??;
        let request::Asked { inputs, answer, timeout } = asked;
        let deadline = timeout.and_then(|time| Instant::now().checked_add(time)).map_or(deadline, |t| t.min(deadline));
        let computed = model.compute(inputs, deadline).await.map_err(in_our_words)?;
        let phases = Phases { body, queue: computed.queued, compute: computed.computing, ..Phases::default() };
        let size = computed.outputs.iter().map(|(_, tensor)| tensor.data().len()).sum();
        let of = model.clone();
        let write = move || response::write(&of, &answer, &computed.outputs);
        let mut response = self.convert((size, deadline), write).await??;
        // Until here outputs may share their bytes with the body.
        drop(charge);
        response.extensions_mut().insert(phases);
        Ok(response)
    }

    /// Runs `work`, which takes time in proportion to `size`, where it keeps no other request from being answered.
    async fn convert<T: Send + 'static>(
        &self,
        (size, deadline): (usize, Instant),
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if size <= AT_ONCE {
            return Ok(work());
        }
        let started = Instant::now();
        let late = |_| Failure::Deadline(started.elapsed());
        let place = tokio::time::timeout_at(deadline.into(), self.converters.clone().acquire_owned()).await;
        let place = place.map_err(late).map_err(ModelError::from)?;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|panic| internal(panic.to_string()))
    }

    /// Also of what is broken; why is for who runs the server.
    fn index(&self) -> Value {
        let entry = |name: &str, version: Option<u32>, state: &str, reason: &str| {
            let version = version.map(|number| number.to_string()).unwrap_or_default();
            json!({ "name": name, "version": version, "state": state, "reason": reason })
        };
        let ready = self.registry.models().map(|model| entry(model.name(), Some(model.version()), "READY", ""));
        let broken = self.registry.broken().keys();
        let broken = broken.map(|name| entry(name, None, "UNAVAILABLE", "it could not be loaded"));
        ready.chain(broken).collect()
    }

    fn model(&self, named: &Named<'_>) -> Result<&Arc<Model>, Problem> {
        let name = || named.model.to_string();
        if self.registry.broken().contains_key(named.model.as_ref()) {
            return Err(Problem::Unavailable(name()));
        }
        let unknown = || Problem::NoModel { name: name(), have: self.names().join(", ") };
        let model = self.registry.get(&named.model).ok_or_else(unknown)?;
        match named.version {
            Some(version) if version != u64::from(model.version()) => {
                Err(Problem::NoVersion { name: name(), version, have: model.version() })
            }
            _ => Ok(model),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.registry.models().map(|model| model.name()).collect()
    }
}

/// A guest is told of types in wasi-nn's words.
fn in_our_words(error: ModelError) -> Problem {
    match error {
        ModelError::InvalidInput(invalid) => Problem::Invalid(invalid.describe(datatype)),
        error => error.into(),
    }
}

/// What only the log is told.
fn internal(text: String) -> Problem {
    ModelError::from(Failure::Engine(ComputeError(text))).into()
}

/// The announced length of the JSON before binary tensors.
fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Problem::Invalid("Content-Encoding is not supported; send the body as it is".to_owned()));
    }
    let Some(value) = headers.get(&JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || Problem::Invalid("Inference-Header-Content-Length must be the JSON's length in bytes".to_owned());
    length.map(Some).ok_or_else(wrong)
}

fn server() -> Value {
    json!({
        "name": "modelfn",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification", "model_repository", "statistics"],
    })
}

fn metadata(model: &Model) -> Value {
    let tensor =
        |spec: &TensorSpec| json!({ "name": spec.name, "datatype": datatype(spec.dtype), "shape": spec.shape });
    let tensors = |specs: &[TensorSpec]| specs.iter().map(tensor).collect::<Vec<_>>();
    let platform = match model.engine() {
        Engine::Onnx => "onnxruntime_onnx",
        Engine::Fake => "fake",
    };
    json!({
        "name": model.name(),
        "versions": [model.version().to_string()],
        "platform": platform,
        "inputs": tensors(&model.signature().inputs),
        "outputs": tensors(&model.signature().outputs),
    })
}

/// The protocol's word for an element type.
fn datatype(dtype: DType) -> &'static str {
    match dtype {
        DType::Fp16 => "FP16",
        DType::Bf16 => "BF16",
        DType::Fp32 => "FP32",
        DType::Fp64 => "FP64",
        DType::U8 => "UINT8",
        DType::I32 => "INT32",
        DType::I64 => "INT64",
    }
}

fn response_of(body: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod random;

#[cfg(test)]
mod tests;
