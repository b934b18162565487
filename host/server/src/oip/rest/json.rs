//! A tensor's elements as JSON, nested or flat, without a tree of values between: numbers, strings for BYTES, and `true` and
//! `false` for BOOL. Numbers that are not finite are words, see [`non_finite`].

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor};

use super::non_finite;
use modelfn_nn::tensor::{DType, Tensor, append_string};

/// Whether the protocol has a JSON form for this type.
pub(crate) fn has(dtype: DType) -> bool {
    !matches!(dtype, DType::Fp16 | DType::Bf16)
}

/// Reads as many elements as `shape` has, in row-major order: one flat list, or lists in lists as the shape says. serde_json
/// bounds the depth.
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
    let bytes = Vec::with_capacity(most_bytes(dtype, shape, text));
    let mut sink = Sink { dtype, shape, left: elements, bytes };
    let mut reader = serde_json::Deserializer::from_str(text);
    (Place { sink: &mut sink, lists: 0 })
        .deserialize(&mut reader)
        .map_err(|e| format!("of shape {shape:?} has wrong data: {e}"))?;
    if sink.left > 0 {
        let actual = elements - sink.left;
        return Err(format!("of shape {shape:?} has {elements} elements, but its data has {actual}"));
    }
    Ok(sink.bytes)
}

/// The most bytes that [`read`] makes of `text`: a number has a digit and, but for the last one, a comma, and a string has
/// two quotes.
pub(crate) fn most_bytes(dtype: DType, shape: &[usize], text: &str) -> usize {
    let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis)).unwrap_or(usize::MAX);
    match dtype.size() {
        Some(size) => elements.min(text.len().div_ceil(2)).saturating_mul(size),
        // The four bytes of its length take the place of quotes and comma.
        None => text.len() + elements.min(text.len()) + 1,
    }
}

/// Where numbers go.
struct Sink<'a> {
    dtype: DType,
    shape: &'a [usize],
    left: usize,
    bytes: Vec<u8>,
}

impl Sink<'_> {
    fn put<E: Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.count()?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Counts an element.
    fn count<E: Error>(&mut self) -> Result<(), E> {
        self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("there are more elements than that"))?;
        Ok(())
    }

    fn put_integer<E: Error>(&mut self, n: i128) -> Result<(), E> {
        macro_rules! put_as {
            ($integer:ty) => {
                match <$integer>::try_from(n) {
                    Ok(n) => self.put(&n.to_le_bytes()),
                    Err(_) => Err(self.misfit(n)),
                }
            };
        }
        match self.dtype {
            DType::U8 => put_as!(u8),
            DType::U16 => put_as!(u16),
            DType::U32 => put_as!(u32),
            DType::U64 => put_as!(u64),
            DType::I8 => put_as!(i8),
            DType::I16 => put_as!(i16),
            DType::I32 => put_as!(i32),
            DType::I64 => put_as!(i64),
            _ => self.put_float(n as f64),
        }
    }

    /// A finite number does not become an infinite one.
    fn put_float<E: Error>(&mut self, n: f64) -> Result<(), E> {
        match self.dtype {
            DType::Fp32 if n.is_finite() && !(n as f32).is_finite() => Err(self.misfit(n)),
            DType::Fp32 => self.put(&(n as f32).to_le_bytes()),
            DType::Fp64 => self.put(&n.to_le_bytes()),
            _ => Err(self.misfit(n)),
        }
    }

    fn misfit<E: Error>(&self, number: impl std::fmt::Display) -> E {
        E::custom(format_args!("{number} is not of type {}", self.dtype.oip_name()))
    }
}

/// A place in the data, within so many lists: it holds an element or a list.
struct Place<'a, 's> {
    sink: &'a mut Sink<'s>,
    lists: usize,
}

/// What a place held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Element,
    List,
}

impl Place<'_, '_> {
    fn element<E: Error>(self, put: impl FnOnce(&mut Sink<'_>) -> Result<(), E>) -> Result<Held, E> {
        // One list is the flat form, and a scalar may stand alone.
        if self.lists > 1 && self.lists != self.sink.shape.len() {
            let (lists, axes) = (self.lists, self.sink.shape.len());
            return Err(E::custom(format_args!("an element is within {lists} lists, but the shape has {axes} axes")));
        }
        put(self.sink).map(|()| Held::Element)
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = Held;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Held, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = Held;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.sink.dtype {
            DType::Bool => "true, false or a list",
            DType::String => "a string or a list",
            _ => "a number or a list",
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Held, E> {
        match self.sink.dtype {
            DType::Bool => self.element(|sink| sink.put(&[u8::from(value)])),
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Held, E> {
        self.element(|sink| sink.put_integer(n.into()))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Held, E> {
        self.element(|sink| sink.put_integer(n.into()))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Held, E> {
        self.element(|sink| sink.put_float(n))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Held, E> {
        if self.sink.dtype == DType::String {
            return self.element(|sink| {
                sink.count()?;
                append_string(&mut sink.bytes, text);
                Ok(())
            });
        }
        let number = non_finite::parse(text).ok_or_else(|| E::invalid_type(Unexpected::Str(text), &self))?;
        self.element(|sink| sink.put_float(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Held, A::Error> {
        let Place { sink, lists } = self;
        let (mut length, mut holds) = (0, None);
        while let Some(held) = list.next_element_seed(Place { sink: &mut *sink, lists: lists + 1 })? {
            if holds.replace(held).is_some_and(|before| before != held) {
                return Err(A::Error::custom("a list has both elements and lists"));
            }
            length += 1;
        }
        let is_flat = lists == 0 && holds != Some(Held::List);
        let axis = sink.shape.get(lists).copied();
        if is_flat || axis == Some(length) {
            return Ok(Held::List);
        }
        let axis = axis.map_or("is none".to_owned(), |axis| format!("has {axis}"));
        Err(A::Error::custom(format_args!("axis {lists} of the shape {axis}, but a list there has {length}")))
    }
}

/// Writes a tensor as a flat list of numbers. Its type [`has`] a JSON form.
///
/// # Errors
///
/// Its type has none.
pub(crate) fn write(tensor: &Tensor, text: &mut Vec<u8>) -> serde_json::Result<()> {
    let data = tensor.data();
    match tensor.dtype() {
        DType::Bool => write_list(data.iter().map(|&byte| byte != 0), text),
        DType::U8 => write_list(data.iter().copied(), text),
        DType::U16 => write_list(data.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)), text),
        DType::U32 => write_list(data.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)), text),
        DType::U64 => write_list(data.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)), text),
        DType::I8 => write_list(data.as_chunks().0.iter().map(|bytes| i8::from_le_bytes(*bytes)), text),
        DType::I16 => write_list(data.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)), text),
        DType::I32 => write_list(data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)), text),
        DType::I64 => write_list(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)), text),
        DType::Fp32 => write_list(data.as_chunks().0.iter().map(|bytes| Float(f32::from_le_bytes(*bytes))), text),
        DType::Fp64 => write_list(data.as_chunks().0.iter().map(|bytes| Float(f64::from_le_bytes(*bytes))), text),
        DType::String => write_list(tensor.strings(), text),
        DType::Fp16 | DType::Bf16 => Err(serde_json::Error::custom("no JSON form")),
    }
}

/// An element of a list.
trait Element {
    fn write(&self, text: &mut Vec<u8>) -> serde_json::Result<()>;
}

/// A number that may be none, or infinite.
struct Float<T>(T);

impl<T: Serialize + Copy + Into<f64>> Element for Float<T> {
    fn write(&self, text: &mut Vec<u8>) -> serde_json::Result<()> {
        let number: f64 = self.0.into();
        if number.is_finite() {
            return serde_json::to_writer(text, &self.0);
        }
        text.extend_from_slice(non_finite::word(number).as_bytes());
        Ok(())
    }
}

macro_rules! exact {
    ($($element:ty)*) => {$(
        impl Element for $element {
            fn write(&self, text: &mut Vec<u8>) -> serde_json::Result<()> {
                serde_json::to_writer(text, self)
            }
        }
    )*};
}

exact!(bool u8 u16 u32 u64 i8 i16 i32 i64 &str);

fn write_list(elements: impl Iterator<Item = impl Element>, text: &mut Vec<u8>) -> serde_json::Result<()> {
    text.push(b'[');
    for (position, element) in elements.enumerate() {
        if position > 0 {
            text.push(b',');
        }
        element.write(text)?;
    }
    text.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::oip::random::Random;
    use modelfn_nn::tensor::encode_strings;

    fn written(tensor: &Tensor) -> String {
        let mut text = Vec::new();
        write(tensor, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn nested_and_flat_data_are_the_same() {
        let expected: Vec<u8> = [1.5_f32, -2.0, 3.0, 4e-3].iter().flat_map(|n| n.to_le_bytes()).collect();
        for (shape, text) in [
            (&[2, 2][..], "[1.5,-2,3,0.004]"),
            (&[2, 2], "[[1.5,-2],[3,0.004]]"),
            (&[2, 2, 1], "[[[1.5],[-2]],[[3],[4e-3]]]"),
            (&[4], "[1.5,-2,3,4e-3]"),
        ] {
            assert_eq!(read(DType::Fp32, shape, text).unwrap(), expected, "{text}");
            assert_eq!(most_bytes(DType::Fp32, shape, text), 16);
        }
        for (shape, text) in [(&[][..], "7"), (&[], "[7]"), (&[1], "7"), (&[1, 1], "[7]"), (&[1, 1], "[[7]]")] {
            assert_eq!(read(DType::U8, shape, text).as_deref(), Ok(&[7][..]), "{shape:?} {text}");
        }
        for (shape, text) in [(&[0][..], "[]"), (&[2, 0], "[[],[]]"), (&[2, 0], "[]"), (&[0, 2], "[]")] {
            assert_eq!(read(DType::U8, shape, text).as_deref(), Ok(&[][..]), "{shape:?} {text}");
        }
    }

    #[test]
    fn data_that_is_nested_otherwise_than_its_shape_is_refused() {
        for (shape, text, says) in [
            (&[2, 2][..], "[[1,2,3],[4]]", "axis 1 of the shape has 2, but a list there has 3"),
            (&[2, 3], "[[1,2],[3,4],[5,6]]", "axis 1 of the shape has 3, but a list there has 2"),
            (&[4], "[[1,2,3,4]]", "within 2 lists, but the shape has 1 axes"),
            (&[2, 2], "[[[1],[2]],[[3],[4]]]", "within 3 lists, but the shape has 2 axes"),
            (&[2, 1, 2], "[[1,2],[3,4]]", "within 2 lists, but the shape has 3 axes"),
            (&[2, 2], "[[1,2],3,4]", "both elements and lists"),
            (&[1, 2], "[[1,2],[]]", "axis 1 of the shape has 2, but a list there has 0"),
            (&[2, 2], "[[1,2,3,4]]", "axis 1 of the shape has 2, but a list there has 4"),
            (&[2, 0], "[[]]", "axis 0 of the shape has 2, but a list there has 1"),
            (&[0], "[[]]", "axis 1 of the shape is none, but a list there has 0"),
            (&[], "[[7]]", "within 2 lists, but the shape has 0 axes"),
        ] {
            let error = read(DType::U8, shape, text).unwrap_err();
            assert!(error.contains(says), "{shape:?} {text}: {error}");
        }
    }

    #[test]
    fn numbers_come_back_as_they_went_in() {
        for (dtype, text) in [
            (DType::Bool, "[true,false,true]"),
            (DType::U8, "[0,1,255]"),
            (DType::U16, "[0,1,65535]"),
            (DType::U32, "[0,1,4294967295]"),
            (DType::U64, "[0,9007199254740993,18446744073709551615]"),
            (DType::I8, "[-128,0,127]"),
            (DType::I16, "[-32768,0,32767]"),
            (DType::I32, "[-2147483648,0,2147483647]"),
            (DType::I64, "[-9223372036854775808,9007199254740993,9223372036854775807]"),
            (DType::Fp32, "[0.1,-3.4028235e+38,1e-45]"),
            (DType::Fp64, "[0.1,-1.7976931348623157e+308,5e-324]"),
        ] {
            let tensor = Tensor::new(dtype, vec![3], read(dtype, &[3], text).unwrap().into()).unwrap();
            assert_eq!(written(&tensor), text);
        }
    }

    const STRINGS: [&str; 8] = ["", "a", "NaN", "\"", "\\", "\0\n\u{7f}", "\u{1f600}é", "[1,2]"];

    /// Any bits, in any shape, flat and nested. A NaN comes back as a NaN.
    #[test]
    fn any_tensor_comes_back_bit_by_bit() {
        let mut random = Random::new(3);
        for round in 0..20_000 {
            let dtypes: Vec<_> = DType::ALL.into_iter().filter(|&dtype| has(dtype)).collect();
            let dtype = dtypes[round % dtypes.len()];
            let shape: Vec<usize> = (0..random.below(5)).map(|_| random.below(4)).collect();
            let elements = shape.iter().product::<usize>();
            let mask = if dtype == DType::Bool { 1 } else { 0xff };
            let data = match dtype.size() {
                Some(size) => (0..elements * size).map(|_| random.next_u32() as u8 & mask).collect(),
                None => encode_strings(std::iter::repeat_with(|| STRINGS[random.below(STRINGS.len())]).take(elements)),
            };
            let tensor = Tensor::new(dtype, shape.clone(), data).unwrap();
            let flat = written(&tensor);
            if dtype != DType::String && flat.contains("NaN") {
                continue;
            }
            assert!(tensor.data().len() <= most_bytes(dtype, &shape, &flat), "{dtype} {flat}");
            let flat = non_finite::quote(flat.as_bytes()).map_or(flat, |quoted| String::from_utf8(quoted).unwrap());
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
    fn what_is_not_finite_is_a_word_and_reads_as_a_string() {
        let text = r#"["NaN","Infinity","-Infinity"]"#;
        for dtype in [DType::Fp32, DType::Fp64] {
            let data = read(dtype, &[3], text).unwrap();
            let tensor = Tensor::new(dtype, vec![3], data.into()).unwrap();
            assert_eq!(written(&tensor), "[NaN,Infinity,-Infinity]", "{dtype}");
        }
        for dtype in [DType::U8, DType::I32, DType::I64] {
            assert!(read(dtype, &[3], text).unwrap_err().contains("NaN is not of type"), "{dtype}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_so() {
        for (dtype, text, expected) in [
            (DType::U8, "[256, 0]", "256 is not of type UINT8"),
            (DType::U8, "[-1, 0]", "-1 is not of type UINT8"),
            (DType::I8, "[128, 0]", "128 is not of type INT8"),
            (DType::I16, "[-32769, 0]", "-32769 is not of type INT16"),
            (DType::U16, "[65536, 0]", "65536 is not of type UINT16"),
            (DType::U32, "[4294967296, 0]", "4294967296 is not of type UINT32"),
            (DType::U64, "[-1, 0]", "-1 is not of type UINT64"),
            (DType::U64, "[18446744073709551616, 0]", "is not of type UINT64"),
            (DType::Bool, "[true, 1]", "1 is not of type BOOL"),
            (DType::Bool, "[true, \"true\"]", "expected true, false or a list"),
            (DType::Bool, "[true, NaN]", "expected value"),
            (DType::I8, "[true, 0]", "invalid type: boolean"),
            (DType::String, "[\"a\", 1]", "1 is not of type BYTES"),
            (DType::String, "[\"a\", true]", "expected a string or a list"),
            (DType::String, "[\"a\", null]", "expected a string or a list"),
            (DType::String, "[\"a\", \"\\ud800\"]", "unexpected end of hex escape"),
            (DType::String, "[\"a\"]", "has 2 elements, but its data has 1"),
            (DType::String, "[\"a\", \"b\", \"c\"]", "more elements"),
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
