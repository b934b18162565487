//! Reads protocol buffers in place: fields in order, without copies or allocations. A field that ends beyond its
//! message is an error (<https://protobuf.dev/programming-guides/encoding/>).

/// Why bytes are not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The value of a field, by its wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(&'a [u8]),
    Bytes(&'a [u8]),
    Fixed32(&'a [u8]),
}

/// Iterates over the fields of a message: their numbers and values. The iteration ends after the first error.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Fields(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.bytes(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Fixed32(self.bytes(4)?),
            _ => return Err(Malformed("a field of unknown wire type")),
        };
        Ok((tag >> 3, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, rest) = varint(self.0)?;
        self.0 = rest;
        Ok(value)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed("a field ends behind its message"))?;
        self.0 = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Appends a field to a message.
pub(super) fn put(message: &mut Vec<u8>, number: u64, value: Value<'_>) {
    let (wire_type, length, bytes) = match value {
        Value::Varint(varint) => (0, Some(varint), &[][..]),
        Value::Fixed64(bytes) => (1, None, bytes),
        Value::Bytes(bytes) => (2, Some(bytes.len() as u64), bytes),
        Value::Fixed32(bytes) => (5, None, bytes),
    };
    for varint in [Some(number << 3 | wire_type), length].into_iter().flatten() {
        put_varint(message, varint);
    }
    message.extend_from_slice(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// The numbers of a packed field of varints, or the single number of an unpacked field.
pub(super) fn varints(value: Value<'_>) -> impl Iterator<Item = Result<u64, Malformed>> {
    let (one, mut packed) = match value {
        Value::Varint(number) => (Some(Ok(number)), &[][..]),
        Value::Bytes(bytes) => (None, bytes),
        _ => (Some(Err(Malformed("a field that should hold varints"))), &[][..]),
    };
    let packed = std::iter::from_fn(move || {
        if packed.is_empty() {
            return None;
        }
        let number = varint(packed);
        packed = number.map_or(&[], |(_, rest)| rest);
        Some(number.map(|(number, _)| number))
    });
    one.into_iter().chain(packed)
}

fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0;
    for (n, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Ok((value, &bytes[n + 1..]));
        }
    }
    Err(Malformed("a number without an end"))
}

/// The last field of this number that holds bytes.
pub(super) fn last(message: &[u8], number: u64) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    for field in Fields::new(message) {
        if let (field, Value::Bytes(bytes)) = field?
            && field == number
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Vec<Result<(u64, Value<'_>), Malformed>> {
        Fields::new(message).collect()
    }

    #[test]
    fn fields_come_in_order_with_their_values() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let expected = [
            Ok((1, Value::Varint(150))),
            Ok((2, Value::Bytes(b"hi"))),
            Ok((3, Value::Fixed32(&[1, 2, 3, 4]))),
            Ok((4, Value::Fixed64(&[1, 2, 3, 4, 5, 6, 7, 8]))),
        ];
        assert_eq!(read(&message), expected);
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        let message =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4, 0xa1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0x12, 0];
        let mut written = Vec::new();
        for field in Fields::new(&message) {
            let (number, value) = field.unwrap();
            put(&mut written, number, value);
        }
        assert_eq!(written, message);
        let mut largest = Vec::new();
        put(&mut largest, (1 << 29) - 1, Value::Varint(u64::MAX));
        assert_eq!(read(&largest), [Ok(((1 << 29) - 1, Value::Varint(u64::MAX)))]);
    }

    #[test]
    fn a_truncated_field_is_an_error_and_ends_the_iteration() {
        for (message, says) in [
            (&[0x12, 0x05, b'h'][..], "a field ends behind its message"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "a field ends behind its message"),
            (&[0x08, 0x80], "a number without an end"),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], "a number without an end"),
            (&[0x0b], "a field of unknown wire type"),
        ] {
            assert_eq!(read(message), [Err(Malformed(says))], "{message:?}");
        }
    }

    #[test]
    fn varints_are_packed_or_alone() {
        let all = |value| varints(value).collect::<Vec<_>>();
        assert_eq!(all(Value::Varint(7)), [Ok(7)]);
        assert_eq!(all(Value::Bytes(&[1, 0x96, 1, 0])), [Ok(1), Ok(150), Ok(0)]);
        assert_eq!(all(Value::Bytes(&[1, 0x80])), [Ok(1), Err(Malformed("a number without an end"))]);
        assert!(all(Value::Fixed32(&[0; 4]))[0].is_err());
    }
}
