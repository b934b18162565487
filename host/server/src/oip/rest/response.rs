//! Outputs to an answer: JSON, and after it the data of the outputs that were wanted in binary.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::HeaderValue;
use http_body_util::Full;
use serde::Serialize;

use super::json::{self, Numbers};
use super::request::Wanted;
use super::{JSON_LENGTH, response_of};
use crate::oip::classification::Classes;
use crate::oip::core::internal;
use crate::problem::Problem;
use modelfn_nn::model::Model;
use modelfn_nn::tensor::{Tensor, Tensors};

#[derive(Serialize)]
struct Document<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Cow<'a, [usize]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Numbers(Numbers<'a>),
    Strings(Vec<String>),
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// Writes what is `wanted` of the outputs of `model`.
pub(crate) fn write(model: &Model, wanted: &Wanted, computed: &Tensors) -> Result<Response<Full<Bytes>>, Problem> {
    let mut outputs = Vec::with_capacity(wanted.outputs.len());
    let mut binary = Vec::new();
    for output in &wanted.outputs {
        let found = computed.iter().find(|(name, _)| *name == output.name);
        let (name, tensor) = found.ok_or_else(|| internal(format!("it gave no output '{}'", output.name)))?;
        let (described, data) = match output.top {
            Some(top) => {
                let classes = Classes::of(tensor, top, |index| model.label(name, index));
                words(name, classes.map_err(|e| Problem::Invalid(format!("output '{name}' {e}")))?, output.binary)
            }
            None => describe(name, tensor, output.binary)?,
        };
        outputs.push(described);
        binary.extend(data);
    }
    let (model_name, model_version) = (model.name(), model.version().to_string());
    let document = Document { model_name, model_version, id: wanted.id.as_deref(), outputs };
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

/// An output, and its data where it is binary.
type Described<'a> = (Output<'a>, Option<Bytes>);

fn describe<'a>(name: &'a str, tensor: &'a Tensor, binary: bool) -> Result<Described<'a>, Problem> {
    if !binary && !json::is_finite(tensor) {
        return Err(Problem::Invalid(format!(
            "output '{name}' is infinite or not a number somewhere, which JSON can't say; request it with binary_data"
        )));
    }
    let data = binary.then(|| tensor.data().clone());
    let numbers = (!binary).then_some(Data::Numbers(Numbers(tensor)));
    let (datatype, shape) = (tensor.dtype().oip_name(), tensor.shape().into());
    Ok((Output { name, datatype, shape, parameters: data.as_ref().map(Parameters::of), data: numbers }, data))
}

fn words(name: &str, classes: Classes, binary: bool) -> Described<'_> {
    let data = binary.then(|| classes.bytes());
    let strings = (!binary).then_some(Data::Strings(classes.values));
    let shape = classes.shape.into();
    (Output { name, datatype: "BYTES", shape, parameters: data.as_ref().map(Parameters::of), data: strings }, data)
}

impl Parameters {
    fn of(data: &Bytes) -> Self {
        Parameters { binary_data_size: data.len() }
    }
}
