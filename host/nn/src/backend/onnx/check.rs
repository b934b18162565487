//! Refuses graphs that would harm the engine or reach out of it, before the engine sees them.

use std::collections::HashMap;

use super::external::{ExternalTensor, external_tensor};
use super::protobuf::{Fields, Malformed, Value};
use super::walk::{self, Found, TensorUse};
use crate::backend::external::EMBED;

/// An operator or a function: its domain and its name.
type OperatorId = (Vec<u8>, Vec<u8>);

/// Checks that the file is an ONNX model whose functions don't call themselves. Returns the tensors whose data is in other
/// files: only initializers of the model's own graph, for which the engine takes the data from this program.
///
/// # Errors
///
/// A sentence that says what is wrong, with the remedy.
pub(super) fn check(file: &[u8]) -> Result<Vec<ExternalTensor>, String> {
    let (mut external, mut refused) = (Vec::new(), None);
    let mut functions: HashMap<OperatorId, Vec<OperatorId>> = HashMap::new();
    let mut current = None;
    walk::model(file, &mut |found| {
        match found {
            Found::Tensor(TensorUse::Initializer, message) => external.extend(external_tensor(message)?),
            Found::Tensor(_, message) => refused = refused.take().or(external_name(message)?),
            Found::SparseTensor(_, message) => {
                for field in Fields::new(message) {
                    if let (1 | 2, Value::Bytes(message)) = field? {
                        refused = refused.take().or(external_name(message)?);
                    }
                }
            }
            Found::Function(message) => {
                let id = operator_id(message, 1, 10)?;
                functions.entry(id.clone()).or_default();
                current = Some(id);
            }
            Found::Node(message) => {
                // Functions come after the graph, so that a node before the first of them is the graph's.
                if let Some(calls) = current.as_ref().and_then(|current| functions.get_mut(current)) {
                    calls.push(operator_id(message, 4, 7)?);
                }
            }
        }
        Ok(())
    })
    .map_err(|Malformed(what)| format!("not an ONNX file: {what}"))?;
    if let Some(name) = refused {
        return Err(format!(
            "the data of '{name}' is external, in another file, which is possible only for dense initializers of the \
             model's own graph; {EMBED}"
        ));
    }
    match recursive(&functions) {
        Some((_, name)) => Err(format!("its function '{}' calls itself", String::from_utf8_lossy(name))),
        None => Ok(external),
    }
}

/// The name of a tensor whose data is in another file; `None` if its data is in the tensor.
fn external_name(tensor: &[u8]) -> Result<Option<String>, Malformed> {
    let (mut external, mut name) = (false, &b""[..]);
    for field in Fields::new(tensor) {
        match field? {
            // A field that is there twice may be read either way.
            (14, Value::Varint(location)) => external |= location == 1,
            (8, Value::Bytes(bytes)) => name = bytes,
            _ => {}
        }
    }
    Ok(external.then(|| String::from_utf8_lossy(name).into_owned()))
}

/// The domain and name of a function or of a node's operator, in these fields of the message.
fn operator_id(message: &[u8], name_field: u64, domain_field: u64) -> Result<OperatorId, Malformed> {
    let (mut name, mut domain) = (&b""[..], &b""[..]);
    for field in Fields::new(message) {
        match field? {
            (number, Value::Bytes(bytes)) if number == name_field => name = bytes,
            (number, Value::Bytes(bytes)) if number == domain_field => domain = bytes,
            _ => {}
        }
    }
    Ok((domain.to_vec(), name.to_vec()))
}

/// A function that calls itself, directly or through others. Removes functions that call none that is left, until there
/// is none or each calls another.
fn recursive(functions: &HashMap<OperatorId, Vec<OperatorId>>) -> Option<&OperatorId> {
    let mut left: Vec<_> = functions.iter().collect();
    loop {
        let calls_left = |calls: &[OperatorId]| calls.iter().any(|call| left.iter().any(|(id, _)| *id == call));
        let remaining: Vec<_> = left.iter().copied().filter(|(_, calls)| calls_left(calls)).collect();
        if remaining.len() == left.len() {
            return remaining.into_iter().map(|(id, _)| id).min();
        }
        left = remaining;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
        bytes
    }

    /// A field with bytes.
    fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
        [&varint(number << 3 | 2), &varint(bytes.len()), bytes].concat()
    }

    fn external(name: &str) -> Vec<u8> {
        [field(8, name.as_bytes()), vec![14 << 3, 1]].concat()
    }

    fn model(graph: &[u8]) -> Vec<u8> {
        field(7, graph)
    }

    fn function(name: &str, calls: &[&str]) -> Vec<u8> {
        let nodes = calls.iter().flat_map(|call| field(7, &field(4, call.as_bytes())));
        field(25, &[field(1, name.as_bytes()), nodes.collect()].concat())
    }

    #[test]
    fn data_in_other_files_is_refused_wherever_a_tensor_can_be() {
        let tensor = external("w");
        let sparse_values = field(1, &tensor);
        let sparse_indices = field(2, &tensor);
        let in_node = |attribute: &[u8]| field(1, &field(5, attribute));
        let in_subgraph = |graph: &[u8]| in_node(&field(6, graph));
        let graphs = [
            field(15, &sparse_values),
            field(15, &sparse_indices),
            in_node(&field(5, &tensor)),
            in_node(&field(10, &tensor)),
            in_node(&field(22, &sparse_values)),
            in_node(&field(23, &sparse_indices)),
            in_subgraph(&field(5, &tensor)),
            in_node(&field(11, &in_subgraph(&field(15, &sparse_values)))),
        ];
        for graph in &graphs {
            let error = check(&model(graph)).unwrap_err();
            assert!(error.starts_with("the data of 'w' is external"), "{graph:?}: {error}");
        }
        let in_function = [model(b""), field(25, &field(7, &field(5, &field(5, &tensor))))].concat();
        let as_default = [model(b""), field(25, &field(11, &field(5, &tensor)))].concat();
        let in_training = [model(b""), field(20, &field(1, &field(5, &tensor)))].concat();
        for file in [in_function, as_default, in_training] {
            assert!(check(&file).unwrap_err().contains("'w' is external"), "{file:?}");
        }
        let twice = [external("w"), vec![14 << 3, 0]].concat();
        assert!(check(&model(&field(5, &twice))).is_err(), "whichever of the two is read");
        assert!(check(&model(&in_node(&field(5, &twice)))).is_err(), "whichever of the two is read");
        let initializer = [vec![2 << 3, 1], tensor.clone()].concat();
        assert_eq!(check(&model(&field(5, &initializer))).unwrap().len(), 1);
        let inside = [field(8, b"w"), vec![14 << 3, 0]].concat();
        assert_eq!(check(&model(&field(5, &inside))), Ok(vec![]));
    }

    #[test]
    fn functions_that_call_themselves_are_refused_and_others_are_not() {
        let file = |functions: &[Vec<u8>]| [model(b""), functions.concat()].concat();
        let chain = [function("a", &["b", "b"]), function("b", &["c", "Relu"]), function("c", &[])];
        assert_eq!(check(&file(&chain)), Ok(vec![]));
        let itself = [function("a", &["a"])];
        assert_eq!(check(&file(&itself)), Err("its function 'a' calls itself".to_owned()));
        let through_others = [function("x", &["b"]), function("b", &["c"]), function("c", &["b"])];
        assert!(check(&file(&through_others)).unwrap_err().contains("calls itself"));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        for file in [&b""[..], b"GARBAGE", b"\x08\x00\x00\x00ORTM"] {
            assert!(check(file).unwrap_err().starts_with("not an ONNX file: "), "{file:?}");
        }
        let nested = |depth| (1..depth).fold(Vec::new(), |graph, _| field(1, &field(5, &field(6, &graph))));
        assert_eq!(check(&model(&nested(32))), Ok(vec![]));
        assert!(check(&model(&nested(33))).unwrap_err().contains("more than 32 deep"));
    }
}
