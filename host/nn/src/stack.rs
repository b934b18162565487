//! Stacks the inputs of several jobs on axis 0, and splits the outputs, so that each job gets what a call of its own
//! would have given.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::tensor::{DType, Tensor, Tensors};

/// Inputs stack if their keys are equal: names, element types, and shapes without axis 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchKey(Vec<(String, DType, Vec<usize>)>);

impl BatchKey {
    /// The key of `inputs`; `None` when they can't be stacked, since a tensor has no axis or their axes 0 differ.
    pub(super) fn of(inputs: &Tensors) -> Option<BatchKey> {
        let rows = inputs.first()?.1.shape().first()?;
        let key = |(name, tensor): &(String, Tensor)| {
            let (first, rest) = tensor.shape().split_first()?;
            (first == rows).then(|| (name.clone(), tensor.dtype(), rest.to_vec()))
        };
        let mut keys = inputs.iter().map(key).collect::<Option<Vec<_>>>()?;
        // Clients may name the same inputs in another order.
        keys.sort_by(|one, other| one.0.cmp(&other.0));
        Some(BatchKey(keys))
    }
}

/// Concatenates `all` on axis 0, in order. All have the same [`BatchKey`], and there is at least one.
pub(super) fn stack<'a>(all: impl Iterator<Item = &'a Tensors> + Clone) -> Tensors {
    let first = all.clone().next().into_iter().flatten();
    first.map(|(name, tensor)| (name.clone(), stack_one(name, tensor, all.clone()))).collect()
}

fn stack_one<'a>(name: &str, like: &Tensor, all: impl Iterator<Item = &'a Tensors> + Clone) -> Tensor {
    let parts = || all.clone().filter_map(|tensors| tensors.iter().find(|(other, _)| other == name).map(|(_, t)| t));
    let rows = parts().map(|tensor| tensor.shape()[0]).sum();
    let mut data = BytesMut::with_capacity(parts().map(|tensor| tensor.data().len()).sum());
    parts().for_each(|tensor| data.extend_from_slice(tensor.data()));
    let shape = [rows].into_iter().chain(like.shape()[1..].iter().copied()).collect();
    Tensor::new(like.dtype(), shape, data.freeze()).expect("rows of one key add up")
}

/// Splits outputs on axis 0 into parts of `rows` each, without copying.
///
/// # Errors
///
/// Axis 0 of an output is not the sum of `rows`, so the graph does not compute its rows independently.
pub(super) fn split(outputs: Tensors, rows: &[usize]) -> Result<Vec<Tensors>, String> {
    let total: usize = rows.iter().sum();
    for (name, tensor) in &outputs {
        if tensor.shape().first() != Some(&total) {
            let shape = tensor.shape();
            return Err(format!("output '{name}' of a batch of {total} has shape {shape:?}; set max_batch_size = 1"));
        }
    }
    let mut parts = Vec::with_capacity(rows.len());
    let mut start = 0;
    for rows in rows {
        let end = start + rows;
        parts.push(outputs.iter().map(|(name, tensor)| (name.clone(), slice(tensor, start..end))).collect());
        start = end;
    }
    Ok(parts)
}

/// The rows `rows` of `tensor`, which share its data.
fn slice(tensor: &Tensor, rows: Range<usize>) -> Tensor {
    let row = tensor.data().len() / tensor.shape()[0].max(1);
    let data: Bytes = tensor.data().slice(rows.start * row..rows.end * row);
    let shape = [rows.len()].into_iter().chain(tensor.shape()[1..].iter().copied()).collect();
    Tensor::new(tensor.dtype(), shape, data).expect("a slice of whole rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(names: &[&str], rows: usize, first: u8) -> Tensors {
        let tensor = |name: &&str| {
            let data: Vec<u8> = (0..rows * 2).map(|n| first + u8::try_from(n).unwrap()).collect();
            ((*name).to_owned(), Tensor::new(DType::U8, vec![rows, 2], data.into()).unwrap())
        };
        names.iter().map(tensor).collect()
    }

    #[test]
    fn parts_come_back_as_they_went_in() {
        let all = [tensors(&["a", "b"], 1, 0), tensors(&["b", "a"], 3, 10), tensors(&["a", "b"], 2, 50)];
        let stacked = stack(all.iter());
        assert_eq!(stacked[0].1.shape(), [6, 2]);
        let parts = split(stacked, &[1, 3, 2]).unwrap();
        for (part, original) in parts.iter().zip(&all) {
            for (name, tensor) in part {
                assert_eq!(Some(tensor), original.iter().find(|(other, _)| other == name).map(|(_, t)| t));
            }
        }
    }

    #[test]
    fn only_equal_keys_stack() {
        let kind = |names: &[&str], rows| BatchKey::of(&tensors(names, rows, 0));
        assert_eq!(kind(&["a"], 1), kind(&["a"], 5));
        assert_eq!(kind(&["a", "b"], 1), kind(&["b", "a"], 1));
        assert_ne!(kind(&["a"], 1), kind(&["b"], 1));
        let scalar = vec![("a".to_owned(), Tensor::new(DType::U8, vec![], vec![1].into()).unwrap())];
        assert_eq!(BatchKey::of(&scalar), None);
        let uneven = [tensors(&["a"], 1, 0), tensors(&["b"], 2, 0)].concat();
        assert_eq!(BatchKey::of(&uneven), None);
    }

    #[test]
    fn outputs_that_are_not_rows_are_an_error() {
        let error = split(tensors(&["y"], 3, 0), &[1, 1]).unwrap_err();
        assert!(error.contains("'y' of a batch of 2 has shape [3, 2]"), "{error}");
    }
}
