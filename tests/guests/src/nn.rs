//! What can be done with `wasi:nn`, rightly and wrongly.

use std::fmt::Write;

use crate::bindings::wasi::http::types::ResponseOutparam;
use crate::bindings::wasi::nn::errors::{Error, ErrorCode};
use crate::bindings::wasi::nn::graph::{self, ExecutionTarget, Graph, GraphEncoding, load_by_name};
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};
use crate::http::{Request, answer, answer_with};

type Outputs = Vec<(String, Tensor)>;

/// Name and element size in bytes of each type.
const DTYPES: [(TensorType, &str, usize); 7] = [
    (TensorType::Fp16, "FP16", 2),
    (TensorType::Bf16, "BF16", 2),
    (TensorType::Fp32, "FP32", 4),
    (TensorType::Fp64, "FP64", 8),
    (TensorType::U8, "U8", 1),
    (TensorType::I32, "I32", 4),
    (TensorType::I64, "I64", 8),
];

/// Computes with `model` as many times as `repeat` says, and keeps all outputs. Each name of `input` gets a
/// tensor of `dtype` and `shape` that has `bytes` bytes.
pub(crate) fn compute(request: &Request, out: ResponseOutparam) {
    let result = load_by_name(request.text("model").unwrap_or_default()).and_then(|graph| run(request, &graph));
    answer_result(out, result);
}

/// The same on a graph loaded from the body, which is passed `builders` times.
pub(crate) fn load(request: &Request, out: ResponseOutparam) {
    let body = request.body();
    let builders = vec![body; request.number("builders").unwrap_or(1)];
    let result = graph::load(&builders, encoding(request), target(request)).and_then(|graph| run(request, &graph));
    answer_result(out, result);
}

/// Computes with the body as the only input `x`, and answers with the bytes of the only output.
pub(crate) fn echo(request: &Request, out: ResponseOutparam) {
    let body = request.body();
    let input = Tensor::new(&shape(request), dtype(request), &body);
    let compute = |graph: Graph| graph.init_execution_context()?.compute(vec![("x".to_owned(), input)]);
    match load_by_name(request.text("model").unwrap_or_default()).and_then(compute) {
        Ok(outputs) => {
            let (name, tensor) = outputs.first().expect("one output");
            let (_, dtype, _) = described(tensor.ty());
            let head = format!("{name} {dtype} {:?}", tensor.dimensions());
            answer_with(out, (200, &[("x-tensor", &head)]), &tensor.data());
        }
        Err(error) => answer_result(out, Err(error)),
    }
}

/// Makes `n` tensors of `bytes` bytes; holds all of them unless `keep=no`.
pub(crate) fn tensors(request: &Request, out: ResponseOutparam) {
    let bytes = vec![0; request.number("bytes").unwrap_or(0)];
    let length = u32::try_from(bytes.len()).expect("a 32-bit memory");
    let keep = request.text("keep") != Some("no");
    let tensors = (0..request.number("n").unwrap_or(0)).map(|_: usize| Tensor::new(&[length], TensorType::U8, &bytes));
    let kept: Vec<_> = tensors.filter(|_| keep).collect();
    answer(out, 200, kept.len().to_string().as_bytes());
}

/// Without a shape, loading the graph is all.
fn run(request: &Request, graph: &Graph) -> Result<Outputs, Error> {
    let context = graph.init_execution_context()?;
    if request.text("shape").is_none() {
        return Ok(Vec::new());
    }
    let mut outputs = Vec::new();
    for _ in 0..request.number("repeat").unwrap_or(1) {
        outputs.extend(context.compute(inputs(request))?);
    }
    Ok(outputs)
}

fn inputs(request: &Request) -> Outputs {
    let (shape, dtype) = (shape(request), dtype(request));
    let data = vec![0; request.number("bytes").unwrap_or_else(|| byte_length(&shape, dtype))];
    let names = request.text("input").unwrap_or("x").split(',').filter(|name| !name.is_empty());
    names.map(|name| (name.to_owned(), Tensor::new(&shape, dtype, &data))).collect()
}

fn shape(request: &Request) -> Vec<u32> {
    let axes = request.text("shape").unwrap_or_default().split(',').filter(|axis| !axis.is_empty());
    axes.map(|axis| axis.parse().expect("an axis is a number")).collect()
}

fn byte_length(shape: &[u32], dtype: TensorType) -> usize {
    let (_, _, size) = described(dtype);
    shape.iter().map(|&axis| axis as usize).product::<usize>() * size
}

fn dtype(request: &Request) -> TensorType {
    let wanted = request.text("dtype").unwrap_or("FP32");
    DTYPES.iter().find(|(_, name, _)| *name == wanted).map(|(dtype, ..)| *dtype).expect("a dtype")
}

fn described(dtype: TensorType) -> (TensorType, &'static str, usize) {
    *DTYPES.iter().find(|(described, ..)| *described == dtype).expect("each type is in the table")
}

fn encoding(request: &Request) -> GraphEncoding {
    match request.text("encoding").unwrap_or("onnx") {
        "openvino" => GraphEncoding::Openvino,
        "onnx" => GraphEncoding::Onnx,
        "tensorflow" => GraphEncoding::Tensorflow,
        "pytorch" => GraphEncoding::Pytorch,
        "tensorflowlite" => GraphEncoding::Tensorflowlite,
        "ggml" => GraphEncoding::Ggml,
        "autodetect" => GraphEncoding::Autodetect,
        other => panic!("encoding={other}?"),
    }
}

fn target(request: &Request) -> ExecutionTarget {
    match request.text("target").unwrap_or("cpu") {
        "cpu" => ExecutionTarget::Cpu,
        "gpu" => ExecutionTarget::Gpu,
        "tpu" => ExecutionTarget::Tpu,
        other => panic!("target={other}?"),
    }
}

fn answer_result(out: ResponseOutparam, result: Result<Outputs, Error>) {
    let json = match result {
        Ok(outputs) => format!("{{\"ok\":[{}]}}", outputs.iter().map(output).collect::<Vec<_>>().join(",")),
        Err(error) => {
            format!("{{\"error\":{{\"code\":\"{}\",\"data\":{}}}}}", code(error.code()), string(&error.data()))
        }
    };
    answer_with(out, (200, &[("content-type", "application/json")]), json.as_bytes());
}

fn output((name, tensor): &(String, Tensor)) -> String {
    let ((_, dtype, _), shape, bytes) = (described(tensor.ty()), tensor.dimensions(), tensor.data().len());
    format!("{{\"name\":{},\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"bytes\":{bytes}}}", string(name))
}

/// By the words of the WIT, which the bindings' `Debug` does not use.
fn code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidArgument => "invalid-argument",
        ErrorCode::InvalidEncoding => "invalid-encoding",
        ErrorCode::Timeout => "timeout",
        ErrorCode::RuntimeError => "runtime-error",
        ErrorCode::UnsupportedOperation => "unsupported-operation",
        ErrorCode::TooLarge => "too-large",
        ErrorCode::NotFound => "not-found",
        ErrorCode::Security => "security",
        ErrorCode::Unknown => "unknown",
    }
}

/// JSON's own string syntax; a dependency for it would be larger than the probe.
fn string(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => write!(json, "\\u{:04x}", u32::from(c)).expect("a String takes any text"),
            c => json.push(c),
        }
    }
    json + "\""
}
