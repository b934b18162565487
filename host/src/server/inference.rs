//! The Open Inference Protocol, version 2, over REST: the same models and queues as the functions', without a
//! function between.
//!
//! - `GET /v2`, `/v2/health/live`, `/v2/health/ready`, `/v2/models`, `/v2/models/{model}`, `/v2/models/{model}/ready`
//! - `POST /v2/models/{model}/infer`, `/v2/repository/index`
//!
//! Each model has the one version "1", with or without `/versions/1` in the path. Sources: the protocol,
//! <https://github.com/kserve/open-inference-protocol>, and two of Triton's extensions, `binary_tensor_data` and the
//! index of `model_repository`
//! (<https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/README.html>). Nothing is
//! loaded or unloaded from here. Errors are `{"error": "..."}`, with Triton's statuses.

mod json;

mod request;

mod response;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::admin::Readiness;
use super::body::{Bodies, Drained, Held};
use super::deadline;
use super::error::Problem;
use crate::nn::backend::{ComputeError, Engine};
use crate::nn::batcher::Failure;
use crate::nn::model::{Model, ModelError};
use crate::nn::registry::Registry;
use crate::nn::tensor::{DType, TensorSpec};
use crate::wasm::function::Phases;

/// The path that all of this is below.
const ROOT: &str = "/v2";

/// What the metrics call it, beside the functions.
pub(super) const FUNCTION: &str = "(v2)";

/// The version of every model.
const VERSION: &str = "1";

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

/// The routes.
#[derive(Debug, PartialEq, Eq)]
enum Endpoint<'p> {
    Server,
    Live,
    Ready,
    Models,
    Index,
    Model(&'p str),
    ModelReady(&'p str),
    Infer(&'p str),
}

/// Whether this path is the protocol's.
pub fn has(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl<'p> Endpoint<'p> {
    fn parse(path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix(ROOT)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<_> = rest.split('/').skip(1).take(8).collect();
        Some(match segments.as_slice() {
            [] => Endpoint::Server,
            ["health", "live"] => Endpoint::Live,
            ["health", "ready"] => Endpoint::Ready,
            ["models"] => Endpoint::Models,
            ["repository", "index"] => Endpoint::Index,
            ["models", model, "versions", version, rest @ ..] if *version == VERSION => Self::of_model(model, rest)?,
            ["models", model, rest @ ..] => Self::of_model(model, rest)?,
            _ => return None,
        })
    }

    fn of_model(model: &'p str, rest: &[&str]) -> Option<Self> {
        match rest {
            [] => Some(Endpoint::Model(model)),
            ["ready"] => Some(Endpoint::ModelReady(model)),
            ["infer"] => Some(Endpoint::Infer(model)),
            _ => None,
        }
    }

    fn check_method(&self, method: &Method) -> Result<(), Problem> {
        match (self, method) {
            (Endpoint::Infer(_) | Endpoint::Index, &Method::POST) => Ok(()),
            (Endpoint::Infer(_) | Endpoint::Index, _) => Err(Problem::Method("POST")),
            (_, &Method::GET | &Method::HEAD) => Ok(()),
            _ => Err(Problem::Method("GET, HEAD")),
        }
    }
}

impl Inference {
    /// The protocol on the models of `registry`.
    pub fn new(registry: Arc<Registry>, readiness: Arc<Readiness>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Inference { registry, readiness, converters: Arc::new(Semaphore::new(cores)) }
    }

    /// Why one of its models keeps the server from being ready, if so.
    pub(super) fn unready(&self, saturated_after: Duration) -> Option<String> {
        let broken = self.registry.broken().values().map(|error| format!("not served: {error}"));
        let saturated = self.registry.models().filter(|model| model.saturated_for() >= saturated_after).map(|model| {
            let seconds = model.saturated_for().as_secs();
            format!("saturated: the queue of model '{}' has been full for {seconds} s", model.name())
        });
        broken.chain(saturated).next()
    }

    /// Answers a request that takes `most` time.
    pub(super) async fn answer(
        &self,
        request: Request<Drained>,
        bodies: &Bodies,
        most: Duration,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let endpoint = Endpoint::parse(path).ok_or_else(|| Problem::NoEndpoint(path.to_owned()))?;
        endpoint.check_method(&head.method)?;
        let answer = match endpoint {
            Endpoint::Infer(name) => {
                let request = (&head.headers, body);
                return self.infer(self.model(name)?, request, (bodies, most)).await;
            }
            Endpoint::Server => server(),
            Endpoint::Live => json!({ "live": true }),
            Endpoint::Ready if self.readiness.is_ready() => json!({ "ready": true }),
            Endpoint::Ready => return Err(Problem::NotReady),
            Endpoint::Models => json!({ "models": self.names() }),
            Endpoint::Index => self.index(),
            Endpoint::Model(name) => metadata(self.model(name)?),
            Endpoint::ModelReady(name) => json!({ "name": self.model(name)?.name(), "ready": true }),
        };
        Ok(response_of(format!("{answer}\n").into(), "application/json"))
    }

    async fn infer(
        &self,
        model: &Arc<Model>,
        (headers, body): (&HeaderMap, Drained),
        (bodies, most): (&Bodies, Duration),
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let deadline = Instant::now() + deadline::timeout(headers, most)?;
        let json_length = json_length(headers)?;
        bodies.check_announced(headers)?;
        let Held { bytes, permit } = bodies.read(body, deadline).await?;
        let size = json_length.unwrap_or(bytes.len());
        let of = model.clone();
        let parse = move || request::parse(&bytes, json_length, of.signature());
        let asked = self.convert((size, deadline), parse).await?.map_err(Problem::Invalid)?;
        let request::Asked { inputs, answer, timeout } = asked;
        let deadline = timeout.and_then(|time| Instant::now().checked_add(time)).map_or(deadline, |t| t.min(deadline));
        let computed = model.compute(inputs, deadline).await?;
        let phases = Phases { instantiate: Duration::ZERO, queue: computed.queued, compute: computed.computing };
        let size = computed.outputs.iter().map(|(_, tensor)| tensor.data().len()).sum();
        let of = model.clone();
        let write = move || response::write(of.name(), &answer, &computed.outputs);
        let mut response = self.convert((size, deadline), write).await??;
        // Until here outputs may share their bytes with the body.
        drop(permit);
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

    fn model(&self, name: &str) -> Result<&Arc<Model>, Problem> {
        if self.registry.broken().contains_key(name) {
            return Err(Problem::Unavailable(name.to_owned()));
        }
        let unknown = || Problem::NoModel { name: name.to_owned(), have: self.names().join(", ") };
        self.registry.get(name).ok_or_else(unknown)
    }

    fn names(&self) -> Vec<&str> {
        self.registry.models().map(|model| model.name()).collect()
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
        "extensions": ["binary_tensor_data", "model_repository"],
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
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_protocols_and_no_others() {
        for (path, expected) in [
            ("/v2", Endpoint::Server),
            ("/v2/", Endpoint::Server),
            ("/v2/models/m", Endpoint::Model("m")),
            ("/v2/models/m/versions/1", Endpoint::Model("m")),
            ("/v2/models/m/versions/1/ready", Endpoint::ModelReady("m")),
            ("/v2/models/ready/ready", Endpoint::ModelReady("ready")),
            ("/v2/models/m/infer", Endpoint::Infer("m")),
        ] {
            assert_eq!(Endpoint::parse(path), Some(expected), "{path}");
        }
        for path in ["/v2/models/m/versions/2", "/v2/models/m/versions", "/v2//models", "/v2/x", "/v2/models/m/infer/x"]
        {
            assert_eq!(Endpoint::parse(path), None, "{path}");
        }
        assert!(has("/v2") && has("/v2/x") && !has("/v2x") && !has("/v1/v2"));
    }
}
