//! Computations of a model, asked of the host through `wasi:nn`.
//!
//! A graph is loaded by the name on its card; which engine runs it, where and in which batch is the host's business. An
//! overloaded host does not return from a computation at all: it ends the request itself.

use modelfn_card::DType;

use crate::bindings::wasi::nn::errors::{Error, ErrorCode};
use crate::bindings::wasi::nn::graph::{Graph, load_by_name};
use crate::bindings::wasi::nn::tensor::{Tensor as HostTensor, TensorType};
use crate::problem::Problem;
use crate::tensor::{AsTensor, DynTensor, Element, Tensor};

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

    /// Computes the outputs for named inputs.
    ///
    /// ```no_run
    /// # use modelfn_guest::{AsTensor, Model, Problem, Tensor};
    /// # fn compute() -> Result<(), Problem> {
    /// let model = Model::load("iris")?;
    /// let outputs = model.run([("X", Tensor::from_rows([[5.1f32, 3.5, 1.4, 0.2]])?)])?;
    /// let label: Tensor<i64> = outputs.get("label")?;
    ///
    /// // Inputs whose types differ.
    /// let (ids, scale) = (Tensor::vector([101i64, 102]), Tensor::scalar(0.5f32));
    /// let outputs = Model::load("other")?.run([("ids", &ids as &dyn AsTensor), ("scale", &scale)])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// 504 at the deadline, 507 without memory, 502 where the engine failed, 500 where the inputs do not fit the graph or
    /// have a type that wasi-nn lacks.
    pub fn run<'a, T: AsTensor>(&self, inputs: impl IntoIterator<Item = (&'a str, T)>) -> Result<Outputs, Problem> {
        let failed = |error: Error| problem(&self.name, &error);
        let inputs = inputs.into_iter().map(|(name, tensor)| Ok((name.to_owned(), to_host(name, &tensor)?)));
        let inputs = inputs.collect::<Result<_, Problem>>()?;
        let context = self.graph.init_execution_context().map_err(failed)?;
        let outputs = context.compute(inputs).map_err(failed)?;
        let tensors = outputs.into_iter().map(|(name, tensor)| (name, from_host(&tensor))).collect();
        Ok(Outputs { model: self.name.clone(), tensors })
    }
}

/// What a model computed, in the graph's order. Some engines number their outputs instead of naming them.
#[derive(Debug, Clone)]
pub struct Outputs {
    model: String,
    tensors: Vec<(String, DynTensor)>,
}

impl Outputs {
    /// The output of that name, with elements of the type `T`.
    ///
    /// # Errors
    ///
    /// 500 that says what there is, where there is no such output or its elements are of another type.
    pub fn get<T: Element>(&self, name: &str) -> Result<Tensor<T>, Problem> {
        let found = self.find(name).filter(|tensor| tensor.dtype == T::DTYPE);
        found.ok_or_else(|| self.missing(&format!("'{name}' of {}", T::DTYPE)))?.to()
    }

    /// The output of that name; `None` where there is none.
    pub fn find(&self, name: &str) -> Option<&DynTensor> {
        self.tensors.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor)
    }

    /// The output of that place, counted from 0.
    ///
    /// # Errors
    ///
    /// 500 that says what there is, where there are not as many.
    pub fn at(&self, index: usize) -> Result<&DynTensor, Problem> {
        self.tensors.get(index).map(|(_, tensor)| tensor).ok_or_else(|| self.missing(&format!("number {index}")))
    }

    /// Names and tensors, in the graph's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &DynTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn missing(&self, wanted: &str) -> Problem {
        let there = self.iter().map(|(name, tensor)| format!("'{name}' of {} {:?}", tensor.dtype, tensor.shape));
        let there = there.collect::<Vec<_>>().join(", ");
        Problem::internal(format!("model '{}' has no output {wanted}; its outputs are {there}", self.model))
    }
}

fn to_host(name: &str, tensor: &impl AsTensor) -> Result<HostTensor, Problem> {
    let ty = match tensor.dtype() {
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
    let shape: Option<Vec<u32>> = tensor.shape().iter().map(|&size| u32::try_from(size).ok()).collect();
    let shape = shape.ok_or_else(|| Problem::internal(format!("input '{name}' has an axis of 2^32 or more")))?;
    Ok(HostTensor::new(&shape, ty, tensor.bytes()))
}

fn from_host(tensor: &HostTensor) -> DynTensor {
    let dtype = match tensor.ty() {
        TensorType::Fp16 => DType::Fp16,
        TensorType::Bf16 => DType::Bf16,
        TensorType::Fp32 => DType::Fp32,
        TensorType::Fp64 => DType::Fp64,
        TensorType::U8 => DType::U8,
        TensorType::I32 => DType::I32,
        TensorType::I64 => DType::I64,
    };
    DynTensor { dtype, shape: tensor.dimensions().into_iter().map(|size| size as usize).collect(), data: tensor.data() }
}

/// Whose fault it was decides the status. What the host said goes to the log: a client can do nothing with it.
fn problem(name: &str, error: &Error) -> Problem {
    let code = error.code();
    crate::log!("wasi-nn: model '{name}': {code:?}: {}", error.data());
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

    #[test]
    fn a_wrong_output_is_told_what_there_is() {
        let label = DynTensor { dtype: DType::I64, shape: vec![1], data: 7i64.to_le_bytes().to_vec() };
        let outputs = Outputs { model: "iris".to_owned(), tensors: vec![("label".to_owned(), label)] };
        assert_eq!(outputs.get::<i64>("label").unwrap().data(), [7]);
        assert_eq!(outputs.at(0).unwrap().shape, [1]);
        let said = "its outputs are 'label' of I64 [1]";
        for problem in [
            outputs.get::<i64>("labels").unwrap_err(),
            outputs.get::<f32>("label").unwrap_err(),
            outputs.at(1).unwrap_err(),
        ] {
            assert_eq!(problem.status, 500);
            assert!(problem.detail.contains(said), "{}", problem.detail);
        }
    }
}
