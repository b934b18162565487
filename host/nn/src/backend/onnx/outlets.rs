//! What a graph's file says of its inputs and outputs and the engine does not.

use std::collections::HashSet;

use super::protobuf::{Fields, Malformed, Value, last};

/// The names of the inputs and outputs of which the file does not say how many axes they have: their type has no shape.
/// A scalar's type has a shape without axes.
///
/// # Errors
///
/// The bytes are not an ONNX model. The sentence says why.
pub(super) fn of_any_shape(file: &[u8]) -> Result<HashSet<&[u8]>, String> {
    let mut names = HashSet::new();
    let read = each_outlet(file, &mut |name, outlet| {
        if !has_shape(outlet)? {
            names.insert(name);
        }
        Ok(())
    });
    read.map_err(|Malformed(what)| format!("not an ONNX file: {what}"))?;
    Ok(names)
}

/// Visits the `ValueInfoProto` of each input and output, with its name.
fn each_outlet<'a>(
    file: &'a [u8],
    visit: &mut dyn FnMut(&'a [u8], &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for field in Fields::new(file) {
        let (7, Value::Bytes(graph)) = field? else { continue };
        for field in Fields::new(graph) {
            let (11 | 12, Value::Bytes(outlet)) = field? else { continue };
            visit(last(outlet, 1)?.unwrap_or_default(), outlet)?;
        }
    }
    Ok(())
}

/// Whether the type of a `ValueInfoProto` is a tensor with a shape.
fn has_shape(outlet: &[u8]) -> Result<bool, Malformed> {
    let Some(kind) = last(outlet, 2)? else { return Ok(false) };
    let Some(tensor) = last(kind, 1)? else { return Ok(false) };
    Ok(last(tensor, 2)?.is_some())
}
