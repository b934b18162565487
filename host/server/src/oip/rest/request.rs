//! An inference request's bytes to tensors. Any bytes give tensors or a sentence that says what is wrong.
//!
//! A body is JSON; or JSON and then the binary data of the inputs that have a `binary_data_size`, in their order; or,
//! when the JSON's length is announced as 0, nothing but the data of the model's single input.

mod bounded;

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use self::bounded::Bounded;
use super::{json, non_finite};
use crate::oip::classification::Top;
use crate::problem::Problem;
use modelfn_nn::tensor::{DType, Signature, Tensor, TensorSpec, Tensors};

/// The longest name of an input, in bytes: errors repeat it.
const MAX_NAME: usize = 256;

/// The longest id of a request, in bytes: the response repeats it.
const MAX_ID: usize = 4096;

/// The most axes of a tensor: errors repeat them, too.
const MAX_AXES: usize = 16;

/// The most inputs, and the most outputs, that a request may list.
const MAX_TENSORS: usize = 1024;

/// What an engine has of a string beside its bytes: an object of this size, which is reserved like the bytes.
const STRING_OBJECT: usize = 32;

/// An inference request.
#[derive(Debug)]
pub struct InferRequest {
    /// The inputs in the request's order. Their data fill their shapes; whether they fit a model is checked by the
    /// model.
    pub inputs: Tensors,
    /// What goes into the response.
    pub wanted: Wanted,
    /// Triton's parameter `timeout`: the computation may take this long from here on.
    pub timeout: Option<Duration>,
}

/// What goes into the response.
#[derive(Debug)]
pub struct Wanted {
    /// The client's own id of the request.
    pub id: Option<String>,
    /// The outputs, in this order.
    pub outputs: Vec<RequestedOutput>,
}

/// An output that goes into the response.
#[derive(Debug)]
pub struct RequestedOutput {
    /// The name of an output of the model.
    pub name: String,
    /// Whether it follows the JSON as bytes.
    pub binary: bool,
    /// The classes that are given instead of the tensor itself.
    pub top: Option<Top>,
}

#[derive(Deserialize)]
struct RequestDocument<'a> {
    id: Option<String>,
    parameters: Option<RequestParameters>,
    #[serde(borrow)]
    inputs: Bounded<InputSyntax<'a>, MAX_TENSORS>,
    outputs: Option<Bounded<OutputSyntax, MAX_TENSORS>>,
}

#[derive(Deserialize)]
struct InputSyntax<'a> {
    name: String,
    datatype: String,
    shape: Bounded<usize, MAX_AXES>,
    parameters: Option<RequestParameters>,
    /// Read only when its type is known, so that a number takes no more room than in its tensor.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputSyntax {
    name: String,
    parameters: Option<RequestParameters>,
}

/// The parameters that mean something here; others are accepted.
#[derive(Default, Deserialize)]
struct RequestParameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    /// The deadline in microseconds; 0 is none.
    timeout: Option<u64>,
    /// The number of classes; 0 is the tensor itself.
    classification: Option<usize>,
    shared_memory_region: Option<IgnoredAny>,
}

/// Reserves the bytes of a tensor before it is made of JSON. Binary data stay in the body and need none, but for strings.
pub type Reserve<'a> = dyn FnMut(usize) -> Result<(), Problem> + 'a;

/// Reads a body whose JSON has `json_length` bytes; all of it is JSON when nothing was announced.
///
/// # Errors
///
/// [`Problem::Invalid`] with a sentence for the client, or what `reserve` says. The model checks whether
/// the inputs fit its signature.
pub fn parse(
    body: &Bytes,
    json_length: Option<usize>,
    signature: &Signature,
    reserve: &mut Reserve<'_>,
) -> Result<InferRequest, Problem> {
    if json_length == Some(0) {
        return Ok(raw(body, signature)?);
    }
    let length = json_length.unwrap_or(body.len());
    if length > body.len() {
        let actual = body.len();
        return Err(format!("Inference-Header-Content-Length is {length}, but the body has {actual} bytes").into());
    }
    let (text, mut binary) = (&body[..length], body.slice(length..));
    let no_json = |e: serde_json::Error| Problem::Invalid(format!("the request is not the protocol's JSON: {e}"));
    let quoted;
    let document: RequestDocument<'_> = match serde_json::from_slice(text) {
        Ok(document) => document,
        Err(error) => {
            reserve(text.len())?;
            quoted = non_finite::quote(text).ok_or_else(|| no_json(error))?;
            serde_json::from_slice(&quoted).map_err(no_json)?
        }
    };
    if let Some(id) = document.id.as_ref().filter(|id| id.len() > MAX_ID) {
        return Err(format!("the id has {} bytes, which is more than {MAX_ID}", id.len()).into());
    }
    if document.inputs.len() > signature.inputs.len() {
        let (given, wanted) = (document.inputs.len(), specs(&signature.inputs));
        return Err(format!("the request has {given} inputs; the model's are: {wanted}").into());
    }
    let inputs = document.inputs.iter().map(|input| Ok((input.name.clone(), tensor(input, &mut binary, reserve)?)));
    let inputs = inputs.collect::<Result<Tensors, Problem>>()?;
    if !binary.is_empty() {
        return Err(format!("{} bytes are left over after the binary data of the last input", binary.len()).into());
    }
    let parameters = document.parameters.unwrap_or_default();
    let binary = parameters.binary_data_output.unwrap_or(false);
    let requested = document.outputs.map(Bounded::into_inner).unwrap_or_default();
    let outputs = outputs(requested, binary, &signature.outputs)?;
    let timeout = parameters.timeout.filter(|&time| time > 0).map(Duration::from_micros);
    Ok(InferRequest { inputs, wanted: Wanted { id: document.id, outputs }, timeout })
}

/// A body that is the data of the model's single input, of which one axis at most may be open. The response is binary,
/// too.
fn raw(body: &Bytes, signature: &Signature) -> Result<InferRequest, String> {
    let [spec] = signature.inputs.as_slice() else {
        return Err(format!("a body without JSON is for models of one input; these are: {}", specs(&signature.inputs)));
    };
    let open = spec.shape.iter().filter(|&&axis| axis < 0).count();
    let size = spec.dtype.size().ok_or_else(|| {
        let described = spec.describe(DType::oip_name);
        format!("a body without JSON can't be strings, as the input {described} is; say it in JSON")
    })?;
    let row = spec.smallest_shape().iter().try_fold(size, |size, &axis| size.checked_mul(axis));
    let row = row.filter(|&row| row > 0 && open <= 1 && !spec.shape.is_any());
    let described = spec.describe(DType::oip_name);
    let row = row.ok_or_else(|| format!("a body without JSON leaves the shape of {described} open; say it in JSON"))?;
    let shape = spec.shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(body.len() / row)).collect();
    let tensor = Tensor::new(spec.dtype, shape, body.clone());
    let tensor = tensor.map_err(|e| format!("input '{}': {}", spec.name, e.describe(DType::oip_name)))?;
    let outputs = outputs(Vec::new(), true, &signature.outputs)?;
    let inputs = vec![(spec.name.clone(), tensor)];
    Ok(InferRequest { inputs, wanted: Wanted { id: None, outputs }, timeout: None })
}

fn tensor(input: &InputSyntax<'_>, binary: &mut Bytes, reserve: &mut Reserve<'_>) -> Result<Tensor, Problem> {
    let InputSyntax { name, datatype, shape, parameters, data } = input;
    if name.len() > MAX_NAME {
        return Err(format!("an input's name has {} bytes, which is more than {MAX_NAME}", name.len()).into());
    }
    let dtype = DType::from_oip_name(datatype).ok_or_else(|| {
        let shown = &datatype[..datatype.floor_char_boundary(32)];
        let known = DType::ALL.map(DType::oip_name).join(", ");
        format!("input '{name}' has datatype {shown}, which is none of {known}")
    })?;
    let parameters = parameters.as_ref();
    if parameters.is_some_and(|p| p.shared_memory_region.is_some()) {
        return Err(format!("input '{name}' is in shared memory, which is not supported; send its data").into());
    }
    let bytes = match (parameters.and_then(|p| p.binary_data_size), data) {
        (Some(size), None) if size <= binary.len() => binary.split_to(size),
        (Some(size), None) => {
            return Err(format!(
                "input '{name}' has a binary_data_size of {size}, but {} bytes are left",
                binary.len()
            )
            .into());
        }
        (None, Some(data)) => {
            reserve(json::most_bytes(dtype, shape, data.get()))?;
            json::read(dtype, shape, data.get()).map_err(|e| format!("input '{name}' {e}"))?.into()
        }
        (Some(_), Some(_)) => return Err(format!("input '{name}' has both data and binary_data_size; send one").into()),
        (None, None) => return Err(format!("input '{name}' has no data and no binary_data_size; send one").into()),
    };
    let tensor = Tensor::new(dtype, shape.to_vec(), bytes);
    let tensor = tensor.map_err(|e| format!("input '{name}': {}", e.describe(DType::oip_name)))?;
    if dtype == DType::String {
        reserve(shape.iter().product::<usize>().saturating_mul(STRING_OBJECT))?;
    }
    Ok(tensor)
}

/// The outputs that were requested, in that order; all when none was. Each may be requested once.
fn outputs(requested: Vec<OutputSyntax>, binary: bool, all: &[TensorSpec]) -> Result<Vec<RequestedOutput>, String> {
    let requested = if requested.is_empty() {
        all.iter().map(|spec| OutputSyntax { name: spec.name.clone(), parameters: None }).collect()
    } else {
        requested
    };
    let mut found: Vec<RequestedOutput> = Vec::new();
    for OutputSyntax { name, parameters } in requested {
        let parameters = parameters.unwrap_or_default();
        let spec = all.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| format!("the model has no output '{}'; it has: {}", short(&name), specs(all)))?;
        if parameters.shared_memory_region.is_some() {
            return Err(format!("output '{name}' goes to shared memory, which is not supported; leave it out"));
        }
        if parameters.classification.is_some_and(|classes| classes > 0) && spec.dtype == DType::String {
            let described = spec.describe(DType::oip_name);
            return Err(format!(
                "output {described} is strings, which have no classes; request it without classification"
            ));
        }
        let top = parameters.classification.and_then(NonZeroUsize::new).map(|classes| Top::of(classes, spec));
        let binary = parameters.binary_data.unwrap_or(binary);
        if !binary && top.is_none() && !json::has(spec.dtype) {
            let described = spec.describe(DType::oip_name);
            return Err(format!("output {described} travels as binary data only; request it with binary_data"));
        }
        if found.iter().any(|output| output.name == name) {
            return Err(format!("output '{name}' is requested twice"));
        }
        found.push(RequestedOutput { name, binary, top });
    }
    Ok(found)
}

fn specs(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| spec.describe(DType::oip_name)).collect::<Vec<_>>().join(", ")
}

fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests;
