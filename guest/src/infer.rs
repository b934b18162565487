//! The one computation of a request, asked of the host through `wasi:nn`.
//!
//! The graph is loaded by the name on the card; which engine runs it, where and in which batch is
//! the host's business. An overloaded host does not answer here at all: it ends the request itself.

#![expect(clippy::print_stderr, reason = "a guest's log is its stderr")]

use crate::bindings::wasi::nn::errors::{Error, ErrorCode};
use crate::bindings::wasi::nn::graph::load_by_name;
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};
use crate::card::{Card, DataType};
use crate::postprocess::floats;
use crate::problem::Problem;

/// Feeds the input tensor's bytes to the model and returns its scores, flattened.
pub(crate) fn compute(card: &Card, data: &[u8]) -> Result<Vec<f32>, Problem> {
    let failed = |error: Error| problem(card, &error);
    let input = card.inputs.first().ok_or_else(|| Problem::internal("the model's card names no input"))?;
    let ty = if input.dtype == DataType::U8 { TensorType::U8 } else { TensorType::Fp32 };
    let tensor = Tensor::new(&card.input_dimensions(), ty, data);
    let context = load_by_name(&card.name).and_then(|graph| graph.init_execution_context()).map_err(failed)?;
    let outputs = context.compute(vec![(input.name.clone(), tensor)]).map_err(failed)?;
    scores(card, outputs)
}

/// The output that the card names, else the first: some engines number their outputs instead.
fn scores(card: &Card, outputs: Vec<(String, Tensor)>) -> Result<Vec<f32>, Problem> {
    let wanted = |(name, _): &(String, Tensor)| card.outputs.first().is_some_and(|output| output.name == *name);
    let (_, tensor) = outputs
        .iter()
        .find(|output| wanted(output))
        .or(outputs.first())
        .ok_or_else(|| Problem::bad_gateway(format!("model '{}' computed no output", card.name)))?;
    let ty = tensor.ty();
    let dtype = match ty {
        TensorType::Fp16 => Some(DataType::Fp16),
        TensorType::Fp32 => Some(DataType::Fp32),
        TensorType::Fp64 => Some(DataType::Fp64),
        _ => None,
    };
    dtype.and_then(|dtype| floats(dtype, &tensor.data())).ok_or_else(|| {
        Problem::internal(format!("model '{}' answers in {ty:?}; scores must be floating-point numbers", card.name))
    })
}

/// Whose fault it was decides the status. What the host said goes to the log, which every host has for stderr: a
/// client can do nothing with it.
fn problem(card: &Card, error: &Error) -> Problem {
    let (name, code) = (&card.name, error.code());
    eprintln!("wasi-nn: model '{name}': {code:?}: {}", error.data());
    match code {
        ErrorCode::NotFound => Problem::unavailable(format!("model '{name}' is not loaded by this host")),
        ErrorCode::Timeout => Problem::gateway_timeout(format!("model '{name}' took too long; try again later")),
        ErrorCode::TooLarge => Problem::insufficient_storage(format!("the host has no room for model '{name}'")),
        ErrorCode::RuntimeError | ErrorCode::Unknown => Problem::bad_gateway(format!("model '{name}' failed")),
        ErrorCode::InvalidArgument
        | ErrorCode::InvalidEncoding
        | ErrorCode::UnsupportedOperation
        | ErrorCode::Security => {
            Problem::internal(format!("the host refused model '{name}'; its log says why: compare card and graph"))
        }
    }
}
