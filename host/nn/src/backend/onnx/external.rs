//! Tensors whose data is in other files: where a graph says that it is, checked before the engine sees it.
//!
//! Keys and fields are those of <https://github.com/onnx/onnx/blob/main/docs/ExternalData.md>.

use super::protobuf::{Fields, Malformed, Value};
use super::weights::{element, product};
use crate::backend::external::{EMBED, ExternalFile, check_count, check_name};
use crate::weights::bytes_of;

/// A tensor whose data is in another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExternalTensor {
    name: String,
    /// The path of the file, relative to the graph's folder.
    location: String,
    /// Where the data begins, in bytes.
    offset: u64,
    /// Bytes of the data.
    length: u64,
}

/// Reads where the data of a tensor is; `None` if it is in the tensor.
///
/// # Errors
///
/// The tensor is malformed.
pub(super) fn external_tensor(tensor: &[u8]) -> Result<Option<ExternalTensor>, Malformed> {
    let (mut is_external, mut name, mut entries) = (None, &b""[..], Vec::new());
    let (mut code, mut elements) = (0, 1);
    for field in Fields::new(tensor) {
        match field? {
            (1, dims) => elements = product(elements, dims)?,
            (2, Value::Varint(number)) => code = number,
            (8, Value::Bytes(bytes)) => name = bytes,
            (13, Value::Bytes(entry)) => entries.push(entry),
            (14, Value::Varint(location)) if is_external.is_none() => is_external = Some(location == 1),
            (14, _) => return Err(Malformed("a tensor says twice where its data is")),
            _ => {}
        }
    }
    if is_external != Some(true) {
        return Ok(None);
    }
    let bits = element(code).ok_or(Malformed("a tensor of unknown type"))?.bits;
    if bits == 0 {
        return Err(Malformed("strings in another file"));
    }
    let length = bytes_of(elements, bits);
    let (location, offset) = place(&entries, length)?;
    Ok(Some(ExternalTensor { name: String::from_utf8_lossy(name).into_owned(), location, offset, length }))
}

/// The file and the offset in it that these entries say for `length` bytes.
fn place(entries: &[&[u8]], length: u64) -> Result<(String, u64), Malformed> {
    let (mut location, mut offset, mut said_length) = (None, None, None);
    for entry in entries {
        let (mut key, mut value) = (&b""[..], &b""[..]);
        for field in Fields::new(entry) {
            match field? {
                (1, Value::Bytes(bytes)) => key = bytes,
                (2, Value::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        let known = match key {
            b"location" => &mut location,
            b"offset" => &mut offset,
            b"length" => &mut said_length,
            _ => continue,
        };
        if known.replace(value).is_some() {
            return Err(Malformed("a tensor says twice where its data is"));
        }
    }
    let location = std::str::from_utf8(location.unwrap_or_default());
    let location = location.map_err(|_| Malformed("the name of an external file is not UTF-8"))?;
    let number = |text: &[u8]| {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
        number.ok_or(Malformed("offset and length of external data are not numbers of bytes"))
    };
    if said_length.map(number).transpose()?.is_some_and(|said| said != length) {
        return Err(Malformed("a tensor whose external data does not fit its shape"));
    }
    Ok((location.to_owned(), offset.map_or(Ok(0), number)?))
}

/// The files of these tensors, without repetition.
///
/// # Errors
///
/// One of them may not be read, or there are too many. The sentence has a remedy.
pub(super) fn files(tensors: &[ExternalTensor]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = tensors.iter().map(|tensor| tensor.location.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().try_for_each(|name| check_name(name))?;
    check_count(names.len())?;
    Ok(names)
}

/// Checks that the data of all tensors is within these files.
///
/// # Errors
///
/// A file is missing or too short. The sentence has a remedy.
pub(super) fn check_files(tensors: &[ExternalTensor], files: &[ExternalFile]) -> Result<(), String> {
    for ExternalTensor { name, location, offset, length } in tensors {
        let Some(file) = files.iter().find(|file| file.name == *location) else {
            return Err(format!("the data of '{name}' is in another file, '{location}'; {EMBED}"));
        };
        let size = file.bytes.len() as u64;
        if offset.checked_add(*length).is_none_or(|end| end > size) {
            return Err(format!(
                "the data of '{name}' is the {length} bytes from {offset} of '{location}', which has only {size}; copy the \
                 whole file, or export the model again"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    }

    /// Four FP32 elements with these entries.
    fn tensor(entries: &[(&str, &str)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|(key, value)| entry(key, value));
        [field(1, &[2, 2]), vec![2 << 3, 1], field(8, b"w"), entries.collect(), vec![14 << 3, 1]].concat()
    }

    #[test]
    fn location_offset_and_length_are_read() {
        let expected = |offset| ExternalTensor { name: "w".into(), location: "d".into(), offset, length: 16 };
        let read = |entries| external_tensor(&tensor(entries));
        assert_eq!(read(&[("location", "d")]), Ok(Some(expected(0))));
        let all = [("location", "d"), ("offset", "4096"), ("length", "16"), ("checksum", "x")];
        assert_eq!(read(&all), Ok(Some(expected(4096))));
        assert_eq!(external_tensor(&field(8, b"w")), Ok(None));
    }

    #[test]
    fn places_that_are_no_places_are_refused() {
        for (entries, says) in [
            (&[("location", "d"), ("length", "15")][..], "does not fit its shape"),
            (&[("location", "d"), ("offset", "-1")], "not numbers"),
            (&[("location", "d"), ("offset", "99999999999999999999")], "not numbers"),
            (&[("location", "d"), ("length", "x")], "not numbers"),
            (&[("location", "d"), ("location", "e")], "twice"),
        ] {
            let Malformed(said) = external_tensor(&tensor(entries)).unwrap_err();
            assert!(said.contains(says), "{entries:?}: {said}");
        }
        let strings = [vec![2 << 3, 8], entry("location", "d"), vec![14 << 3, 1]].concat();
        assert_eq!(external_tensor(&strings), Err(Malformed("strings in another file")));
    }

    #[test]
    fn files_stay_below_the_folder_and_are_few() {
        let of = |location: &str| external_tensor(&tensor(&[("location", location)])).unwrap().unwrap();
        assert_eq!(files(&[of("b"), of("inner/a"), of("b")]), Ok(vec!["b".to_owned(), "inner/a".to_owned()]));
        for location in [
            "",
            "/etc/passwd",
            "..",
            "./d",
            "a//d",
            "a/./d",
            "a/",
            "../d",
            "inner/../../d",
            "*/_ORT_MEM_ADDR_/*",
            "a\0b",
        ] {
            assert!(
                files(&[of(location)]).unwrap_err().contains("not a file below the model's own folder"),
                "{location}"
            );
        }
        let many =
            |count: usize| files(&(0..count).map(|n| of(&n.to_string())).collect::<Vec<_>>()).map(|files| files.len());
        assert_eq!(many(128), Ok(128));
        assert!(many(129).unwrap_err().contains("save them in one"));
    }

    #[test]
    fn data_is_within_its_file() {
        let file = |bytes: usize| [ExternalFile { name: "d".into(), bytes: vec![0; bytes].into() }];
        let of = |offset: &str| [external_tensor(&tensor(&[("location", "d"), ("offset", offset)])).unwrap().unwrap()];
        assert_eq!(check_files(&of("4"), &file(20)), Ok(()));
        assert!(check_files(&of("5"), &file(20)).unwrap_err().contains("which has only 20"));
        assert!(check_files(&of(&u64::MAX.to_string()), &file(20)).is_err());
        assert!(check_files(&of("0"), &[]).unwrap_err().contains("in another file"));
    }
}
