//! Conversions between the types of wasi-nn and those of `nn`: errors, targets and element types.

use super::NnError;
use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::graph::ExecutionTarget;
use super::bindings::wasi::nn::tensor::TensorType;
use modelfn_nn::backend::{LoadError, Target};
use modelfn_nn::batcher::Failure;
use modelfn_nn::model::ModelError;
use modelfn_nn::tensor::DType;

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
            | LoadError::WarmUp(_) => ErrorCode::InvalidArgument,
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

impl From<DType> for TensorType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::Fp16 => TensorType::Fp16,
            DType::Bf16 => TensorType::Bf16,
            DType::Fp32 => TensorType::Fp32,
            DType::Fp64 => TensorType::Fp64,
            DType::U8 => TensorType::U8,
            DType::I32 => TensorType::I32,
            DType::I64 => TensorType::I64,
        }
    }
}
