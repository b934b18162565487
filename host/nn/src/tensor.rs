//! Tensors, which are an element type, a shape and bytes, and the signatures of graphs.
//!
//! Data is row-major and in native (little-endian) byte order, as wasi-nn and the Open Inference Protocol
//! send it. Bytes are shared, never copied, when a tensor is cloned.

use std::fmt;

use bytes::Bytes;

/// Named tensors, in the order in which they were given: inputs or outputs of one computation.
pub type Tensors = Vec<(String, Tensor)>;

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

/// The type of a tensor's elements: those of wasi-nn 0.2.0-rc-2024-10-28.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum DType {
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    U8,
    I32,
    I64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::Fp16 | DType::Bf16 => 2,
            DType::Fp32 | DType::I32 => 4,
            DType::Fp64 | DType::I64 => 8,
        }
    }
}

/// A protocol's names of the element types. Cards and guests use those of wasi-nn.
pub type TypeWords = fn(DType) -> &'static str;

impl DType {
    /// wasi-nn's name of the type.
    pub fn word(self) -> &'static str {
        match self {
            DType::Fp16 => "FP16",
            DType::Bf16 => "BF16",
            DType::Fp32 => "FP32",
            DType::Fp64 => "FP64",
            DType::U8 => "U8",
            DType::I32 => "I32",
            DType::I64 => "I64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The name, element type and shape of one input or output, as a graph has it or a card declares it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// The name in the graph.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// Sizes of the axes, outermost first; -1 is an axis of any size.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Whether a tensor of this type and shape matches.
    pub fn admits(&self, dtype: DType, shape: &[usize]) -> bool {
        self.dtype == dtype
            && self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(&want, &have)| want < 0 || usize::try_from(want) == Ok(have))
    }

    /// Name, type and shape as text.
    pub fn describe(&self, words: TypeWords) -> String {
        format!("'{}' {} {:?}", self.name, words(self.dtype), self.shape)
    }

    /// The smallest shape that matches: each axis of any size becomes 1.
    pub fn smallest_shape(&self) -> Vec<usize> {
        self.shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(1)).collect()
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(DType::word))
    }
}

/// The inputs and outputs of a graph, in the graph's order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Signature {
    /// The tensors that `compute` takes.
    pub inputs: Vec<TensorSpec>,
    /// The tensors that `compute` returns.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Whether axis 0 of every input and output counts rows. See [`is_batched`].
    pub fn is_batched(&self) -> bool {
        is_batched(&self.inputs, &self.outputs)
    }
}

/// Whether axis 0 of every input and output is of any size, so that it counts rows and requests can be stacked on it.
pub fn is_batched(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> bool {
    inputs.iter().chain(outputs).all(|spec| spec.shape.first() == Some(&-1))
}

/// The data of a tensor does not have the length that its shape and type demand.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe(DType::word))]
pub struct WrongLength {
    dtype: DType,
    shape: Vec<usize>,
    expected: Option<usize>,
    actual: usize,
}

impl WrongLength {
    /// The error's text, with a protocol's names of the element types.
    pub fn describe(&self, words: TypeWords) -> String {
        let WrongLength { dtype, shape, expected, actual } = self;
        let expected = expected.map_or_else(|| "more bytes than can be addressed".to_owned(), |n| format!("{n} bytes"));
        format!("a {} tensor of shape {shape:?} has {expected}, but the data is {actual} bytes", words(*dtype))
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

    #[test]
    fn a_spec_admits_any_size_only_where_it_says_so() {
        let spec = TensorSpec { name: "input".into(), dtype: DType::Fp32, shape: vec![-1, 3] };
        assert!(spec.admits(DType::Fp32, &[8, 3]));
        assert!(!spec.admits(DType::Fp32, &[8, 4]));
        assert!(!spec.admits(DType::Fp32, &[3]));
        assert!(!spec.admits(DType::U8, &[8, 3]));
        assert_eq!(spec.smallest_shape(), [1, 3]);
    }
}
