//! Computations of a model, asked of the host through `wasi:nn`.
//!
//! A graph is loaded by the name on its card; which engine runs it, where and in which batch is the host's business. An
//! overloaded host does not return from a computation at all: it ends the request itself.

#![expect(clippy::print_stderr, reason = "a guest's log is its stderr")]

use half::f16;
use modelfn_card::DType;

use crate::bindings::wasi::nn::errors::{Error, ErrorCode};
use crate::bindings::wasi::nn::graph::{Graph, load_by_name};
use crate::bindings::wasi::nn::tensor::{Tensor as HostTensor, TensorType};
use crate::problem::Problem;

/// A dense tensor: row-major, little-endian elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The element type.
    pub dtype: DType,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<u32>,
    /// The elements' bytes: as many as `dtype` and `shape` say.
    pub data: Vec<u8>,
}

impl Tensor {
    /// The elements as f32; `None` for a type that is not a floating-point number of 16, 32 or 64 bits.
    pub fn floats(&self) -> Option<Vec<f32>> {
        let data = &self.data;
        Some(match self.dtype {
            DType::Fp32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            DType::Fp64 => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
            DType::Fp16 => data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            _ => return None,
        })
    }
}

/// A model that the host has loaded.
#[derive(Debug)]
pub struct Model {
    name: String,
    graph: Graph,
}

impl Model {
    /// Finds the model that the host knows by `name`.
    ///
    /// # Errors
    ///
    /// 503 where the host has no such model; see [`Model::run`] for the others.
    pub fn load(name: &str) -> Result<Self, Problem> {
        let graph = load_by_name(name).map_err(|error| problem(name, &error))?;
        Ok(Self { name: name.to_owned(), graph })
    }

    /// Computes the outputs for named inputs, in the graph's order. Some engines number their outputs instead of
    /// naming them.
    ///
    /// # Errors
    ///
    /// 504 at the deadline, 507 without memory, 502 where the engine failed, 500 where the inputs do not fit the graph or
    /// have a type that wasi-nn lacks.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Problem> {
        let failed = |error: Error| problem(&self.name, &error);
        let inputs = inputs.iter().map(|&(name, tensor)| Ok((name.to_owned(), to_host(name, tensor)?)));
        let inputs = inputs.collect::<Result<_, Problem>>()?;
        let context = self.graph.init_execution_context().map_err(failed)?;
        let outputs = context.compute(inputs).map_err(failed)?;
        Ok(outputs.into_iter().map(|(name, tensor)| (name, from_host(&tensor))).collect())
    }
}

fn to_host(name: &str, tensor: &Tensor) -> Result<HostTensor, Problem> {
    let ty = match tensor.dtype {
        DType::Fp16 => TensorType::Fp16,
        DType::Bf16 => TensorType::Bf16,
        DType::Fp32 => TensorType::Fp32,
        DType::Fp64 => TensorType::Fp64,
        DType::U8 => TensorType::U8,
        DType::I32 => TensorType::I32,
        DType::I64 => TensorType::I64,
        other => {
            let text = format!("input '{name}' is of type {other}, which wasi-nn lacks; cast it within the graph");
            return Err(Problem::internal(text));
        }
    };
    Ok(HostTensor::new(&tensor.shape, ty, &tensor.data))
}

fn from_host(tensor: &HostTensor) -> Tensor {
    let dtype = match tensor.ty() {
        TensorType::Fp16 => DType::Fp16,
        TensorType::Bf16 => DType::Bf16,
        TensorType::Fp32 => DType::Fp32,
        TensorType::Fp64 => DType::Fp64,
        TensorType::U8 => DType::U8,
        TensorType::I32 => DType::I32,
        TensorType::I64 => DType::I64,
    };
    Tensor { dtype, shape: tensor.dimensions(), data: tensor.data() }
}

/// Whose fault it was decides the status. What the host said goes to the log, which every host has for stderr: a
/// client can do nothing with it.
fn problem(name: &str, error: &Error) -> Problem {
    let code = error.code();
    eprintln!("wasi-nn: model '{name}': {code:?}: {}", error.data());
    match code {
        ErrorCode::NotFound => Problem::unavailable(format!("model '{name}' is not loaded by this host")),
        ErrorCode::Timeout => Problem::gateway_timeout(format!(
            "model '{name}' did not answer before the request's deadline; try again, with more time"
        )),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(dtype: DType, data: &[u8]) -> Option<Vec<f32>> {
        let shape = vec![(data.len() / dtype.size().unwrap()) as u32];
        Tensor { dtype, shape, data: data.to_vec() }.floats()
    }

    #[test]
    fn three_widths_of_floats_are_read() {
        assert_eq!(floats(DType::Fp32, &1.5f32.to_le_bytes()), Some(vec![1.5]));
        assert_eq!(floats(DType::Fp64, &1.5f64.to_le_bytes()), Some(vec![1.5]));
        let halves = [0x3E00u16, 0xC000, 0x0001, 0x7BFF, 0x7C00, 0x8000];
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        assert_eq!(floats(DType::Fp16, &bytes), Some(vec![1.5, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY, -0.0]));
        assert!(floats(DType::Fp16, &0x7C01u16.to_le_bytes()).is_some_and(|values| values[0].is_nan()));
        assert_eq!(floats(DType::U8, &[1]), None);
    }
}
