//! Walks through an ONNX file: all graphs, functions, nodes and tensors, however deep they lie in each other.
//!
//! Field numbers are those of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. Messages are read in place.

use super::protobuf::{Fields, Malformed, Value};

/// The deepest nesting of graphs, which bounds the recursion of this reader and of the engine.
pub(super) const MAX_DEPTH: usize = 32;

/// What is found in a file. Messages are those of the protocol buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A function, whose nodes follow.
    Function(&'a [u8]),
    /// A node; its tensors and graphs follow.
    Node(&'a [u8]),
    /// A dense tensor.
    Tensor(TensorUse, &'a [u8]),
    /// A sparse tensor.
    SparseTensor(TensorUse, &'a [u8]),
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorUse {
    /// It is an initializer of the model's own graph.
    Initializer,
    /// It is another weight: an initializer of a graph in a node, or the value of a Constant node.
    Weight,
    /// It is an attribute of another node.
    Attribute,
}

/// Told everything that is found, in the order of the file.
pub(super) type Visit<'v> = dyn for<'a> FnMut(Found<'a>) -> Result<(), Malformed> + 'v;

/// Visits everything in a model file.
///
/// # Errors
///
/// The bytes are not an ONNX model, or `visit` fails.
pub(super) fn model(file: &[u8], visit: &mut Visit<'_>) -> Result<(), Malformed> {
    let mut graphs = 0;
    for field in Fields::new(file) {
        match field? {
            (7, Value::Bytes(message)) => {
                graph(message, (TensorUse::Initializer, MAX_DEPTH), visit)?;
                graphs += 1;
            }
            (20, Value::Bytes(message)) => training(message, visit)?,
            (25, Value::Bytes(message)) => function(message, visit)?,
            _ => {}
        }
    }
    if graphs == 0 { Err(Malformed("it has no graph")) } else { Ok(()) }
}

fn training(message: &[u8], visit: &mut Visit<'_>) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        if let (1 | 2, Value::Bytes(message)) = field? {
            graph(message, (TensorUse::Weight, MAX_DEPTH), visit)?;
        }
    }
    Ok(())
}

fn graph(message: &[u8], (initializers, depth): (TensorUse, usize), visit: &mut Visit<'_>) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed("graphs lie in graphs more than 32 deep"))?;
    for field in Fields::new(message) {
        match field? {
            (1, Value::Bytes(message)) => node(message, depth, visit)?,
            (5, Value::Bytes(message)) => visit(Found::Tensor(initializers, message))?,
            (15, Value::Bytes(message)) => visit(Found::SparseTensor(initializers, message))?,
            _ => {}
        }
    }
    Ok(())
}

fn function(message: &[u8], visit: &mut Visit<'_>) -> Result<(), Malformed> {
    visit(Found::Function(message))?;
    for field in Fields::new(message) {
        match field? {
            (7, Value::Bytes(message)) => node(message, MAX_DEPTH, visit)?,
            (11, Value::Bytes(message)) => attribute(message, TensorUse::Attribute, MAX_DEPTH, visit)?,
            _ => {}
        }
    }
    Ok(())
}

fn node(message: &[u8], depth: usize, visit: &mut Visit<'_>) -> Result<(), Malformed> {
    visit(Found::Node(message))?;
    let mut purpose = TensorUse::Attribute;
    for field in Fields::new(message) {
        if matches!(field?, (4, Value::Bytes(b"Constant"))) {
            purpose = TensorUse::Weight;
        }
    }
    for field in Fields::new(message) {
        if let (5, Value::Bytes(message)) = field? {
            attribute(message, purpose, depth, visit)?;
        }
    }
    Ok(())
}

fn attribute(message: &[u8], purpose: TensorUse, depth: usize, visit: &mut Visit<'_>) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        match field? {
            (5 | 10, Value::Bytes(message)) => visit(Found::Tensor(purpose, message))?,
            (22 | 23, Value::Bytes(message)) => visit(Found::SparseTensor(purpose, message))?,
            (6 | 11, Value::Bytes(message)) => graph(message, (TensorUse::Weight, depth), visit)?,
            _ => {}
        }
    }
    Ok(())
}
