//! The protocol over HTTP.
//!
//! - `GET /v2`, `/v2/health/live`, `/v2/health/ready`, `/v2/models`, `/v2/models/stats`
//! - `GET /v2/models/{model}[/versions/{version}]`, and below that `/ready` and `/stats`
//! - `POST /v2/models/{model}[/versions/{version}]/infer`, `/v2/repository/index`
//!
//! Errors are `{"error": "..."}`, with Triton's statuses.

pub mod endpoint;
mod json;
mod non_finite;
pub mod request;
mod response;
mod statistics;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use modelfn_nn::backend::Engine;
use modelfn_nn::model::Model;
use modelfn_nn::tensor::TensorSpec;
use modelfn_wasm::function::Phases;
use serde_json::{Value, json};

use super::core::Inference;
use crate::admission::Admitted;
use crate::admission::content_encoding::{self, Coded};
use crate::admission::memory_budget::Reservation;
use crate::problem::Problem;

pub(crate) use self::endpoint::is_public;
pub use self::endpoint::{Endpoint, has};
use self::response::Written;

/// Where the JSON of a body ends and its binary tensors start.
static JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The response for an endpoint that computes nothing.
///
/// # Errors
///
/// The endpoint names no model that serves, or the server or model is not ready.
pub(crate) fn describe(inference: &Inference, endpoint: &Endpoint<'_>) -> Result<Response<Bytes>, Problem> {
    let document = match endpoint {
        Endpoint::Server => server(),
        Endpoint::Live => json!({ "live": true }),
        Endpoint::Ready if inference.is_ready() => json!({ "ready": true }),
        Endpoint::Ready => return Err(Problem::NotReady(None)),
        Endpoint::Models => json!({ "models": inference.names() }),
        Endpoint::Index => index(inference),
        Endpoint::AllStatistics => statistics::document(inference.models().map(Arc::as_ref)),
        Endpoint::Model(named) => metadata(inference.model(&named.model, named.version)?),
        Endpoint::ModelReady(named) => {
            let name = inference.model(&named.model, named.version)?.name();
            if !inference.is_serving() {
                return Err(Problem::NotReady(Some(name.to_owned())));
            }
            json!({ "name": name, "ready": true })
        }
        Endpoint::Statistics(named) => {
            let model = inference.model(&named.model, named.version)?;
            statistics::document(std::iter::once(model.as_ref()))
        }
        Endpoint::Infer(_) => return Err(Problem::Method("POST")),
    };
    Ok(response_of(format!("{document}\n").into(), "application/json"))
}

/// The response to an inference that was admitted, whose bytes stay reserved for as long as they live. The request's JSON has `json_length` bytes, where that was announced.
///
/// # Errors
///
/// The body is no request for this model, or the model gave no outputs in time.
pub(crate) async fn infer(
    inference: &Inference,
    model: &Arc<Model>,
    json_length: Option<usize>,
    admitted: Admitted,
) -> Result<Response<Bytes>, Problem> {
    let Admitted { body, deadline, body_duration, mut reservation, permits, .. } = admitted;
    let parsed_model = model.clone();
    let parsed_bytes = json_length.unwrap_or(body.len());
    let parse = move || {
        let mut reserve = |bytes| reservation.grow(bytes);
        let parsed = request::parse(&body, json_length, parsed_model.signature(), &mut reserve);
        parsed.map(|parsed| (parsed, reservation))
    };
    let (parsed, mut reservation) = inference.convert(parsed_bytes, deadline, parse).await??;
    let request::InferRequest { inputs, wanted, timeout } = parsed;
    let deadline = match timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
        Some(earlier) => earlier.min(deadline),
        None => deadline,
    };
    let computed = Inference::compute(model, inputs, deadline).await?;
    let phases =
        Phases { body: body_duration, queue: computed.queued, compute: computed.computing, ..Phases::default() };
    let written_bytes = computed.outputs.iter().map(|(_, tensor)| tensor.data().len()).sum();
    let written_model = model.clone();
    let write = move || response::write(&written_model, &wanted, &computed.outputs);
    let Written { body, json_length } = inference.convert(written_bytes, deadline, write).await??;
    drop(permits);
    // The request and its tensors are gone. The response takes memory for as long as its client does not read it.
    reservation.replace(body.len())?;
    let body = Bytes::from_owner(ReservedBytes { bytes: body, _reservation: reservation });
    let kind = if json_length.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = response_of(body, kind);
    if let Some(length) = json_length {
        response.headers_mut().insert(JSON_LENGTH.clone(), HeaderValue::from(length));
    }
    response.extensions_mut().insert(phases);
    Ok(response)
}

/// Bytes that are a part of the memory budget until the last reference to them is dropped.
struct ReservedBytes {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for ReservedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All models, also the broken ones.
fn index(inference: &Inference) -> Value {
    let entry = |name: &str, version: Option<u32>, state: &str, reason: &str| {
        let version = version.map(|number| number.to_string()).unwrap_or_default();
        json!({ "name": name, "version": version, "state": state, "reason": reason })
    };
    let ready = inference.models().map(|model| entry(model.name(), Some(model.version()), "READY", ""));
    let broken = inference.not_loaded().map(|name| entry(name, None, "UNAVAILABLE", "it could not be loaded"));
    ready.chain(broken).collect()
}

/// The announced length in bytes of the JSON before binary tensors.
///
/// # Errors
///
/// The header is no number, or the body is compressed in a way that is not known here.
pub(crate) fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    if content_encoding::coded(headers) == Coded::Unknown {
        return Err(Problem::UnknownCoding);
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
    let tensor = |spec: &TensorSpec| json!({ "name": spec.name, "datatype": spec.dtype.oip_name(), "shape": spec.reported_shape() });
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

fn response_of(body: Bytes, kind: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
