//! Tensors of strings: the engine has its own copy of each element.

use std::ptr::null_mut;

use ort::AsPointer;
use ort::memory::Allocator;
use ort::value::{DynTensor, DynValue, TensorElementType};

use crate::tensor::{DType, Tensor, encode_strings};

/// Copies a tensor of strings to the engine. A string may contain any characters, also NUL.
///
/// # Errors
///
/// The engine has no memory for it.
pub(super) fn to_value(tensor: &Tensor) -> ort::Result<DynTensor> {
    let value = DynTensor::new(&Allocator::default(), TensorElementType::String, tensor.shape().to_vec())?;
    for (position, string) in tensor.strings().enumerate() {
        let mut buffer = null_mut();
        #[expect(unsafe_code, reason = "ort's own call takes strings that end at a NUL")]
        // SAFETY: the tensor is this function's own and has as many elements as `tensor`. The engine says where the bytes
        // of an element are, as many as it was asked for, and they are written before anything else is done with it.
        unsafe {
            ort::Error::result_from_status((ort::api().GetResizedStringTensorElementBuffer)(
                value.ptr().cast_mut(),
                position,
                string.len(),
                &raw mut buffer,
            ))?;
            std::ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast::<u8>(), string.len());
        }
    }
    Ok(value)
}

/// Copies a tensor of strings from the engine.
///
/// # Errors
///
/// A sentence: the value is no tensor of strings, or a string is not UTF-8.
pub(super) fn from_value(value: &DynValue) -> Result<Tensor, String> {
    let (shape, strings) = value.try_extract_strings().map_err(|e| e.to_string())?;
    let shape = shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(0)).collect();
    let data = encode_strings(strings.iter().map(String::as_str));
    Tensor::new(DType::String, shape, data).map_err(|e| e.to_string())
}
