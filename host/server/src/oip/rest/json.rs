//! A tensor's elements as JSON numbers, nested or flat, without a tree of values between.

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use modelfn_nn::tensor::{DType, Tensor};

/// Whether the protocol has a JSON form for this type.
pub(crate) fn has(dtype: DType) -> bool {
    !matches!(dtype, DType::Fp16 | DType::Bf16)
}

/// Whether each element is a number that JSON can say.
pub(crate) fn is_finite(tensor: &Tensor) -> bool {
    match tensor.dtype() {
        DType::Fp32 => tensor.data().as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()),
        DType::Fp64 => tensor.data().as_chunks().0.iter().all(|bytes| f64::from_le_bytes(*bytes).is_finite()),
        _ => true,
    }
}

/// Reads numbers until there are as many as `shape` has elements. How they are nested does not matter: order is
/// row-major either way. serde_json bounds the depth.
///
/// # Errors
///
/// What to say after the input's name.
pub(crate) fn read(dtype: DType, shape: &[usize], text: &str) -> Result<Vec<u8>, String> {
    if !has(dtype) {
        let datatype = dtype.oip_name();
        return Err(format!("is {datatype}, which travels as binary data only; send it with binary_data_size"));
    }
    let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
    let elements = elements.ok_or_else(|| format!("has the shape {shape:?}, which is too large"))?;
    let mut sink = Sink { dtype, left: elements, bytes: Vec::with_capacity(most_bytes(dtype, shape, text)) };
    let mut reader = serde_json::Deserializer::from_str(text);
    (&mut sink).deserialize(&mut reader).map_err(|e| format!("of shape {shape:?} has wrong data: {e}"))?;
    if sink.left > 0 {
        let actual = elements - sink.left;
        return Err(format!("of shape {shape:?} has {elements} elements, but its data has {actual}"));
    }
    Ok(sink.bytes)
}

/// The most bytes that [`read`] makes of `text`: a number has a digit and, but for the last one, a comma.
pub(crate) fn most_bytes(dtype: DType, shape: &[usize], text: &str) -> usize {
    let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis)).unwrap_or(usize::MAX);
    elements.min(text.len().div_ceil(2)).saturating_mul(dtype.size())
}

/// Where numbers go.
struct Sink {
    dtype: DType,
    left: usize,
    bytes: Vec<u8>,
}

impl Sink {
    fn put<E: Error>(&mut self, bytes: Option<&[u8]>, number: impl std::fmt::Display) -> Result<(), E> {
        let bytes =
            bytes.ok_or_else(|| E::custom(format_args!("{number} is not of type {}", self.dtype.oip_name())))?;
        self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("there are more elements than that"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn put_integer<E: Error>(&mut self, n: i128) -> Result<(), E> {
        match self.dtype {
            DType::U8 => self.put(u8::try_from(n).ok().map(u8::to_le_bytes).as_ref().map(<[u8; 1]>::as_slice), n),
            DType::I32 => self.put(i32::try_from(n).ok().map(i32::to_le_bytes).as_ref().map(<[u8; 4]>::as_slice), n),
            DType::I64 => self.put(i64::try_from(n).ok().map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice), n),
            _ => self.put_float(n as f64),
        }
    }

    fn put_float<E: Error>(&mut self, n: f64) -> Result<(), E> {
        match self.dtype {
            DType::Fp32 => {
                let narrow = n as f32;
                self.put(narrow.is_finite().then_some(&narrow.to_le_bytes()), n)
            }
            DType::Fp64 => self.put(Some(&n.to_le_bytes()), n),
            _ => self.put(None, n),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Sink {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Sink {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number or a list")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        self.put_integer(n.into())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        self.put_integer(n.into())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<(), E> {
        self.put_float(n)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }
}

/// A tensor as a flat list of numbers. It [`has`] a JSON form and [`is_finite`].
pub(crate) struct Numbers<'a>(pub(crate) &'a Tensor);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.0.data();
        match self.0.dtype() {
            DType::U8 => serializer.collect_seq(data),
            DType::Fp32 => serializer.collect_seq(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            DType::Fp64 => serializer.collect_seq(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes))),
            DType::I32 => serializer.collect_seq(data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes))),
            DType::I64 => serializer.collect_seq(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes))),
            DType::Fp16 | DType::Bf16 => Err(serde::ser::Error::custom("no JSON form")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::oip::random::Random;

    #[test]
    fn nested_and_flat_data_are_the_same() {
        let expected: Vec<u8> = [1.5_f32, -2.0, 3.0, 4e-3].iter().flat_map(|n| n.to_le_bytes()).collect();
        for text in ["[1.5,-2,3,0.004]", "[[1.5,-2],[3,0.004]]", "[[[1.5],[-2]],[[3],[4e-3]]]"] {
            assert_eq!(read(DType::Fp32, &[2, 2], text).unwrap(), expected, "{text}");
            assert_eq!(most_bytes(DType::Fp32, &[2, 2], text), 16);
        }
    }

    #[test]
    fn numbers_come_back_as_they_went_in() {
        for (dtype, text) in [
            (DType::U8, "[0,1,255]"),
            (DType::I32, "[-2147483648,0,2147483647]"),
            (DType::I64, "[-9223372036854775808,9007199254740993,9223372036854775807]"),
            (DType::Fp32, "[0.1,-3.4028235e+38,1e-45]"),
            (DType::Fp64, "[0.1,-1.7976931348623157e+308,5e-324]"),
        ] {
            let tensor = Tensor::new(dtype, vec![3], read(dtype, &[3], text).unwrap().into()).unwrap();
            assert!(is_finite(&tensor));
            assert_eq!(serde_json::to_string(&Numbers(&tensor)).unwrap(), text);
        }
    }

    /// Any bits that JSON can say, in any shape, flat and nested.
    #[test]
    fn any_tensor_comes_back_bit_by_bit() {
        let mut random = Random::new(3);
        for round in 0..20_000 {
            let dtype = [DType::U8, DType::I32, DType::I64, DType::Fp32, DType::Fp64][round % 5];
            let shape: Vec<usize> = (0..random.below(5)).map(|_| random.below(4)).collect();
            let size = shape.iter().product::<usize>() * dtype.size();
            let data: Vec<u8> = (0..size).map(|_| random.next_u32() as u8).collect();
            let tensor = Tensor::new(dtype, shape.clone(), data.into()).unwrap();
            if !is_finite(&tensor) {
                continue;
            }
            let flat = serde_json::to_string(&Numbers(&tensor)).unwrap();
            assert_eq!(read(dtype, &shape, &flat).unwrap(), tensor.data().as_ref(), "{dtype} {flat}");
            let nested = nest(&serde_json::from_str::<Vec<&RawValue>>(&flat).unwrap(), &shape);
            assert_eq!(read(dtype, &shape, &nested).unwrap(), tensor.data().as_ref(), "{dtype} {nested}");
            let more = format!("[{flat}, 0]");
            assert!(read(dtype, &shape, &more).is_err(), "{dtype} {shape:?} {more}");
        }
    }

    /// The elements as lists of lists, as `shape` says.
    fn nest(elements: &[&RawValue], shape: &[usize]) -> String {
        let Some((&axis, inner)) = shape.split_first() else { return elements[0].to_string() };
        let each = elements.len() / axis.max(1);
        let parts: Vec<_> = (0..axis).map(|n| nest(&elements[n * each..(n + 1) * each], inner)).collect();
        format!("[{}]", parts.join(","))
    }

    #[test]
    fn what_a_text_takes_is_bounded_by_its_length_and_by_the_shape() {
        for (shape, text, elements) in [
            (&[1][..], "7", 1),
            (&[2], "[1,2]", 2),
            (&[usize::MAX], "[1,2]", 3),
            (&[usize::MAX, 2], "[]", 1),
            (&[0], "[]", 0),
        ] {
            assert_eq!(most_bytes(DType::I64, shape, text), elements * 8, "{shape:?} {text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_so() {
        for (dtype, text, expected) in [
            (DType::U8, "[256, 0]", "256 is not of type UINT8"),
            (DType::U8, "[-1, 0]", "-1 is not of type UINT8"),
            (DType::I32, "[1.5, 0]", "1.5 is not of type INT32"),
            (DType::I64, "[9223372036854775808, 0]", "is not of type INT64"),
            (DType::Fp32, "[1e39, 0]", "is not of type FP32"),
            (DType::Fp64, "[1e999, 0]", "out of range"),
            (DType::Fp32, "[1]", "has 2 elements, but its data has 1"),
            (DType::Fp32, "[1, 2, 3]", "more elements"),
            (DType::Fp32, "[1, \"2\"]", "invalid type: string"),
            (DType::Fp32, "[1, null]", "invalid type: null"),
            (DType::Fp32, "[1, true]", "invalid type: boolean"),
            (DType::Fp32, "{\"a\": 1}", "invalid type: map"),
            (DType::Fp16, "[1, 2]", "binary data only"),
        ] {
            let error = read(dtype, &[2], text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(DType::U8, &[1], &deep).unwrap_err().contains("recursion limit"));
        assert!(read(DType::U8, &[usize::MAX, 2], "[]").unwrap_err().contains("too large"));
    }
}
