//! Tensors: dense, row-major. [`Tensor`] knows the type of its elements, [`DynTensor`] learns it when the program runs.

use std::borrow::Cow;

use half::{bf16, f16};
use modelfn_card::DType;

use crate::problem::Problem;

/// A type that elements of tensors may have: what wasi-nn can carry.
pub trait Element: bytemuck::Pod + private::Sealed {
    /// Its name in cards.
    const DTYPE: DType;
}

mod private {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($type:ty => $dtype:ident)*) => {
        $(
            impl private::Sealed for $type {}
            impl Element for $type {
                const DTYPE: DType = DType::$dtype;
            }
        )*
    };
}

elements! { f16 => Fp16 bf16 => Bf16 f32 => Fp32 f64 => Fp64 u8 => U8 i32 => I32 i64 => I64 }

/// What a model computes on: a type, a shape and the elements' bytes. Both kinds of tensors are that.
pub trait AsTensor {
    /// The type of the elements.
    fn dtype(&self) -> DType;

    /// Sizes of the axes, outermost first; none for a scalar.
    fn shape(&self) -> &[usize];

    /// The elements' bytes, row-major, little-endian.
    fn bytes(&self) -> &[u8];
}

impl<T: AsTensor + ?Sized> AsTensor for &T {
    fn dtype(&self) -> DType {
        (**self).dtype()
    }

    fn shape(&self) -> &[usize] {
        (**self).shape()
    }

    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }
}

/// A tensor of elements of the type `T`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl<T: Element> Tensor<T> {
    /// A tensor of that shape, whose elements are row-major.
    ///
    /// # Errors
    ///
    /// 500 where there are more or fewer elements than the shape says.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, Problem> {
        let shape = shape.into();
        if count(&shape) == Some(data.len()) {
            return Ok(Self { shape, data });
        }
        Err(Problem::internal(format!("a tensor of the shape {shape:?} can't have {} elements", data.len())))
    }

    /// A tensor of shape `[rows, columns]`.
    ///
    /// # Errors
    ///
    /// 400 where there is no row, or where rows differ in length, since rows come from a request.
    pub fn from_rows<R: AsRef<[T]>>(rows: impl IntoIterator<Item = R>) -> Result<Self, Problem> {
        let (mut data, mut count, mut columns) = (Vec::new(), 0, 0);
        for row in rows {
            let row = row.as_ref();
            if count > 0 && row.len() != columns {
                let detail = format!("row {count} has {} values, and those before it have {columns}", row.len());
                return Err(Problem::bad_request(detail).with("row", count));
            }
            columns = row.len();
            data.extend_from_slice(row);
            count += 1;
        }
        if count == 0 {
            return Err(Problem::bad_request("there are no rows; send at least one"));
        }
        Ok(Self { shape: vec![count, columns], data })
    }

    /// A tensor of one axis.
    pub fn vector(data: impl Into<Vec<T>>) -> Self {
        let data = data.into();
        Self { shape: vec![data.len()], data }
    }

    /// A tensor of no axis.
    pub fn scalar(value: T) -> Self {
        Self { shape: Vec::new(), data: vec![value] }
    }

    /// Sizes of the axes, outermost first; none for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All elements, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All elements, row-major.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// What lies along the first axis: of the shape `[2, 3, 4]` two slices of 12 elements each. A scalar is one row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> {
        let rows = self.shape.first().copied().unwrap_or(1);
        let row = self.data.len().checked_div(rows).unwrap_or(0);
        (0..rows).map(move |index| &self.data[index * row..][..row])
    }

    /// The tensor as `ndarray` has it, without a copy.
    #[cfg(feature = "ndarray")]
    pub fn view(&self) -> ndarray::ArrayViewD<'_, T> {
        ndarray::ArrayViewD::from_shape(self.shape.clone(), &self.data)
            .expect("a tensor has as many elements as its shape says")
    }
}

#[cfg(feature = "ndarray")]
impl<T: Element, D: ndarray::Dimension> From<ndarray::Array<T, D>> for Tensor<T> {
    /// Copies only where the elements are not in row-major order.
    fn from(array: ndarray::Array<T, D>) -> Self {
        let shape = array.shape().to_vec();
        let array = if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() };
        let (data, offset) = array.into_raw_vec_and_offset();
        let count = shape.iter().product();
        let start = offset.unwrap_or(0);
        let data = if start == 0 && data.len() == count { data } else { data[start..][..count].to_vec() };
        Self { shape, data }
    }
}

impl<T: Element> AsTensor for Tensor<T> {
    fn dtype(&self) -> DType {
        T::DTYPE
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.data)
    }
}

/// A tensor whose elements are of a type that only the running program knows.
#[derive(Debug, Clone, PartialEq)]
pub struct DynTensor {
    /// The type of the elements.
    pub dtype: DType,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The elements' bytes, row-major, little-endian: as many as `dtype` and `shape` say.
    pub data: Vec<u8>,
}

impl DynTensor {
    /// The tensor with elements of the type `T`.
    ///
    /// # Errors
    ///
    /// 500 where they are of another, or where there are not as many as the shape says.
    pub fn to<T: Element>(&self) -> Result<Tensor<T>, Problem> {
        if self.dtype != T::DTYPE {
            return Err(Problem::internal(format!(
                "a tensor of {} was asked for, and it is one of {}",
                T::DTYPE,
                self.dtype
            )));
        }
        let elements: Cow<'_, [T]> = match bytemuck::try_cast_slice(&self.data) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&self.data)),
        };
        Tensor::new(self.shape.clone(), elements.into_owned())
    }

    /// The elements as f32; `None` for a type that is not a floating-point number of 16, 32 or 64 bits.
    pub fn floats(&self) -> Option<Vec<f32>> {
        let data = &self.data;
        Some(match self.dtype {
            DType::Fp32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            DType::Fp64 => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
            DType::Fp16 => data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            DType::Bf16 => data.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            _ => return None,
        })
    }
}

impl AsTensor for DynTensor {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn bytes(&self) -> &[u8] {
        &self.data
    }
}

/// The number of elements of a shape; `None` where no machine has so many.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
}

#[cfg(test)]
mod tests;
