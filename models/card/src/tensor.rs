//! What a card promises of a graph's inputs and outputs: names, element types and shapes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a tensor's elements: those of wasi-nn 0.2.0-rc-2024-10-28, by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DType {
    /// IEEE 754 binary16.
    Fp16,
    /// The upper half of an IEEE 754 binary32 (bfloat16).
    Bf16,
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary64.
    Fp64,
    /// An unsigned byte.
    U8,
    /// A signed integer of 32 bits.
    I32,
    /// A signed integer of 64 bits.
    I64,
}

/// Names that a protocol gives to element types. Cards and wasi-nn use [`DType::name`]; other protocols have their own.
pub type TypeNames = fn(DType) -> &'static str;

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::Fp16 | Self::Bf16 => 2,
            Self::Fp32 | Self::I32 => 4,
            Self::Fp64 | Self::I64 => 8,
        }
    }

    /// The name in cards and in wasi-nn, such as `FP32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::U8 => "U8",
            Self::I32 => "I32",
            Self::I64 => "I64",
        }
    }
}

impl DType {
    /// The name in the Open Inference Protocol, such as `UINT8`. It has none for `BF16` but Triton's.
    pub fn oip_name(self) -> &'static str {
        match self {
            Self::U8 => "UINT8",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
            float => float.name(),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One input or output of a graph: what the graph reports, or what a card promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// The name in the graph.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// Sizes of the axes, outermost first; -1 is an axis of any size. Without axes it is a scalar, or a tensor of whose
    /// axes the graph says nothing: the two look alike.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Whether a tensor of this type and shape fits. Any shape fits where the graph says nothing of axes.
    pub fn admits(&self, dtype: DType, shape: &[usize]) -> bool {
        let fits = |(&want, &have): (&i64, &usize)| want < 0 || usize::try_from(want) == Ok(have);
        let has_fitting_axes = self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits);
        self.dtype == dtype && (self.shape.is_empty() || has_fitting_axes)
    }

    /// Name, type and shape, for people: `'input' FP32 [-1, 3]`, with the type's name taken from `names`.
    pub fn describe(&self, names: TypeNames) -> String {
        format!("'{}' {} {:?}", self.name, names(self.dtype), self.shape)
    }

    /// Whether this says the same as `graph`, or more: a size where the graph leaves an axis open, or axes where the graph
    /// says nothing of them.
    pub fn refines(&self, graph: &Self) -> bool {
        let fits = |(&own, &graph): (&i64, &i64)| own == graph || (graph < 0 && own >= 0);
        let has_fitting_axes = self.shape.len() == graph.shape.len() && self.shape.iter().zip(&graph.shape).all(fits);
        self.name == graph.name && self.dtype == graph.dtype && (graph.shape.is_empty() || has_fitting_axes)
    }

    /// The smallest shape that fits: each variable axis becomes 1.
    pub fn smallest_shape(&self) -> Vec<usize> {
        self.shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(1)).collect()
    }

    /// Whether axis 0 may have any size, so that rows of several requests can be computed at once.
    pub fn takes_batches(&self) -> bool {
        self.shape.first() == Some(&-1)
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(DType::name))
    }
}

/// The inputs and outputs of a graph, in the graph's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// What a computation takes.
    pub inputs: Vec<TensorSpec>,
    /// What a computation returns.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Whether axis 0 of every input and output counts rows, so that requests can be stacked along it.
    pub fn is_batched(&self) -> bool {
        is_batched(&self.inputs, &self.outputs)
    }
}

/// The tensors of a graph, each with the sizes that a card fixes for it. Where a card says something else of a tensor, or
/// nothing, it is the graph's.
pub fn refine(card: &[TensorSpec], graph: &[TensorSpec]) -> Vec<TensorSpec> {
    let of_card = |n: usize, graph: &TensorSpec| card.get(n).filter(|card| card.refines(graph)).cloned();
    graph.iter().enumerate().map(|(n, graph)| of_card(n, graph).unwrap_or_else(|| graph.clone())).collect()
}

pub(crate) fn is_batched(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> bool {
    inputs.iter().chain(outputs).all(TensorSpec::takes_batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_admits_any_size_only_where_it_says_so() {
        let spec = TensorSpec { name: "input".into(), dtype: DType::Fp32, shape: vec![-1, 3] };
        assert!(spec.admits(DType::Fp32, &[8, 3]));
        assert!(!spec.admits(DType::Fp32, &[8, 4]));
        assert!(!spec.admits(DType::Fp32, &[3]));
        assert!(!spec.admits(DType::U8, &[8, 3]));
        assert!(spec.admits(DType::Fp32, &[0, 3]), "an empty tensor is a tensor");
        let unknown = TensorSpec { shape: vec![], ..spec.clone() };
        assert!(unknown.admits(DType::Fp32, &[]) && unknown.admits(DType::Fp32, &[1, 4]));
        assert!(!unknown.admits(DType::U8, &[]));
        assert_eq!(spec.smallest_shape(), [1, 3]);
        assert!(spec.takes_batches());
    }
}
