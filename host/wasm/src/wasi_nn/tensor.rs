//! The resource `tensor` of wasi-nn.

use bytes::Bytes;
use modelfn_nn::tensor::Tensor;
use wasmtime::component::Resource;

use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::tensor::{self, TensorType};
use super::convert::{no_type, tensor_type};
use super::{NnError, State, Unreserved};
use crate::error::InvokeError;

/// The resource `tensor`. Whether its shape and data agree is checked only when it becomes the input of a computation.
pub struct GuestTensor {
    shape: Vec<u32>,
    dtype: TensorType,
    /// Row-major elements, little-endian.
    data: Bytes,
}

impl GuestTensor {
    /// Bytes that the host holds for this tensor: its data, and the part of its shape that is longer than any real
    /// tensor's.
    pub(super) fn held_bytes(&self) -> usize {
        const FREE_AXES: usize = 16;
        self.data.len() + size_of::<u32>() * self.shape.len().saturating_sub(FREE_AXES)
    }

    /// The tensor as the input `name` of a computation.
    ///
    /// # Errors
    ///
    /// The data has another length than the shape and type demand.
    pub(super) fn into_tensor(self, name: &str) -> Result<Tensor, NnError> {
        let shape = self.shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect();
        Tensor::new(self.dtype.into(), shape, self.data)
            .map_err(|e| NnError::new(ErrorCode::InvalidArgument, format!("input '{name}': {e}")))
    }

    /// The output `name` of a computation.
    ///
    /// # Errors
    ///
    /// wasi-nn lacks its type.
    pub(super) fn from_output(name: &str, tensor: &Tensor) -> Result<Self, NnError> {
        let shape = tensor.shape().iter().map(|&axis| u32::try_from(axis).unwrap_or(u32::MAX)).collect();
        let dtype = tensor_type(tensor.dtype())
            .ok_or_else(|| no_type(format_args!("an output '{name}' of type {}", tensor.dtype())))?;
        Ok(GuestTensor { shape, dtype, data: tensor.data().clone() })
    }
}

impl tensor::Host for State {}

impl tensor::HostTensor for State {
    fn new(&mut self, shape: Vec<u32>, dtype: TensorType, data: Vec<u8>) -> wasmtime::Result<Resource<GuestTensor>> {
        let tensor = GuestTensor { shape, dtype, data: data.into() };
        let bytes = tensor.held_bytes();
        self.nn.reserve(bytes).map_err(|unreserved| match unreserved {
            // A constructor can return no error to the guest, so the guest traps.
            Unreserved::Limit(limit) => InvokeError::OutOfMemory(format!(
                "another tensor of {bytes} bytes would exceed the {limit} bytes that the tensors of a request may be"
            )),
            Unreserved::MemoryFull(full) => full.into(),
        })?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&tensor)?.shape.clone())
    }

    fn ty(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<TensorType> {
        Ok(self.table.get(&tensor)?.dtype)
    }

    fn data(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&tensor)?.data.to_vec())
    }

    fn drop(&mut self, tensor: Resource<GuestTensor>) -> wasmtime::Result<()> {
        let tensor = self.table.delete(tensor)?;
        self.nn.release(tensor.held_bytes());
        Ok(())
    }
}
