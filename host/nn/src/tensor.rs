//! Tensors, which are an element type, a shape and bytes, and the signatures of graphs.
//!
//! Data is row-major and in native (little-endian) byte order, as wasi-nn and the Open Inference Protocol
//! send it. Bytes are shared, never copied, when a tensor is cloned.

mod strings;

pub use self::strings::Strings;
pub use self::strings::{append as append_string, encode as encode_strings};
use bytes::Bytes;
pub use modelfn_card::{DType, Shape, Signature, TensorSpec, TypeNames};

/// Named tensors, in the order in which they were given: inputs or outputs of one computation.
pub type Tensors = Vec<(String, Tensor)>;

/// The names that a graph gives to axes of its inputs: for each input, in the order of the signature, the names of its
/// axes, empty where an axis has none. Axes of one name have the same size in a computation.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AxisNames(pub Vec<Vec<String>>);

/// The names of the classes that the columns of an output stand for, where the graph has them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClassNames {
    /// The output.
    pub output: String,
    /// A name for each column.
    pub names: Vec<String>,
}

/// The number of rows in `tensors`: the size of axis 0 of the first tensor, if that has an axis.
pub(super) fn rows(tensors: &Tensors) -> Option<usize> {
    tensors.first().and_then(|(_, tensor)| tensor.shape().first()).copied()
}

/// A dense tensor, whose data has exactly the elements that its shape and type demand.
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
    /// See [`WrongData`].
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, WrongData> {
        let Some(size) = dtype.size() else {
            strings::check(&shape, &data)?;
            return Ok(Tensor { dtype, shape, data });
        };
        match byte_len(size, &shape) {
            Some(expected) if expected == data.len() => {}
            expected => return Err(WrongData::Length { dtype, shape, expected, actual: data.len() }),
        }
        if dtype == DType::Bool
            && let Some(&byte) = data.iter().find(|&&byte| byte > 1)
        {
            // To engines, which are written in C++, another byte would be undefined behaviour.
            return Err(WrongData::Bool(byte));
        }
        Ok(Tensor { dtype, shape, data })
    }

    /// Creates a tensor of zeros, or of empty strings, as warm-ups use it.
    ///
    /// # Errors
    ///
    /// The byte size of `shape` overflows.
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Result<Self, WrongData> {
        let len = Tensor::zeros_len(dtype, &shape).ok_or_else(|| WrongData::Length {
            dtype,
            shape: shape.clone(),
            expected: None,
            actual: 0,
        })?;
        Tensor::new(dtype, shape, vec![0; len].into())
    }

    /// The bytes of [`Tensor::zeros`]; `None` where they can't be counted.
    pub fn zeros_len(dtype: DType, shape: &[usize]) -> Option<usize> {
        byte_len(dtype.size().unwrap_or(strings::PREFIX), shape)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes, outermost first. Empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Row-major elements in little-endian bytes. Each string is its length as a `u32` and then its bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The elements of a tensor of strings. Another tensor has none.
    pub fn strings(&self) -> Strings<'_> {
        Strings::new(if self.dtype == DType::String { &self.data } else { &[] })
    }
}

/// Data that is no tensor of its type and shape.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe(DType::name))]
pub enum WrongData {
    /// Its length is not the product of the shape times the size of an element.
    Length {
        /// The element type.
        dtype: DType,
        /// The shape that the data should fill.
        shape: Vec<usize>,
        /// The bytes that the shape has; `None` where they can't be counted.
        expected: Option<usize>,
        /// The bytes of the data.
        actual: usize,
    },
    /// A byte of a tensor of BOOL is neither 0 nor 1.
    Bool(u8),
    /// There are more or fewer strings than the shape has elements.
    Strings {
        /// The shape that the strings should fill.
        shape: Vec<usize>,
        /// The elements that the shape has; `None` where they can't be counted.
        expected: Option<usize>,
        /// The strings in the data.
        found: usize,
    },
    /// The data ends within a string.
    StringCutOff {
        /// The string, counted from 0.
        element: usize,
    },
    /// A string is not UTF-8.
    NotUtf8 {
        /// The string, counted from 0.
        element: usize,
    },
}

impl WrongData {
    /// The error's text, with a protocol's names of the element types.
    pub fn describe(&self, names: TypeNames) -> String {
        match self {
            WrongData::Length { dtype, shape, expected, actual } => {
                let most = || "more bytes than can be addressed".to_owned();
                let expected = expected.map_or_else(most, |n| format!("{n} bytes"));
                format!("a {} tensor of shape {shape:?} has {expected}, but the data is {actual} bytes", names(*dtype))
            }
            WrongData::Bool(byte) => format!("an element of {} is the byte 0 or 1, not {byte}", names(DType::Bool)),
            WrongData::Strings { shape, expected, found } => {
                let expected = expected
                    .map_or_else(|| "more elements than can be counted".to_owned(), |n| format!("{n} elements"));
                let dtype = names(DType::String);
                format!("a {dtype} tensor of shape {shape:?} has {expected}, but the data has {found}")
            }
            WrongData::StringCutOff { element } => format!(
                "element {element} of the strings is cut off: each is its length as four bytes and then its bytes"
            ),
            WrongData::NotUtf8 { element } => format!("element {element} of the strings is not UTF-8"),
        }
    }
}

fn byte_len(element_size: usize, shape: &[usize]) -> Option<usize> {
    elements(shape)?.checked_mul(element_size)
}

/// The number of elements of a shape; `None` where that can't be counted.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |elements, &axis| elements.checked_mul(axis))
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
    fn what_is_neither_true_nor_false_is_no_boolean() {
        assert!(Tensor::new(DType::Bool, vec![3], vec![0, 1, 1].into()).is_ok());
        let error = Tensor::new(DType::Bool, vec![3], vec![0, 1, 2].into()).unwrap_err();
        assert_eq!(error.to_string(), "an element of BOOL is the byte 0 or 1, not 2");
        assert!(Tensor::new(DType::I8, vec![1], vec![2].into()).is_ok());
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
