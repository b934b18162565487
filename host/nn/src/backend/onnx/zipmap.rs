//! Takes the nodes `ZipMap` out of a graph, with which converters of scikit-learn and LightGBM end classifiers.
//!
//! A ZipMap turns a row of probabilities into a map from class to probability, which no protocol here can carry. What it
//! reads is the tensor that is wanted, so that an Identity in its place gives the same numbers in the order of the map's
//! keys, and the keys are the names of the classes.
//!
//! Field numbers are those of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::collections::HashSet;

use super::protobuf::{Fields, Malformed, Value, last, put, varints};
use super::walk::{self, Found};
use crate::tensor::ClassNames;

/// The most bytes of all names of classes, which must fit a message of the engine's process beside the signature.
const MAX_CLASS_NAMES: usize = 32 << 10;

/// `TensorProto.DataType.FLOAT`, which is what a ZipMap reads.
const FLOAT: u64 = 1;

/// The version of ONNX's own operators for graphs that use none of them but the Identity.
const IDENTITY_VERSION: u64 = 13;

/// A graph without maps.
pub(super) struct WithoutZipMaps {
    /// The model's file.
    pub(super) file: Vec<u8>,
    /// The keys of the maps, by the name of the output.
    pub(super) classes: Vec<ClassNames>,
}

/// A node whose output is an output of the graph, and nothing else.
struct ZipMap<'a> {
    name: &'a [u8],
    input: &'a [u8],
    output: &'a [u8],
    keys: Vec<String>,
}

/// Takes the ZipMaps out of a model's file whose maps are outputs of the graph; `None` if there are none.
///
/// # Errors
///
/// The bytes are not an ONNX model. The sentence says why.
pub(super) fn remove(file: &[u8]) -> Result<Option<WithoutZipMaps>, String> {
    let removed = find(file).and_then(|maps| {
        if maps.is_empty() {
            return Ok(None);
        }
        let file = rewrite(file, &maps)?;
        Ok(Some(WithoutZipMaps { file, classes: class_names(&maps) }))
    });
    removed.map_err(|Malformed(what)| format!("not an ONNX file: {what}"))
}

/// The ZipMaps whose only reader is whoever reads the graph's outputs.
fn find(file: &[u8]) -> Result<Vec<ZipMap<'_>>, Malformed> {
    let mut maps = Vec::new();
    let mut outputs = HashSet::new();
    for field in Fields::new(file) {
        let (7, Value::Bytes(graph)) = field? else { continue };
        for field in Fields::new(graph) {
            match field? {
                (1, Value::Bytes(node)) => maps.extend(ZipMap::read(node)?),
                (12, Value::Bytes(output)) => {
                    outputs.insert(name_of(output)?);
                }
                _ => {}
            }
        }
    }
    maps.retain(|map| outputs.contains(map.output));
    if maps.is_empty() {
        return Ok(maps);
    }
    let mut read_elsewhere: HashSet<Vec<u8>> = HashSet::new();
    walk::model(file, &mut |found| {
        let Found::Node(node) = found else { return Ok(()) };
        for field in Fields::new(node) {
            if let (1, Value::Bytes(input)) = field?
                && maps.iter().any(|map| map.output == input)
            {
                read_elsewhere.insert(input.to_vec());
            }
        }
        Ok(())
    })?;
    maps.retain(|map| !read_elsewhere.contains(map.output));
    Ok(maps)
}

impl<'a> ZipMap<'a> {
    /// Reads a `NodeProto`; `None` if it is another node.
    fn read(node: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let (mut operator, mut domain, mut name) = (&b""[..], &b""[..], &b""[..]);
        let (mut inputs, mut outputs, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
        for field in Fields::new(node) {
            match field? {
                (1, Value::Bytes(bytes)) => inputs.push(bytes),
                (2, Value::Bytes(bytes)) => outputs.push(bytes),
                (3, Value::Bytes(bytes)) => name = bytes,
                (4, Value::Bytes(bytes)) => operator = bytes,
                (5, Value::Bytes(bytes)) => attributes.push(bytes),
                (7, Value::Bytes(bytes)) => domain = bytes,
                _ => {}
            }
        }
        let (b"ZipMap", b"ai.onnx.ml", [input], [output]) = (operator, domain, &inputs[..], &outputs[..]) else {
            return Ok(None);
        };
        let mut keys = Vec::new();
        for attribute in attributes {
            read_keys(attribute, &mut keys)?;
        }
        Ok((!keys.is_empty()).then_some(ZipMap { name, input, output, keys }))
    }
}

/// Reads an `AttributeProto` of a ZipMap: one of the two has the keys.
fn read_keys(attribute: &[u8], keys: &mut Vec<String>) -> Result<(), Malformed> {
    let name = name_of(attribute)?;
    for field in Fields::new(attribute) {
        match (name, field?) {
            (b"classlabels_strings", (9, Value::Bytes(key))) => keys.push(String::from_utf8_lossy(key).into_owned()),
            (b"classlabels_int64s", (8, value)) => {
                for key in varints(value) {
                    keys.push(key?.cast_signed().to_string());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The name of an attribute, or of an input or output.
fn name_of(message: &[u8]) -> Result<&[u8], Malformed> {
    Ok(last(message, 1)?.unwrap_or_default())
}

fn class_names(maps: &[ZipMap<'_>]) -> Vec<ClassNames> {
    let mut room = MAX_CLASS_NAMES;
    let names = maps.iter().filter_map(|map| {
        let bytes = map.keys.iter().map(|key| key.len() + 8).sum();
        room = room.checked_sub(bytes)?;
        Some(ClassNames { output: String::from_utf8_lossy(map.output).into_owned(), names: map.keys.clone() })
    });
    names.collect()
}

/// The file with an Identity in the place of each of `maps`, and with tensors as these outputs.
fn rewrite(file: &[u8], maps: &[ZipMap<'_>]) -> Result<Vec<u8>, Malformed> {
    let mut rewritten = Vec::with_capacity(file.len());
    let mut knows_identity = false;
    for field in Fields::new(file) {
        match field? {
            (7, Value::Bytes(graph)) => put(&mut rewritten, 7, Value::Bytes(&rewrite_graph(graph, maps)?)),
            (number, value) => {
                if let (8, Value::Bytes(operators)) = (number, value) {
                    knows_identity |= matches!(name_of(operators)?, b"" | b"ai.onnx");
                }
                put(&mut rewritten, number, value);
            }
        }
    }
    if !knows_identity {
        let mut operators = Vec::new();
        put(&mut operators, 2, Value::Varint(IDENTITY_VERSION));
        put(&mut rewritten, 8, Value::Bytes(&operators));
    }
    Ok(rewritten)
}

fn rewrite_graph(graph: &[u8], maps: &[ZipMap<'_>]) -> Result<Vec<u8>, Malformed> {
    let mut rewritten = Vec::with_capacity(graph.len());
    let map_of = |output: &[u8]| maps.iter().find(|map| map.output == output);
    for field in Fields::new(graph) {
        let (number, value) = field?;
        match (number, value) {
            (1, Value::Bytes(node)) => match ZipMap::read(node)?.and_then(|map| map_of(map.output)) {
                Some(map) => put(&mut rewritten, number, Value::Bytes(&identity(map))),
                None => put(&mut rewritten, number, value),
            },
            (12, Value::Bytes(output)) => match map_of(name_of(output)?) {
                Some(map) => put(&mut rewritten, number, Value::Bytes(&tensor_output(map))),
                None => put(&mut rewritten, number, value),
            },
            // What is said of the type of a value within the graph would contradict.
            (13, Value::Bytes(value)) if map_of(name_of(value)?).is_some() => {}
            _ => put(&mut rewritten, number, value),
        }
    }
    Ok(rewritten)
}

/// The `NodeProto` in the place of a map's.
fn identity(map: &ZipMap<'_>) -> Vec<u8> {
    let mut node = Vec::new();
    for (number, text) in [(1, map.input), (2, map.output), (3, map.name), (4, b"Identity")] {
        put(&mut node, number, Value::Bytes(text));
    }
    node
}

/// The `ValueInfoProto` of an output in the place of a map: a tensor of any number of rows, and of a column for each key.
fn tensor_output(map: &ZipMap<'_>) -> Vec<u8> {
    let message = |fields: &[(u64, Value<'_>)]| {
        let mut message = Vec::new();
        for &(number, value) in fields {
            put(&mut message, number, value);
        }
        message
    };
    let classes = message(&[(1, Value::Varint(map.keys.len() as u64))]);
    let shape = message(&[(1, Value::Bytes(&[])), (1, Value::Bytes(&classes))]);
    let tensor = message(&[(1, Value::Varint(FLOAT)), (2, Value::Bytes(&shape))]);
    let kind = message(&[(1, Value::Bytes(&tensor))]);
    message(&[(1, Value::Bytes(map.output)), (2, Value::Bytes(&kind))])
}

#[cfg(test)]
mod tests;
