//! Conversions between the types of wasi-nn and those of `nn`: errors, targets and element types.

use std::fmt::Display;

use super::NnError;
use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::graph::ExecutionTarget;
use super::bindings::wasi::nn::tensor::TensorType;
use modelfn_nn::backend::{LoadError, Target};
use modelfn_nn::batcher::Failure;
use modelfn_nn::model::{Model, ModelError};
use modelfn_nn::tensor::{DType, Signature};

impl From<ModelError> for NnError {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::InvalidInput(_) => ErrorCode::InvalidArgument,
            ModelError::TooLarge(_) => ErrorCode::TooLarge,
            ModelError::Failure(Failure::Deadline(_)) => ErrorCode::Timeout,
            ModelError::Failure(Failure::Engine(_) | Failure::Overloaded(_) | Failure::Unavailable { .. }) => {
                ErrorCode::RuntimeError
            }
        };
        NnError::new(code, error.to_string())
    }
}

impl From<LoadError> for NnError {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::NoEngine(_) => ErrorCode::InvalidEncoding,
            LoadError::Busy(_) => ErrorCode::RuntimeError,
            LoadError::NoTarget(..) => ErrorCode::UnsupportedOperation,
            LoadError::Invalid(_)
            | LoadError::Digest { .. }
            | LoadError::ExternalDigest { .. }
            | LoadError::WarmUp(_)
            | LoadError::MadeUpWarmUp(_) => ErrorCode::InvalidArgument,
        };
        NnError::new(code, error.to_string())
    }
}

impl From<ExecutionTarget> for Target {
    fn from(target: ExecutionTarget) -> Self {
        match target {
            ExecutionTarget::Cpu => Target::Cpu,
            ExecutionTarget::Gpu => Target::Gpu,
            ExecutionTarget::Tpu => Target::Tpu,
        }
    }
}

impl From<TensorType> for DType {
    fn from(dtype: TensorType) -> Self {
        match dtype {
            TensorType::Fp16 => DType::Fp16,
            TensorType::Bf16 => DType::Bf16,
            TensorType::Fp32 => DType::Fp32,
            TensorType::Fp64 => DType::Fp64,
            TensorType::U8 => DType::U8,
            TensorType::I32 => DType::I32,
            TensorType::I64 => DType::I64,
        }
    }
}

/// The element type in wasi-nn; `None` for a type that it lacks.
pub(super) fn tensor_type(dtype: DType) -> Option<TensorType> {
    Some(match dtype {
        DType::Fp16 => TensorType::Fp16,
        DType::Bf16 => TensorType::Bf16,
        DType::Fp32 => TensorType::Fp32,
        DType::Fp64 => TensorType::Fp64,
        DType::U8 => TensorType::U8,
        DType::I32 => TensorType::I32,
        DType::I64 => TensorType::I64,
        DType::Bool | DType::U16 | DType::U32 | DType::U64 | DType::I8 | DType::I16 | DType::String => return None,
    })
}

/// Checks that guests can hold all inputs and outputs of a model.
///
/// # Errors
///
/// One of them has a type that wasi-nn lacks.
pub(super) fn check_types(model: &Model) -> Result<(), NnError> {
    let Signature { inputs, outputs } = model.signature();
    match inputs.iter().chain(outputs).find(|spec| tensor_type(spec.dtype).is_none()) {
        Some(spec) => Err(no_type(format_args!("model '{}' has {spec}", model.name()))),
        None => Ok(()),
    }
}

/// The error for an input or output whose type wasi-nn lacks. `what` is the beginning of the sentence.
pub(super) fn no_type(what: impl Display) -> NnError {
    let text = format!(
        "{what}, but the types of wasi-nn are FP16, FP32, FP64, BF16, U8, I32 and I64; cast it within the graph, or send \
         tensors to the model below /v2 instead of calling a function"
    );
    NnError::new(ErrorCode::UnsupportedOperation, text)
}
