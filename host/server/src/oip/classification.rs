//! An output as its highest elements in words, "value:index:label", which is Triton's extension `classification`.
//!
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md>. Where Triton
//! rounds a value to six decimals, here it is written so that it reads back as the same number.

use std::cmp::Ordering;
use std::fmt::Display;
use std::num::NonZeroUsize;

use bytes::Bytes;
use half::{bf16, f16};

use modelfn_nn::tensor::{DType, Tensor, TensorSpec, encode_strings};

/// The strings that stand for an output: a tensor of BYTES.
#[derive(Debug, PartialEq, Eq)]
pub struct Classes {
    /// `[classes]`, or `[batch, classes]`.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<String>,
}

/// How many classes of an output are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// The most classes of an item; fewer where an item has fewer elements.
    pub classes: NonZeroUsize,
    /// Whether axis 0 counts items, each with classes of its own.
    pub batched: bool,
}

impl Top {
    /// The highest `classes` of an output that `spec` describes. Axis 0 counts items where it is open and not the only
    /// axis.
    pub fn of(classes: NonZeroUsize, spec: &TensorSpec) -> Top {
        Top { classes, batched: spec.shape.first() == Some(&-1) && spec.shape.len() > 1 }
    }
}

/// The most strings of one output, so that a small request can't ask for a large response.
const MAX_STRINGS: usize = 1 << 16;

impl Classes {
    /// The highest elements of each item of `tensor`, the highest first, of equals the first; what is not a number comes
    /// last. `label` says what an element of an item is called.
    ///
    /// # Errors
    ///
    /// The elements are strings, which have no order of this kind, or there would be too many classes: a sentence for the
    /// client.
    pub fn of<'l>(tensor: &Tensor, top: Top, label: impl Fn(usize) -> Option<&'l str>) -> Result<Classes, String> {
        let batch = tensor.shape().first().copied().filter(|_| top.batched);
        // An empty tensor may have axes of any size.
        let axes = tensor.shape().iter().skip(usize::from(top.batched));
        let elements = axes.fold(1_usize, |elements, &axis| elements.saturating_mul(axis));
        let classes = top.classes.get().min(elements);
        let size = tensor.dtype().size().ok_or("is strings, not scores: request it without classification")?;
        let item = elements.saturating_mul(size).max(1);
        let strings = (tensor.data().len() / item).saturating_mul(classes);
        if strings > MAX_STRINGS {
            return Err(format!("would be {strings} strings; {MAX_STRINGS} is the most: ask for fewer classes"));
        }
        let named = |(index, value): (usize, String)| match label(index) {
            Some(label) => format!("{value}:{index}:{label}"),
            None => format!("{value}:{index}"),
        };
        let values =
            tensor.data().chunks_exact(item).flat_map(|item| highest(tensor.dtype(), item, classes)).map(named);
        Ok(Classes { shape: batch.into_iter().chain([classes]).collect(), values: values.collect() })
    }

    /// As binary data: each string's length in four bytes, and its bytes.
    pub fn bytes(&self) -> Bytes {
        encode_strings(self.values.iter().map(String::as_str))
    }
}

/// The positions and values of the `k` highest elements of `data`.
fn highest(dtype: DType, data: &[u8], k: usize) -> Vec<(usize, String)> {
    match dtype {
        DType::Fp16 => pick(data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes)), k),
        DType::Bf16 => pick(data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes)), k),
        DType::Fp32 => pick(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)), k),
        DType::Fp64 => pick(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)), k),
        DType::Bool | DType::U8 => pick(data.iter().copied(), k),
        DType::U16 => pick(data.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)), k),
        DType::U32 => pick(data.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)), k),
        DType::U64 => pick(data.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)), k),
        DType::I8 => pick(data.as_chunks().0.iter().map(|bytes| i8::from_le_bytes(*bytes)), k),
        DType::I16 => pick(data.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)), k),
        DType::I32 => pick(data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)), k),
        DType::I64 => pick(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)), k),
        DType::String => Vec::new(),
    }
}

/// Finds the `k` highest values in one pass, with room for twice as many.
fn pick<T: Copy + PartialOrd + Display>(values: impl Iterator<Item = T>, k: usize) -> Vec<(usize, String)> {
    let order = |one: &(usize, T), other: &(usize, T)| descending(one.1, other.1).then(one.0.cmp(&other.0));
    let prune = |best: &mut Vec<(usize, T)>| {
        if k < best.len() {
            best.select_nth_unstable_by(k, order);
            best.truncate(k);
        }
    };
    let mut best = Vec::with_capacity(2 * k);
    for value in values.enumerate() {
        best.push(value);
        if best.len() == 2 * k {
            prune(&mut best);
        }
    }
    prune(&mut best);
    best.sort_unstable_by(order);
    best.into_iter().map(|(index, value)| (index, value.to_string())).collect()
}

fn descending<T: PartialOrd>(one: T, other: T) -> Ordering {
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    other.partial_cmp(&one).unwrap_or_else(|| is_nan(&one).cmp(&is_nan(&other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::random::Random;

    fn top(classes: usize, batched: bool) -> Top {
        Top { classes: NonZeroUsize::new(classes).unwrap(), batched }
    }

    fn tensor(dtype: DType, shape: &[usize], data: &[u8]) -> Tensor {
        Tensor::new(dtype, shape.to_vec(), Bytes::copy_from_slice(data)).unwrap()
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        tensor(DType::Fp32, shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn the_highest_come_first_with_their_places_and_labels() {
        let output = floats(&[4], &[1.1, 3.3, 0.5, 2.4]);
        let classes = Classes::of(&output, top(2, false), |_| None).unwrap();
        assert_eq!(
            (classes.shape.as_slice(), classes.values.as_slice()),
            (&[2][..], &["3.3:1".into(), "2.4:3".into()][..])
        );
        let labels = ["a", "b:c"];
        let classes = Classes::of(&output, top(9, false), |index| labels.get(index).copied()).unwrap();
        assert_eq!(classes.values, ["3.3:1:b:c", "2.4:3", "1.1:0:a", "0.5:2"]);
        assert_eq!(classes.shape, [4], "no more than there are");
    }

    #[test]
    fn each_item_of_a_batch_has_classes_of_its_own() {
        let output = floats(&[2, 3], &[1.0, 2.0, 3.0, 30.0, 20.0, 10.0]);
        let classes = Classes::of(&output, top(2, true), |_| None).unwrap();
        assert_eq!(
            (classes.shape, classes.values),
            (vec![2, 2], ["3:2", "2:1", "30:0", "20:1"].map(String::from).to_vec())
        );
        let whole = Classes::of(&output, top(2, false), |_| None).unwrap();
        assert_eq!((whole.shape, whole.values), (vec![2], ["30:3", "20:4"].map(String::from).to_vec()));
        let nothing = Classes::of(&floats(&[0, 3], &[]), top(2, true), |_| None).unwrap();
        assert_eq!((nothing.shape, nothing.values), (vec![0, 2], vec![]));
        let hollow = Classes::of(&floats(&[2, 0], &[]), top(2, true), |_| None).unwrap();
        assert_eq!((hollow.shape, hollow.values), (vec![2, 0], vec![]));
        assert_eq!(Classes::of(&floats(&[], &[7.0]), top(2, false), |_| None).unwrap().values, ["7:0"]);
    }

    #[test]
    fn values_read_back_as_they_are_whatever_the_type() {
        let odd = floats(&[5], &[f32::NAN, 0.1, f32::NEG_INFINITY, f32::INFINITY, 1e-45]);
        let classes = Classes::of(&odd, top(5, false), |_| None).unwrap().values;
        assert_eq!((classes[0].as_str(), classes[1].as_str(), classes[4].as_str()), ("inf:3", "0.1:1", "NaN:0"));
        let (tiny, _) = classes[2].split_once(':').unwrap();
        assert_eq!(tiny.parse::<f32>().unwrap().to_bits(), 1);
        let i64s: Vec<u8> = [i64::MIN, i64::MAX, -1].iter().flat_map(|n| n.to_le_bytes()).collect();
        for (dtype, data, expected) in [
            (DType::Fp64, 0.1_f64.to_le_bytes().to_vec(), "0.1:0"),
            (DType::Fp16, f16::from_f32(1.5).to_le_bytes().to_vec(), "1.5:0"),
            (DType::Bf16, bf16::from_f32(-2.0).to_le_bytes().to_vec(), "-2:0"),
            (DType::U8, vec![7, 255, 255], "255:1"),
            (DType::Bool, vec![0, 1, 0], "1:1"),
            (DType::I8, vec![128, 127, 255], "127:1"),
            (DType::U16, vec![255, 255], "65535:0"),
            (DType::I16, vec![255, 255], "-1:0"),
            (DType::U32, vec![255; 4], "4294967295:0"),
            (DType::U64, vec![255; 8], "18446744073709551615:0"),
            (DType::I32, (-5_i32).to_le_bytes().to_vec(), "-5:0"),
            (DType::I64, i64s, "9223372036854775807:1"),
        ] {
            let tensor = tensor(dtype, &[data.len() / dtype.size().unwrap()], &data);
            assert_eq!(Classes::of(&tensor, top(1, false), |_| None).unwrap().values, [expected], "{dtype}");
        }
    }

    /// Against sorting all, with as many equals as there can be.
    #[test]
    fn one_pass_finds_what_sorting_finds() {
        let mut random = Random::new(4);
        for _ in 0..2000 {
            let values: Vec<u8> = (0..1 + random.below(40)).map(|_| (random.next_u32() as u8) % 8).collect();
            let k = 1 + random.below(12);
            let mut sorted: Vec<_> = values.iter().enumerate().collect();
            sorted.sort_by_key(|(_, value)| std::cmp::Reverse(**value));
            let expected: Vec<_> = sorted.iter().take(k).map(|(index, value)| format!("{value}:{index}")).collect();
            let classes = Classes::of(&tensor(DType::U8, &[values.len()], &values), top(k, false), |_| None).unwrap();
            assert_eq!(classes.values, expected, "{k} of {values:?}");
        }
    }

    #[test]
    fn strings_have_no_classes() {
        let words = Tensor::new(DType::String, vec![2], encode_strings(["a", "b"])).unwrap();
        assert!(Classes::of(&words, top(1, false), |_| None).unwrap_err().contains("is strings, not scores"));
    }

    #[test]
    fn strings_are_bounded() {
        let items = |items: usize| tensor(DType::U8, &[items, 2], &vec![0; items * 2]);
        let most = Classes::of(&items(MAX_STRINGS / 2), top(2, true), |_| None).unwrap();
        assert_eq!(most.values.len(), MAX_STRINGS);
        let error = Classes::of(&items(MAX_STRINGS / 2 + 1), top(2, true), |_| None).unwrap_err();
        assert!(error.contains("65538 strings; 65536 is the most"), "{error}");
        assert!(Classes::of(&items(MAX_STRINGS / 2 + 1), top(1, true), |_| None).is_ok());
    }

    #[test]
    fn binary_strings_carry_their_lengths() {
        let classes = Classes { shape: vec![2], values: vec!["1:0".into(), "é".into()] };
        assert_eq!(classes.bytes().as_ref(), b"\x03\0\0\x001:0\x02\0\0\0\xc3\xa9");
    }
}
