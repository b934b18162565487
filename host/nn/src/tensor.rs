//! Tensors, which are an element type, a shape and bytes, and the signatures of graphs.
//!
//! Data is row-major and in native (little-endian) byte order, as wasi-nn and the Open Inference Protocol
//! send it. Bytes are shared, never copied, when a tensor is cloned.

use bytes::Bytes;
pub use modelfn_card::{DType, Signature, TensorSpec, TypeNames};

/// Named tensors, in the order in which they were given: inputs or outputs of one computation.
pub type Tensors = Vec<(String, Tensor)>;

/// The names that a graph gives to axes of its inputs: for each input, in the order of the signature, the names of its
/// axes, empty where an axis has none. Axes of one name have the same size in a computation.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AxisNames(pub Vec<Vec<String>>);

/// The number of rows in `tensors`: the size of axis 0 of the first tensor, if that has an axis.
pub(super) fn rows(tensors: &Tensors) -> Option<usize> {
    tensors.first().and_then(|(_, tensor)| tensor.shape().first()).copied()
}

/// A dense tensor, whose data is exactly as long as its shape and type demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

impl Tensor {
    /// Creates a tensor of `shape` from row-major, little-endian `data`.
    ///
    /// # Errors
    ///
    /// The length of `data` is not the product of `shape` times the element size, or that product overflows.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, WrongLength> {
        match byte_len(dtype, &shape) {
            Some(expected) if expected == data.len() => Ok(Tensor { dtype, shape, data }),
            expected => Err(WrongLength { dtype, shape, expected, actual: data.len() }),
        }
    }

    /// Creates a tensor of zeros, as warm-ups use it.
    ///
    /// # Errors
    ///
    /// The byte size of `shape` overflows.
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Result<Self, WrongLength> {
        let len = byte_len(dtype, &shape).ok_or_else(|| WrongLength {
            dtype,
            shape: shape.clone(),
            expected: None,
            actual: 0,
        })?;
        Tensor::new(dtype, shape, vec![0; len].into())
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes, outermost first. Empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Row-major elements in little-endian bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }
}

/// The data of a tensor does not have the length that its shape and type demand.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe(DType::name))]
pub struct WrongLength {
    dtype: DType,
    shape: Vec<usize>,
    expected: Option<usize>,
    actual: usize,
}

impl WrongLength {
    /// The error's text, with a protocol's names of the element types.
    pub fn describe(&self, names: TypeNames) -> String {
        let WrongLength { dtype, shape, expected, actual } = self;
        let expected = expected.map_or_else(|| "more bytes than can be addressed".to_owned(), |n| format!("{n} bytes"));
        format!("a {} tensor of shape {shape:?} has {expected}, but the data is {actual} bytes", names(*dtype))
    }
}

fn byte_len(dtype: DType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |len, &axis| len.checked_mul(axis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_must_fill_the_shape_exactly() {
        assert!(Tensor::new(DType::Fp32, vec![2, 3], vec![0; 24].into()).is_ok());
        let error = Tensor::new(DType::Fp32, vec![2, 3], vec![0; 23].into()).unwrap_err();
        assert_eq!(error.to_string(), "a FP32 tensor of shape [2, 3] has 24 bytes, but the data is 23 bytes");
    }

    #[test]
    fn a_shape_that_overflows_is_an_error_and_not_a_small_tensor() {
        let error = Tensor::new(DType::I64, vec![usize::MAX, 2], Bytes::new()).unwrap_err();
        assert!(error.to_string().contains("more bytes than can be addressed"));
        assert!(Tensor::zeros(DType::I64, vec![usize::MAX, 2]).is_err());
    }

    #[test]
    fn a_scalar_has_one_element_and_an_empty_axis_none() {
        assert!(Tensor::new(DType::U8, vec![], vec![7].into()).is_ok());
        assert!(Tensor::new(DType::U8, vec![4, 0], Bytes::new()).is_ok());
    }
}
