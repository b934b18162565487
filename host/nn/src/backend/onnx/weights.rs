//! Counts the weights of an ONNX file: initializers and the tensors of Constant nodes, including those of subgraphs and
//! functions.
//!
//! Field numbers and types are those of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. The weights
//! are read in place.

use super::protobuf::{Fields, Malformed, Value, varints};
use super::walk::{self, Found, TensorUse};
use crate::weights::{Element, TensorCount, Weights, bytes_of};

/// Counts the weights of a model file.
///
/// # Errors
///
/// The bytes are not an ONNX model. The sentence says why.
pub(super) fn count(file: &[u8]) -> Result<Weights, String> {
    let mut weights = Weights::default();
    let counted = walk::model(file, &mut |found| {
        match found {
            Found::Tensor(TensorUse::Initializer | TensorUse::Weight, message) => weights.add(tensor(message)?),
            Found::SparseTensor(TensorUse::Initializer | TensorUse::Weight, message) => {
                weights.add(sparse_tensor(message)?)
            }
            _ => {}
        }
        Ok(())
    });
    counted.map_err(|Malformed(what)| format!("not an ONNX file: {what}"))?;
    Ok(weights)
}

/// Counts a sparse tensor as the dense one that the engine makes of it when it loads the graph.
fn sparse_tensor(message: &[u8]) -> Result<TensorCount, Malformed> {
    let (mut values, mut dims) = (None, 1);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Bytes(message)) => values = Some(tensor(message)?),
            (3, value) => dims = product(dims, value)?,
            _ => {}
        }
    }
    let values = values.ok_or(Malformed("a sparse tensor without values"))?;
    let zeros = values.zeros.saturating_add(dims.saturating_sub(values.elements));
    Ok(TensorCount { elements: dims, zeros, ..values })
}

fn tensor(message: &[u8]) -> Result<TensorCount, Malformed> {
    let (mut elements, mut code, mut external) = (1, 0, false);
    for field in Fields::new(message) {
        match field? {
            (1, value) => elements = product(elements, value)?,
            (2, Value::Varint(number)) => code = number,
            (14, Value::Varint(number)) => external = number == 1,
            _ => {}
        }
    }
    let element = element(code).ok_or(Malformed("a tensor of unknown type"))?;
    let zeros = if external { 0 } else { zeros(message, element, elements)? };
    Ok(TensorCount { element, elements, zeros, external })
}

/// The number of zeros in a tensor, in whichever field its data is.
fn zeros(message: &[u8], element: Element, elements: u64) -> Result<u64, Malformed> {
    let mut zeros = 0;
    for field in Fields::new(message) {
        zeros += match field? {
            (9, Value::Bytes(raw)) if element.bits > 0 => {
                if raw.len() as u64 != bytes_of(elements, element.bits) {
                    return Err(Malformed("a tensor whose data does not fit its shape"));
                }
                zeros_of_raw(raw, element, elements)
            }
            (4, Value::Bytes(raw) | Value::Fixed32(raw)) => zeros_of_raw(raw, FP32, raw.len() as u64 / 4),
            (10, Value::Bytes(raw) | Value::Fixed64(raw)) => zeros_of_raw(raw, FP64, raw.len() as u64 / 8),
            (5 | 7 | 11, value) => zeros_of_varints(value, element)?,
            _ => 0,
        };
    }
    Ok(zeros)
}

fn zeros_of_raw(raw: &[u8], element: Element, elements: u64) -> u64 {
    let count =
        |is_zero: &dyn Fn(&[u8]) -> bool, size| raw.chunks_exact(size).filter(|one| is_zero(one)).count() as u64;
    match (element.bits, element.is_float) {
        (32, true) => count(&|one| matches!(one, [0, 0, 0, 0 | 0x80]), 4),
        (bits, true) if bits >= 8 => count(
            &|one| one.split_last().is_some_and(|(last, rest)| last & 0x7f == 0 && rest.iter().all(|b| *b == 0)),
            bits as usize / 8,
        ),
        (bits, false) if bits >= 8 => count(&|one| one.iter().all(|byte| *byte == 0), bits as usize / 8),
        // A byte holds several elements. Padding in the last byte is not counted.
        (bits, is_float) => {
            let each = u64::from(8 / bits);
            let magnitude = if is_float { (1 << (bits - 1)) - 1 } else { (1 << bits) - 1 };
            let is_zero = |n: &u64| (raw[(n / each) as usize] >> (u64::from(bits) * (n % each))) & magnitude == 0;
            (0..elements).filter(is_zero).count() as u64
        }
    }
}

/// Elements of fewer than 32 bits are in `int32_data` as bit patterns: one number holds one element, or the two of a
/// byte for types of four bits.
fn zeros_of_varints(value: Value<'_>, element: Element) -> Result<u64, Malformed> {
    let sign = if element.is_float { 1 << (element.bits - 1) } else { 0 };
    let mut zeros = 0;
    for number in varints(value) {
        let number = number?;
        zeros += u64::from(number == 0 || number == sign);
    }
    Ok(zeros)
}

pub(super) fn product(so_far: u64, dims: Value<'_>) -> Result<u64, Malformed> {
    varints(dims).try_fold(so_far, |product, dim| {
        let dim = i64::try_from(dim?).map_err(|_| Malformed("a dimension below zero"))?;
        product.checked_mul(dim.unsigned_abs()).ok_or(Malformed("a tensor larger than can be addressed"))
    })
}

const FP32: Element = float("FP32", 32);
const FP64: Element = float("FP64", 64);

const fn float(name: &'static str, bits: u32) -> Element {
    Element { name, bits, is_float: true }
}

const fn whole(name: &'static str, bits: u32) -> Element {
    Element { name, bits, is_float: false }
}

/// The element type of a `TensorProto.DataType`. Strings have no fixed size.
pub(super) fn element(code: u64) -> Option<Element> {
    Some(match code {
        1 => FP32,
        2 => whole("UINT8", 8),
        3 => whole("INT8", 8),
        4 => whole("UINT16", 16),
        5 => whole("INT16", 16),
        6 => whole("INT32", 32),
        7 => whole("INT64", 64),
        8 => whole("STRING", 0),
        9 => whole("BOOL", 8),
        10 => float("FP16", 16),
        11 => FP64,
        12 => whole("UINT32", 32),
        13 => whole("UINT64", 64),
        14 => whole("COMPLEX64", 64),
        15 => whole("COMPLEX128", 128),
        16 => float("BF16", 16),
        17..=20 => float("FP8", 8),
        21 => whole("UINT4", 4),
        22 => whole("INT4", 4),
        23 => float("FP4", 4),
        24 => float("FP8", 8),
        25 => whole("UINT2", 2),
        26 => whole("INT2", 2),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
