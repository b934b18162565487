//! Between the words of wasi-nn and those of `nn`: errors to codes, types, targets, tensors.

use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::graph::ExecutionTarget;
use super::bindings::wasi::nn::tensor::TensorType;
use super::{GuestTensor, NnError};
use modelfn_nn::backend::{LoadError, Target};
use modelfn_nn::batcher::Failure;
use modelfn_nn::model::ModelError;
use modelfn_nn::tensor::{DType, Tensor};

impl GuestTensor {
    /// Bytes that the host holds for it: its data, and a shape that is longer than any tensor's should be.
    pub(super) fn held(&self) -> usize {
        const FREE_AXES: usize = 16;
        self.data.len() + size_of::<u32>() * self.shape.len().saturating_sub(FREE_AXES)
    }

    /// The tensor to compute with, if its data fill its shape.
    pub(super) fn checked(self, name: &str) -> Result<Tensor, NnError> {
        let shape = self.shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect();
        Tensor::new(self.dtype.into(), shape, self.data)
            .map_err(|e| NnError::new(ErrorCode::InvalidArgument, format!("input '{name}': {e}")))
    }
}

impl From<Tensor> for GuestTensor {
    fn from(tensor: Tensor) -> Self {
        let shape = tensor.shape().iter().map(|&axis| u32::try_from(axis).unwrap_or(u32::MAX)).collect();
        GuestTensor { shape, dtype: tensor.dtype().into(), data: tensor.data().clone() }
    }
}

impl From<ModelError> for NnError {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::InvalidInput(_) => ErrorCode::InvalidArgument,
            ModelError::TooLarge(_) => ErrorCode::TooLarge,
            ModelError::Failure(Failure::Deadline(_)) => ErrorCode::Timeout,
            ModelError::Failure(Failure::Engine(_) | Failure::Overloaded(_)) => ErrorCode::RuntimeError,
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
            LoadError::Invalid(_) => ErrorCode::InvalidArgument,
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
