//! What a model takes and returns, as templates name it.

use anyhow::{Result, ensure};
use modelfn_card::{DType, Signature, TensorSpec};
use modelfn_nn::inspect::GraphFacts;
use serde::Serialize;

use super::name::identifier;

/// The size of an open axis in examples, but for the first, which counts rows.
const USUAL_SIZE: i64 = 16;

/// The longest row of numbers that has a type of fixed length: serde reads no longer ones.
const MAX_FIXED_ROW: i64 = 32;

/// The inputs and outputs that functions can use.
#[derive(Debug, Serialize)]
pub(super) struct FunctionSignature {
    pub(super) inputs: Vec<FunctionTensor>,
    pub(super) outputs: Vec<FunctionTensor>,
    /// Outputs of the graph that functions can't receive.
    pub(super) left_out: Vec<String>,
}

/// An input or output.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FunctionTensor {
    /// The name in the graph.
    pub(super) name: String,
    /// The name as a literal of Rust.
    rust_name: String,
    /// The name as a literal of Python and of JSON.
    json_name: String,
    /// The name within a comment.
    shown_name: String,
    /// The name of a variable.
    pub(super) ident: String,
    pub(super) dtype: DType,
    /// The type of an element in Rust.
    rust: &'static str,
    /// The type of an element in Python.
    python: &'static str,
    is_integer: bool,
    /// -1 is an axis of any size.
    pub(super) shape: Vec<i64>,
    /// The shape as people read it.
    shown_shape: String,
    /// Values of a row, which is all but the first axis; -1 where that is open.
    pub(super) columns: i64,
    /// Whether a row is one number.
    is_scalar: bool,
    /// Whether a row has a type of fixed length.
    is_fixed: bool,
    /// A shape for an example.
    pub(super) example_shape: Vec<i64>,
    /// The names of the columns, where the graph has them.
    classes: Vec<String>,
    /// The names of the columns as literals of Rust.
    rust_classes: Vec<String>,
    /// The names of the columns as literals of Python.
    json_classes: Vec<String>,
}

impl FunctionSignature {
    /// The signature of a graph, and what is known of the graph without those outputs that functions can't receive.
    ///
    /// # Errors
    ///
    /// Functions can't use the graph: why, and what to do.
    pub(super) fn of(facts: GraphFacts) -> Result<(GraphFacts, FunctionSignature)> {
        let Signature { inputs, outputs } = facts.signature;
        if let Some(input) = inputs.iter().find(|input| types(input.dtype).is_none()) {
            anyhow::bail!(
                "the model takes {input}, and functions can't send such a tensor (wasi-nn has FP16, FP32, FP64, BF16, U8, I32 and \
                 I64); encode it before the export, or use the model without a function: modelfn serve FILE.onnx"
            );
        }
        let (outputs, left_out): (Vec<_>, Vec<_>) =
            outputs.into_iter().partition(|output| types(output.dtype).is_some());
        ensure!(
            !outputs.is_empty(),
            "the model returns nothing that functions can receive (wasi-nn has FP16, FP32, FP64, BF16, U8, I32 and I64); \
             use it without a function: modelfn serve FILE.onnx"
        );
        let classes = |name: &str| {
            let found = facts.classes.iter().find(|classes| classes.output == name);
            found.map(|classes| classes.names.clone()).unwrap_or_default()
        };
        let signature = FunctionSignature {
            inputs: tensors(&inputs, |_| Vec::new()),
            outputs: tensors(&outputs, classes),
            left_out: left_out.iter().map(|output| output.name.clone()).collect(),
        };
        Ok((GraphFacts { signature: Signature { inputs, outputs }, ..facts }, signature))
    }

    /// The number of rows that the model takes, where it is fixed.
    pub(super) fn rows(&self) -> Option<i64> {
        self.inputs.first().and_then(|input| input.shape.first()).copied().filter(|&rows| rows >= 0)
    }
}

fn tensors(specs: &[TensorSpec], classes: impl Fn(&str) -> Vec<String>) -> Vec<FunctionTensor> {
    let mut taken = Vec::new();
    let tensors = specs.iter().map(|spec| {
        let ident = identifier(&spec.name, &taken);
        taken.push(ident.clone());
        FunctionTensor::new(spec, ident, classes(&spec.name))
    });
    tensors.collect()
}

impl FunctionTensor {
    fn new(spec: &TensorSpec, ident: String, classes: Vec<String>) -> FunctionTensor {
        let TensorSpec { name, dtype, shape } = spec;
        let (rust, python) = types(*dtype).unwrap_or_default();
        let row = shape.get(1..).unwrap_or_default();
        let columns = if shape.is_any() || row.iter().any(|&axis| axis < 0) { -1 } else { row.iter().product() };
        let size = |(n, &axis): (usize, &i64)| match (n, axis) {
            (_, axis) if axis >= 0 => axis,
            (0, _) => 1,
            _ => USUAL_SIZE,
        };
        FunctionTensor {
            rust_name: format!("{name:?}"),
            json_name: serde_json::Value::from(name.as_str()).to_string(),
            shown_name: name.replace(|c: char| c.is_control() || c == '`', "\u{FFFD}"),
            ident,
            dtype: *dtype,
            rust,
            python,
            is_integer: matches!(dtype, DType::U8 | DType::I32 | DType::I64),
            shape: shape.to_vec(),
            shown_shape: shape.to_string(),
            columns,
            is_scalar: columns == 1,
            is_fixed: (1..=MAX_FIXED_ROW).contains(&columns),
            example_shape: if shape.is_any() { vec![1] } else { shape.iter().enumerate().map(size).collect() },
            rust_classes: classes.iter().map(|class| format!("{class:?}")).collect(),
            json_classes: classes.iter().map(|class| serde_json::Value::from(class.as_str()).to_string()).collect(),
            classes,
            name: name.clone(),
        }
    }

    /// Whether its elements are written as numbers of Rust and of JSON.
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self.dtype, DType::Fp16 | DType::Bf16)
    }

    /// Whether it may have a row for each row of the request.
    pub(super) fn has_rows(&self, rows: Option<i64>) -> bool {
        match self.shape.first() {
            None => self.columns < 0,
            Some(&own) => own < 0 || Some(own) == rows,
        }
    }
}

/// The type of an element in Rust and in Python; `None` for types that wasi-nn lacks.
fn types(dtype: DType) -> Option<(&'static str, &'static str)> {
    Some(match dtype {
        DType::Fp16 => ("f16", "float"),
        DType::Bf16 => ("bf16", "float"),
        DType::Fp32 => ("f32", "float"),
        DType::Fp64 => ("f64", "float"),
        DType::U8 => ("u8", "int"),
        DType::I32 => ("i32", "int"),
        DType::I64 => ("i64", "int"),
        DType::Bool | DType::U16 | DType::U32 | DType::U64 | DType::I8 | DType::I16 | DType::String => return None,
    })
}
