//! The data of tensors of strings: each element is its length in bytes, as a little-endian `u32`, and then its bytes,
//! which are UTF-8. That is the binary form of the Open Inference Protocol, without its freedom to send other bytes:
//! engines take text.

use bytes::Bytes;

use super::WrongData;

/// The length of each element takes this many bytes.
pub(super) const PREFIX: usize = size_of::<u32>();

/// Checks that `data` is so many strings, and nothing else.
///
/// # Errors
///
/// See [`WrongData`].
pub(super) fn check(shape: &[usize], data: &[u8]) -> Result<(), WrongData> {
    let expected = super::elements(shape);
    let (mut rest, mut found) = (data, 0);
    while !rest.is_empty() {
        let (element, after) = split(rest).ok_or(WrongData::StringCutOff { element: found })?;
        if std::str::from_utf8(element).is_err() {
            return Err(WrongData::NotUtf8 { element: found });
        }
        (rest, found) = (after, found + 1);
    }
    if expected == Some(found) { Ok(()) } else { Err(WrongData::Strings { shape: shape.to_vec(), expected, found }) }
}

/// Splits the first string off.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<PREFIX>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// The data of `strings`, which are shorter than 4 GiB each.
pub fn encode<'a>(strings: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut data = Vec::new();
    for string in strings {
        append(&mut data, string);
    }
    data.into()
}

/// Appends a string of less than 4 GiB to the data of a tensor.
pub fn append(data: &mut Vec<u8>, string: &str) {
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(string.as_bytes());
}

/// Iterates over the elements of a tensor of strings, whose data was checked.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Strings<'a> {
    /// The strings in `data`, up to what is no string.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Strings { rest: data }
    }

    /// The bytes that the next `count` elements take in the data.
    pub(crate) fn skip_bytes(&mut self, count: usize) -> usize {
        let before = self.rest.len();
        for _ in 0..count {
            let Some((_, rest)) = split(self.rest) else { break };
            self.rest = rest;
        }
        before - self.rest.len()
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (element, rest) = split(self.rest)?;
        self.rest = rest;
        std::str::from_utf8(element).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Tensor};

    fn error(shape: &[usize], data: &[u8]) -> String {
        Tensor::new(DType::String, shape.to_vec(), Bytes::copy_from_slice(data)).unwrap_err().to_string()
    }

    #[test]
    fn strings_come_back_as_they_went_in() {
        let strings = ["", "a", "é\0\u{1f600}", "null"];
        let tensor = Tensor::new(DType::String, vec![2, 2], encode(strings)).unwrap();
        assert_eq!(tensor.strings().collect::<Vec<_>>(), strings);
        assert!(tensor.data().starts_with(&[0, 0, 0, 0, 1, 0, 0, 0, b'a', 7, 0, 0, 0]));
        let empty = Tensor::new(DType::String, vec![3, 0], Bytes::new()).unwrap();
        assert_eq!(empty.strings().count(), 0);
        let zeros = Tensor::zeros(DType::String, vec![2]).unwrap();
        assert_eq!(zeros.strings().collect::<Vec<_>>(), ["", ""]);
        assert!(Tensor::zeros(DType::String, vec![usize::MAX, 2]).is_err());
    }

    #[test]
    fn data_that_is_no_list_of_strings_is_an_error_that_says_why() {
        let two = encode(["ab", "c"]);
        assert_eq!(error(&[3], &two), "a STRING tensor of shape [3] has 3 elements, but the data has 2");
        assert_eq!(error(&[], &two), "a STRING tensor of shape [] has 1 elements, but the data has 2");
        let more = "a STRING tensor of shape [18446744073709551615, 2] has more elements than can be counted, but the \
                    data has 2";
        assert_eq!(error(&[usize::MAX, 2], &two), more);
        let cut_off = "element 1 of the strings is cut off: each is its length as four bytes and then its bytes";
        for length in [two.len() - 1, 6 + 3, 6 + 1] {
            assert_eq!(error(&[2], &two[..length]), cut_off, "{length}");
        }
        assert_eq!(error(&[1], &[255; 8]), cut_off.replace('1', "0"));
        let latin = [&encode(["a"])[..], &[2, 0, 0, 0, b'a', 0xe9]].concat();
        assert_eq!(error(&[2], &latin), "element 1 of the strings is not UTF-8");
    }

    #[test]
    fn bytes_of_elements_are_counted() {
        let data = encode(["abc", "", "é"]);
        let mut strings = Strings::new(&data);
        assert_eq!((strings.skip_bytes(2), strings.skip_bytes(0), strings.skip_bytes(9)), (11, 0, 6));
    }
}
