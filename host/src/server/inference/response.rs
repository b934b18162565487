//! Outputs to an answer: JSON, and after it the data of the outputs that were wanted in binary.

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::HeaderValue;
use http_body_util::Full;
use serde::Serialize;

use super::json::{self, Numbers};
use super::request::Wanted;
use super::{JSON_LENGTH, VERSION, datatype, internal, response_of};
use crate::nn::tensor::{Tensor, Tensors};
use crate::server::error::Problem;

#[derive(Serialize)]
struct Document<'a> {
    model_name: &'a str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Numbers<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// Writes what is `wanted` of the outputs of `model`.
pub(super) fn write(model: &str, wanted: &Wanted, computed: &Tensors) -> Result<Response<Full<Bytes>>, Problem> {
    let mut outputs = Vec::with_capacity(wanted.outputs.len());
    let mut binary = Vec::new();
    for output in &wanted.outputs {
        let found = computed.iter().find(|(name, _)| *name == output.name);
        let (name, tensor) = found.ok_or_else(|| internal(format!("it gave no output '{}'", output.name)))?;
        outputs.push(describe(name, tensor, output.binary)?);
        binary.extend(output.binary.then_some(tensor.data()));
    }
    let document = Document { model_name: model, model_version: VERSION, id: wanted.id.as_deref(), outputs };
    let text = serde_json::to_vec(&document).map_err(|e| internal(e.to_string()))?;
    if binary.is_empty() {
        return Ok(response_of(text.into(), "application/json"));
    }
    let mut body = BytesMut::with_capacity(text.len() + binary.iter().map(|data| data.len()).sum::<usize>());
    body.extend_from_slice(&text);
    binary.iter().for_each(|data| body.extend_from_slice(data));
    let mut response = response_of(body.freeze(), "application/octet-stream");
    response.headers_mut().insert(JSON_LENGTH.clone(), HeaderValue::from(text.len()));
    Ok(response)
}

fn describe<'a>(name: &'a str, tensor: &'a Tensor, binary: bool) -> Result<Output<'a>, Problem> {
    if !binary && !json::is_finite(tensor) {
        return Err(Problem::Invalid(format!(
            "output '{name}' is infinite or not a number somewhere, which JSON can't say; request it with binary_data"
        )));
    }
    let parameters = binary.then_some(Parameters { binary_data_size: tensor.data().len() });
    let data = (!binary).then_some(Numbers(tensor));
    Ok(Output { name, datatype: datatype(tensor.dtype()), shape: tensor.shape(), parameters, data })
}
