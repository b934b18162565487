//! What a card promises of a graph's inputs and outputs: names, element types and shapes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Shape;

/// The type of a tensor's elements. A card names it as wasi-nn does, or as the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DType {
    /// A byte that is 0 or 1.
    Bool,
    /// IEEE 754 binary16.
    Fp16,
    /// The upper half of an IEEE 754 binary32 (bfloat16).
    Bf16,
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary64.
    Fp64,
    /// An unsigned byte.
    #[serde(alias = "UINT8")]
    U8,
    /// An unsigned integer of 16 bits.
    #[serde(alias = "UINT16")]
    U16,
    /// An unsigned integer of 32 bits.
    #[serde(alias = "UINT32")]
    U32,
    /// An unsigned integer of 64 bits.
    #[serde(alias = "UINT64")]
    U64,
    /// A signed byte.
    #[serde(alias = "INT8")]
    I8,
    /// A signed integer of 16 bits.
    #[serde(alias = "INT16")]
    I16,
    /// A signed integer of 32 bits.
    #[serde(alias = "INT32")]
    I32,
    /// A signed integer of 64 bits.
    #[serde(alias = "INT64")]
    I64,
    /// Text of any length.
    #[serde(alias = "BYTES")]
    String,
}

/// Names that a protocol gives to element types. Cards and wasi-nn use [`DType::name`]; other protocols have their own.
pub type TypeNames = fn(DType) -> &'static str;

impl DType {
    /// All element types.
    pub const ALL: [DType; 14] = [
        Self::Bool,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::String,
    ];

    /// Bytes of one element; `None` for strings, each of which has a length of its own.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::Fp16 | Self::Bf16 | Self::U16 | Self::I16 => 2,
            Self::Fp32 | Self::U32 | Self::I32 => 4,
            Self::Fp64 | Self::U64 | Self::I64 => 8,
            Self::String => return None,
        })
    }

    /// The name in cards, such as `FP32`. It is that of wasi-nn where that has the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::U8 => "U8",
            Self::U16 => "U16",
            Self::U32 => "U32",
            Self::U64 => "U64",
            Self::I8 => "I8",
            Self::I16 => "I16",
            Self::I32 => "I32",
            Self::I64 => "I64",
            Self::String => "STRING",
        }
    }

    /// The name in the Open Inference Protocol, such as `UINT8`. It has none for `BF16` but Triton's.
    pub fn oip_name(self) -> &'static str {
        match self {
            Self::U8 => "UINT8",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::I8 => "INT8",
            Self::I16 => "INT16",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
            Self::String => "BYTES",
            Self::Bool | Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64 => self.name(),
        }
    }

    /// The type that the Open Inference Protocol calls `name`.
    pub fn from_oip_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.oip_name() == name)
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
    /// Sizes of the axes, outermost first; -1 is an axis of any size. Absent in a card that leaves them to the graph.
    #[serde(default)]
    pub shape: Shape,
}

impl TensorSpec {
    /// Whether a tensor of this type and shape fits.
    pub fn admits(&self, dtype: DType, shape: &[usize]) -> bool {
        self.dtype == dtype && self.shape.admits(shape)
    }

    /// Name, type and shape, for people: `'input' FP32 [-1, 3]`, with the type's name taken from `names`.
    pub fn describe(&self, names: TypeNames) -> String {
        // Names come from graphs: they must not write to a terminal as they like.
        let name = self.name.replace(char::is_control, "\u{FFFD}");
        format!("'{name}' {} {}", names(self.dtype), self.shape)
    }

    /// The sizes of the axes as protocols tell them, which have no word for any shape: one axis of any size.
    pub fn reported_shape(&self) -> &[i64] {
        if self.shape.is_any() { &[-1] } else { &self.shape }
    }

    /// Whether this, of a card, says the same as `graph`, or more: a size where the graph leaves an axis open, or axes where
    /// the graph says nothing of them. A card that says nothing of axes itself leaves them to the graph.
    pub fn refines(&self, graph: &Self) -> bool {
        let is_fitting = self.shape.is_any() || self.shape.is_within(&graph.shape);
        self.name == graph.name && self.dtype == graph.dtype && is_fitting
    }

    /// The smallest shape that fits: each variable axis becomes 1, and of any shape it is one axis.
    pub fn smallest_shape(&self) -> Vec<usize> {
        self.reported_shape().iter().map(|&axis| usize::try_from(axis).unwrap_or(1)).collect()
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
    // A scalar says nothing of a graph that says nothing of axes: that is how its inspection used to be written down.
    let says_something = |card: &TensorSpec, graph: &TensorSpec| !(graph.shape.is_any() && card.shape.is_empty());
    let says_more = |card: &TensorSpec, graph: &TensorSpec| {
        card.refines(graph) && !card.shape.is_any() && says_something(card, graph)
    };
    let of_card = |n: usize, graph: &TensorSpec| card.get(n).filter(|card| says_more(card, graph)).cloned();
    graph.iter().enumerate().map(|(n, graph)| of_card(n, graph).unwrap_or_else(|| graph.clone())).collect()
}

pub(crate) fn is_batched(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> bool {
    inputs.iter().chain(outputs).all(TensorSpec::takes_batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_name_types_as_wasi_nn_or_as_the_protocol() {
        #[derive(Deserialize)]
        struct Table {
            dtype: DType,
        }
        for dtype in DType::ALL {
            for name in [dtype.name(), dtype.oip_name()] {
                let table: Table = toml::from_str(&format!("dtype = \"{name}\"")).unwrap();
                assert_eq!(table.dtype, dtype, "{name}");
            }
            assert_eq!(DType::from_oip_name(dtype.oip_name()), Some(dtype));
        }
        assert_eq!(DType::from_oip_name("U8"), None);
    }

    #[test]
    fn a_spec_admits_any_size_only_where_it_says_so() {
        let spec = TensorSpec { name: "input".into(), dtype: DType::Fp32, shape: vec![-1, 3].into() };
        assert!(spec.admits(DType::Fp32, &[8, 3]));
        assert!(!spec.admits(DType::Fp32, &[8, 4]));
        assert!(!spec.admits(DType::Fp32, &[3]));
        assert!(!spec.admits(DType::U8, &[8, 3]));
        assert!(spec.admits(DType::Fp32, &[0, 3]), "an empty tensor is a tensor");
        let any = TensorSpec { shape: Shape::ANY, ..spec.clone() };
        assert!(any.admits(DType::Fp32, &[]) && any.admits(DType::Fp32, &[1, 4]) && !any.admits(DType::U8, &[]));
        assert_eq!((spec.smallest_shape(), any.smallest_shape()), (vec![1, 3], vec![1]));
        assert!(spec.takes_batches() && !any.takes_batches());
    }

    #[test]
    fn what_a_card_says_refines_the_graph() {
        let spec = |shape: Shape| TensorSpec { name: "x".into(), dtype: DType::Fp32, shape };
        let fixed = |axes: &[i64]| spec(axes.into());
        for (card, graph, served) in [
            (fixed(&[1, 3]), fixed(&[-1, 3]), fixed(&[1, 3])),
            (fixed(&[-1, 3]), fixed(&[2, 3]), fixed(&[2, 3])),
            (fixed(&[2]), spec(Shape::ANY), fixed(&[2])),
            (fixed(&[]), spec(Shape::ANY), spec(Shape::ANY)),
            (spec(Shape::ANY), fixed(&[-1]), fixed(&[-1])),
        ] {
            assert_eq!(refine(std::slice::from_ref(&card), std::slice::from_ref(&graph)), [served], "{card} {graph}");
        }
    }
}
