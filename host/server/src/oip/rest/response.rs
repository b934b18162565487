//! Outputs to a response: JSON, and after it the data of the outputs that were wanted in binary.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::json;
use super::request::{RequestedOutput, Wanted};
use crate::oip::classification::Classes;
use crate::oip::core::internal;
use crate::problem::Problem;
use modelfn_nn::model::Model;
use modelfn_nn::tensor::{Tensor, Tensors};

/// A response's body.
pub(crate) struct Written {
    pub(crate) body: Bytes,
    /// Bytes of the JSON, where binary data follows it.
    pub(crate) json_length: Option<usize>,
}

/// What comes before the outputs.
#[derive(Serialize)]
struct ResponseHead<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// What comes before the data of an output.
#[derive(Serialize)]
struct OutputHead<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: Cow<'a, [usize]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<OutputParameters>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
}

/// Writes what is `wanted` of the outputs of `model`.
///
/// # Errors
///
/// The model gave no such output, or an output has more classes than can be said.
pub(crate) fn write(model: &Model, wanted: &Wanted, computed: &Tensors) -> Result<Written, Problem> {
    let mut binary = Vec::new();
    let (model_name, model_version) = (model.name(), model.version().to_string());
    let mut text = Vec::new();
    open_object(&mut text, &ResponseHead { model_name, model_version, id: wanted.id.as_deref() })?;
    text.extend_from_slice(b",\"outputs\":[");
    for (position, output) in wanted.outputs.iter().enumerate() {
        if position > 0 {
            text.push(b',');
        }
        let found = computed.iter().find(|(name, _)| *name == output.name);
        let (_, tensor) = found.ok_or_else(|| internal(format!("it gave no output '{}'", output.name)))?;
        binary.extend(write_output(&mut text, model, output, tensor)?);
    }
    text.extend_from_slice(b"]}");
    if binary.is_empty() {
        return Ok(Written { body: text.into(), json_length: None });
    }
    let mut body = BytesMut::with_capacity(text.len() + binary.iter().map(|data| data.len()).sum::<usize>());
    body.extend_from_slice(&text);
    for data in &binary {
        body.extend_from_slice(data);
    }
    Ok(Written { body: body.freeze(), json_length: Some(text.len()) })
}

/// Writes an output's JSON to `text`. Gives its data where they are to follow the JSON.
fn write_output(
    text: &mut Vec<u8>,
    model: &Model,
    output: &RequestedOutput,
    tensor: &Tensor,
) -> Result<Option<Bytes>, Problem> {
    let name = &output.name;
    let Some(top) = output.top else {
        let data = output.binary.then(|| tensor.data().clone());
        let (datatype, shape) = (tensor.dtype().oip_name(), tensor.shape().into());
        let parameters = data.as_ref().map(OutputParameters::of);
        open_object(text, &OutputHead { name, datatype, shape, parameters })?;
        if data.is_none() {
            text.extend_from_slice(b",\"data\":");
            json::write(tensor, text).map_err(|e| internal(e.to_string()))?;
        }
        text.push(b'}');
        return Ok(data);
    };
    let classes = Classes::of(tensor, top, |index| model.label(name, index));
    let classes = classes.map_err(|e| Problem::Invalid(format!("output '{name}' {e}")))?;
    let data = output.binary.then(|| classes.bytes());
    let (datatype, shape) = ("BYTES", classes.shape.into());
    let parameters = data.as_ref().map(OutputParameters::of);
    open_object(text, &OutputHead { name, datatype, shape, parameters })?;
    if data.is_none() {
        text.extend_from_slice(b",\"data\":");
        serde_json::to_writer(&mut *text, &classes.values).map_err(|e| internal(e.to_string()))?;
    }
    text.push(b'}');
    Ok(data)
}

/// Writes a JSON object without its closing brace. JSON has no words for numbers that are not finite, and serde_json no
/// way to write them, so the lists of numbers are written between objects.
fn open_object(text: &mut Vec<u8>, object: &impl Serialize) -> Result<(), Problem> {
    serde_json::to_writer(&mut *text, object).map_err(|e| internal(e.to_string()))?;
    text.pop();
    Ok(())
}

impl OutputParameters {
    fn of(data: &Bytes) -> Self {
        OutputParameters { binary_data_size: data.len() }
    }
}
