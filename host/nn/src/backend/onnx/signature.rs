//! What a graph takes and returns, as far as tensors can carry it.

use std::collections::HashSet;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::outlets;
use crate::backend::LoadError;
use crate::tensor::{AxisNames, DType, Shape, Signature, TensorSpec};

/// The signature of a graph, and what it leaves out.
pub(super) struct Description {
    pub(super) signature: Signature,
    pub(super) axis_names: AxisNames,
    /// A sentence for each output that is not served, with the remedy.
    pub(super) omitted: Vec<String>,
}

/// Where a value enters or leaves a graph.
#[derive(Clone, Copy)]
enum End {
    Input,
    Output,
}

/// Describes the graph that `session` was made from the bytes of `file`. Its outputs are those that `wanted` names, or all
/// that tensors can carry where it names none. Where it names one that the graph lacks, it has all of them, so that they
/// can be told.
///
/// # Errors
///
/// An input, an output that is wanted, or all outputs are no tensors: a sentence with the remedy.
pub(super) fn describe(session: &Session, file: &[u8], wanted: &[String]) -> Result<Description, LoadError> {
    let of_any_shape = outlets::of_any_shape(file).map_err(LoadError::Invalid)?;
    let input = |outlet: &Outlet| spec(End::Input, outlet, &of_any_shape);
    let inputs = session.inputs().iter().map(input).collect::<Result<Vec<_>, _>>().map_err(LoadError::Invalid)?;
    let axis_names = AxisNames(session.inputs().iter().map(|input| axis_names(input.dtype())).collect());
    let (mut outputs, mut omitted) = (Vec::new(), Vec::new());
    for outlet in session.outputs() {
        match spec(End::Output, outlet, &of_any_shape) {
            Ok(spec) => outputs.push(spec),
            Err(why) if wanted.iter().any(|name| name == outlet.name()) => return Err(LoadError::Invalid(why)),
            Err(why) => omitted.push(why),
        }
    }
    if outputs.is_empty() && !omitted.is_empty() {
        return Err(LoadError::Invalid(omitted.join("; ")));
    }
    if !wanted.is_empty() {
        omitted.clear();
        if wanted.iter().all(|name| outputs.iter().any(|spec| spec.name == *name)) {
            outputs.retain(|spec| wanted.contains(&spec.name));
        }
    }
    for specs in [&inputs, &outputs] {
        let twice = |n: &usize| specs[..*n].iter().any(|spec: &TensorSpec| spec.name == specs[*n].name);
        if let Some(n) = (0..specs.len()).find(twice) {
            let name = specs[n].name.escape_debug();
            return Err(LoadError::Invalid(format!("two of its inputs or outputs are called '{name}'; rename one")));
        }
    }
    Ok(Description { signature: Signature { inputs, outputs }, axis_names, omitted })
}

/// Describes an input or output. The engine says the same of a scalar as of a tensor of [any shape](outlets::of_any_shape).
fn spec(end: End, outlet: &Outlet, of_any_shape: &HashSet<&[u8]>) -> Result<TensorSpec, String> {
    let name = outlet.name();
    let described = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => match dtype(*ty) {
            Some(dtype) => {
                let is_any = shape.is_empty() && of_any_shape.contains(name.as_bytes());
                let shape = if is_any { Shape::ANY } else { shape.to_vec().into() };
                return Ok(TensorSpec { name: name.to_owned(), dtype, shape });
            }
            None => tensor_of(*ty),
        },
        other => words(other),
    };
    let (kind, remedy) = match end {
        End::Input => ("input", input_remedy(outlet.dtype())),
        End::Output => ("output", output_remedy(outlet.dtype())),
    };
    // Names come from graphs: they must not write to a terminal as they like.
    let name = name.escape_debug();
    Err(format!("the {kind} '{name}' is {described}, which modelfn can't carry; {remedy}"))
}

/// The type of a value in the words of ONNX.
fn words(value: &ValueType) -> String {
    match value {
        ValueType::Tensor { ty, .. } => tensor_of(*ty),
        ValueType::Sequence(element) => format!("seq({})", words(element)),
        ValueType::Map { key, value } => format!("map({key}, {})", tensor_of(*value)),
        ValueType::Optional(inner) => format!("optional({})", words(inner)),
    }
}

fn tensor_of(element: TensorElementType) -> String {
    format!("tensor({element})")
}

fn output_remedy(value: &ValueType) -> &'static str {
    match value {
        ValueType::Sequence(element) if !matches!(**element, ValueType::Map { .. }) => {
            "end the graph with ConcatFromSequence, or with SequenceAt for each element"
        }
        ValueType::Sequence(_) | ValueType::Map { .. } => {
            "export the model with options={\"zipmap\": False} (skl2onnx) or zipmap=False (onnxmltools), which gives a tensor"
        }
        ValueType::Optional(_) => "end the graph with OptionalGetElement",
        ValueType::Tensor { .. } => "end the graph with a Cast to a type that is carried, such as FP32",
    }
}

fn input_remedy(value: &ValueType) -> &'static str {
    match value {
        ValueType::Sequence(_) => "begin the graph with SequenceConstruct, on an input for each element",
        ValueType::Map { .. } => "let the graph take the values as a tensor, in a fixed order of the keys",
        ValueType::Optional(_) => "let the graph take a tensor that is always given, which may be empty",
        ValueType::Tensor { .. } => "begin the graph with a Cast from a type that is carried, such as FP32",
    }
}

fn axis_names(value: &ValueType) -> Vec<String> {
    match value {
        ValueType::Tensor { dimension_symbols, .. } => dimension_symbols.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

fn dtype(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Float16 => DType::Fp16,
        TensorElementType::Bfloat16 => DType::Bf16,
        TensorElementType::Float32 => DType::Fp32,
        TensorElementType::Float64 => DType::Fp64,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::String => DType::String,
        _ => return None,
    })
}
