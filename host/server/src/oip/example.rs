//! A request below `/v2` that a person can try: a line for a shell, with `curl`.

use modelfn_nn::model::Model;
use modelfn_nn::tensor::{DType, Tensor, TensorSpec};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// The most elements that are written as JSON. More are sent as bytes, which the line makes.
const MAX_JSON_ELEMENTS: usize = 32;

/// All that is encoded in a path but the characters that neither URLs (RFC 3986, 2.3) nor shells give a meaning.
pub(crate) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a client has to show an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone is served.
    Open,
    /// A key is asked for.
    Key,
}

/// A command that sends `model` zeros, in the shapes that it computed at its warm-up or else usual ones, to the server at
/// `address` (host and port, which go into the command as they are).
pub fn curl(model: &Model, address: &str, access: Access) -> String {
    let shapes = model.example_shapes();
    let specs = &model.signature().inputs;
    let path = utf8_percent_encode(model.name(), UNRESERVED);
    let key = if access == Access::Key { "-H \"X-API-Key: $KEY\" " } else { "" };
    let url = format!("http://{address}/v2/models/{path}/infer");
    let elements: usize = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
    let is_json = elements <= MAX_JSON_ELEMENTS && specs.iter().all(|spec| zero(spec.dtype).is_some());
    let inputs =
        specs.iter().zip(&shapes).map(|(spec, shape)| if is_json { in_json(spec, shape) } else { binary(spec, shape) });
    let document = quoted(&json!({ "inputs": inputs.collect::<Vec<_>>() }).to_string());
    if is_json {
        return format!("curl {key}{url} -d {}", document.shell);
    }
    let bytes: usize = specs.iter().zip(&shapes).map(|(spec, shape)| bytes(spec, shape)).sum();
    format!(
        "(printf %s {}; head -c {bytes} /dev/zero) | curl {key}{url} -H 'Inference-Header-Content-Length: {}' --data-binary @-",
        document.shell, document.length
    )
}

/// A text within a command.
struct Quoted {
    /// As the shell reads it.
    shell: String,
    /// Bytes of the text itself.
    length: usize,
}

fn quoted(text: &str) -> Quoted {
    Quoted { shell: format!("'{}'", text.replace('\'', "'\\''")), length: text.len() }
}

fn in_json(spec: &TensorSpec, shape: &[usize]) -> Value {
    let data = vec![zero(spec.dtype); shape.iter().product()];
    json!({ "name": spec.name, "shape": shape, "datatype": spec.dtype.oip_name(), "data": data })
}

fn binary(spec: &TensorSpec, shape: &[usize]) -> Value {
    let parameters = json!({ "binary_data_size": bytes(spec, shape) });
    json!({ "name": spec.name, "shape": shape, "datatype": spec.dtype.oip_name(), "parameters": parameters })
}

/// The bytes of zeros of that shape.
fn bytes(spec: &TensorSpec, shape: &[usize]) -> usize {
    Tensor::zeros_len(spec.dtype, shape).unwrap_or(0)
}

/// The zero of a type as JSON; `None` where the protocol has no JSON for it.
fn zero(dtype: DType) -> Option<Value> {
    match dtype.oip_name() {
        "FP16" | "BF16" => None,
        "BOOL" => Some(json!(false)),
        "BYTES" => Some(json!("")),
        _ => Some(json!(0)),
    }
}
