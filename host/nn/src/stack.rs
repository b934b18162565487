//! Stacks the inputs of several jobs on axis 0, and splits the outputs, so that each job gets what a call of its own
//! would have given.

use bytes::BytesMut;

use super::tensor::{DType, Strings, Tensor, Tensors};

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

/// Splits outputs on axis 0 into parts of `rows` each, without copying. Strings are walked through.
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
    let mut rest: Vec<_> = outputs.iter().map(|(name, tensor)| (name, RowSlicer::new(tensor))).collect();
    let part = |&rows: &usize| rest.iter_mut().map(|(name, slicer)| (name.to_string(), slicer.next(rows))).collect();
    Ok(rows.iter().map(part).collect())
}

/// Takes rows from the beginning of a tensor, whose data they share.
struct RowSlicer<'a> {
    tensor: &'a Tensor,
    /// The strings that were not taken yet, of a tensor of strings.
    strings: Strings<'a>,
    /// The first byte that was not taken yet.
    start: usize,
}

impl<'a> RowSlicer<'a> {
    fn new(tensor: &'a Tensor) -> Self {
        RowSlicer { tensor, strings: tensor.strings(), start: 0 }
    }

    /// The next `rows` rows.
    fn next(&mut self, rows: usize) -> Tensor {
        let (dtype, row) = (self.tensor.dtype(), &self.tensor.shape()[1..]);
        let elements = rows * row.iter().product::<usize>();
        let bytes = match dtype.size() {
            Some(size) => elements * size,
            None => self.strings.skip_bytes(elements),
        };
        let data = self.tensor.data().slice(self.start..self.start + bytes);
        self.start += bytes;
        let shape = [rows].into_iter().chain(row.iter().copied()).collect();
        Tensor::new(dtype, shape, data).expect("a slice of whole rows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::encode_strings;

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
    fn strings_are_stacked_and_split_like_numbers() {
        let part = |strings: &[&str]| {
            let data = encode_strings(strings.iter().copied());
            vec![("s".to_owned(), Tensor::new(DType::String, vec![strings.len() / 2, 2], data).unwrap())]
        };
        let all = [part(&["a", ""]), part(&[]), part(&["long", "é", "", "x"]), part(&["y", "z"])];
        let stacked = stack(all.iter());
        assert_eq!(stacked[0].1.shape(), [4, 2]);
        assert_eq!(stacked[0].1.strings().collect::<Vec<_>>(), ["a", "", "long", "é", "", "x", "y", "z"]);
        assert_eq!(split(stacked, &[1, 0, 2, 1]).unwrap(), all);
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
